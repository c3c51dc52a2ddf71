// SPDX-License-Identifier: Apache-2.0
// The shared library in the life of a process: calls from two threads at once, fork, unloading, no memory.
#include <catch2/catch_test_macros.hpp>

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "random.h"

// Memory ends when a test says so. (The program exports this: the library takes it from here.)
static std::atomic<bool> no_memory{false};
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  const auto boundary = static_cast<std::size_t>(alignment);
  if (no_memory) throw std::bad_alloc();
  void* const p = std::aligned_alloc(boundary, (bytes + boundary - 1) / boundary * boundary);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }

namespace tessera::blas::test {
namespace {

constexpr int kSize = 300;

using Gemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int,
                      float, float*, int);
using Trsm = void (*)(int, int, int, int, int, int, int, float, const float*, int, float*, int);

struct Library {
  Library() : handle(dlopen(TESSERA_BLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL)) {
    REQUIRE(handle != nullptr);
    gemm = reinterpret_cast<Gemm>(dlsym(handle, "cblas_sgemm"));
    trsm = reinterpret_cast<Trsm>(dlsym(handle, "cblas_strsm"));
    REQUIRE(gemm != nullptr);
    REQUIRE(trsm != nullptr);
  }
  ~Library() { dlclose(handle); }
  void* handle;
  Gemm gemm;
  Trsm trsm;
};

struct Problem {
  Problem() : a(kSize * kSize), b(kSize * kSize) {
    tessera::test::Random random;
    for (auto* v : {&a, &b}) {
      for (float& x : *v) x = random.value<float>(tessera::test::Values::kModerate);
    }
  }
  // A product that is large enough for several threads, of a transposed A.
  std::vector<float> run(const Library& library) const {
    std::vector<float> c(kSize * kSize);
    library.gemm(102, 112, 112, kSize, kSize, kSize, 1, a.data(), kSize, b.data(), kSize, 0,
                 c.data(), kSize);
    return c;
  }
  std::vector<float> a, b;
};

// What a child process says by its exit status.
template <class F>
bool in_child(F f) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // a child that waits for threads it does not have
    _exit(f() ? 0 : 1);
  }
  int status = 1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_CASE("two threads at once") {
  const Library library;
  const Problem problem;
  const auto expected = problem.run(library);
  std::atomic<int> wrong{0};
  const auto work = [&] {
    for (int i = 0; i < 20; ++i) wrong += problem.run(library) != expected;
  };
  std::thread first(work), second(work);
  first.join();
  second.join();
  CHECK(wrong == 0);
}

TEST_CASE("fork") {
  const Library library;
  const Problem problem;
  const auto expected = problem.run(library);  // the threads of the parent are there
  CHECK(in_child([&] { return problem.run(library) == expected; }));
  CHECK(in_child([&] {
    return in_child([&] { return problem.run(library) == expected; }) &&
           problem.run(library) == expected;
  }));
  // While another thread is in the library.
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) problem.run(library);
  });
  for (int i = 0; i < 5; ++i) CHECK(in_child([&] { return problem.run(library) == expected; }));
  stop = true;
  busy.join();
  CHECK(problem.run(library) == expected);
}

TEST_CASE("unloading and loading again") {
  const Problem problem;
  std::vector<float> expected;
  for (int i = 0; i < 3; ++i) {
    const Library library;
    const auto result = problem.run(library);
    if (i == 0) expected = result;
    CHECK(result == expected);
  }
}

// A thread of its own, as threads keep the memory that they once had.
TEST_CASE("without memory") {
  const Library library;
  const Problem problem;
  const auto expected = problem.run(library);
  float largest = 0, largest_error = 0, solved = 0;
  std::thread([&] {
    no_memory = true;
    float* const c = static_cast<float*>(std::calloc(kSize * kSize, sizeof(float)));
    library.gemm(102, 112, 112, kSize, kSize, kSize, 1, problem.a.data(), kSize, problem.b.data(),
                 kSize, 0, c, kSize);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, std::abs(expected[i]));
      largest_error = std::max(largest_error, std::abs(c[i] - expected[i]));
    }
    // The triangle is one of ones and zeros: the solution is known.
    float* const t = static_cast<float*>(std::calloc(kSize * kSize, sizeof(float)));
    std::fill_n(c, kSize * kSize, 3.f);
    library.trsm(102, 141, 122, 111, 132, kSize, kSize, 2, t, kSize, c, kSize);
    solved = *std::min_element(c, c + kSize * kSize) + *std::max_element(c, c + kSize * kSize);
    std::free(t);
    std::free(c);
    no_memory = false;
  }).join();
  CHECK(largest > 0);
  CHECK(largest_error <= 1e-3f * largest);
  CHECK(solved == 12);
}

}  // namespace
}  // namespace tessera::blas::test
