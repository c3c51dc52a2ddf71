// SPDX-License-Identifier: Apache-2.0
// Memory between two pages that nobody may touch.
#ifndef TESSERA_TEST_GUARDED_H_
#define TESSERA_TEST_GUARDED_H_

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tessera::test {

// Every byte of an untouched array, gap or margin. As float or double it is a NaN, so that reading
// one shows in the result.
inline constexpr unsigned char kPoison = 0xff;

// An array sits at the very start or the very end of the memory: reading or writing beyond that side
// is a segmentation fault; writing beyond the other one changes the margin.
enum class Edge { kStart, kEnd };

class GuardedMemory {
 public:
  GuardedMemory() = default;
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  ~GuardedMemory() { release(); }

  // `count` poisoned elements, aligned for T and (at kEnd) for no more than that. Valid until the
  // next call: a buffer holds one array at a time, so that thousands of cases cost no system call.
  template <class T>
  T* place(std::size_t count, Edge edge) {
    const std::size_t bytes = count * sizeof(T);
    if (bytes + kMargin > capacity_) grow(bytes + kMargin);
    array_ = edge == Edge::kStart ? memory_ : memory_ + capacity_ - bytes;
    margin_ = edge == Edge::kStart ? memory_ + bytes : array_ - kMargin;
    std::memset(edge == Edge::kStart ? array_ : margin_, kPoison, bytes + kMargin);
    return reinterpret_cast<T*>(array_);
  }

  // Nothing was written next to the array.
  bool margin_intact() const {
    return std::all_of(margin_, margin_ + kMargin, [](unsigned char b) { return b == kPoison; });
  }

 private:
  static constexpr std::size_t kMargin = 512;

  void grow(std::size_t bytes) {
    release();
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    capacity_ = (std::max<std::size_t>(bytes, 16 * 1024) + page - 1) / page * page;
    mapped_ = capacity_ + 2 * page;
    void* p = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) fail("mmap");
    base_ = static_cast<unsigned char*>(p);
    memory_ = base_ + page;
    if (mprotect(memory_, capacity_, PROT_READ | PROT_WRITE) != 0) fail("mprotect");
  }

  void release() {
    if (base_ != nullptr) munmap(base_, mapped_);
  }

  [[noreturn]] static void fail(const char* what) {
    std::perror(what);
    std::abort();
  }

  unsigned char* base_ = nullptr;
  unsigned char* memory_ = nullptr;  // between the guard pages
  unsigned char* array_ = nullptr;
  unsigned char* margin_ = nullptr;
  std::size_t mapped_ = 0, capacity_ = 0;
};

}  // namespace tessera::test

#endif  // TESSERA_TEST_GUARDED_H_
