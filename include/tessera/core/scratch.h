// SPDX-License-Identifier: Apache-2.0
// Scratch: the working memory of one call, owned and growing, or lent by the user and fixed.
#ifndef TESSERA_CORE_SCRATCH_H_
#define TESSERA_CORE_SCRATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>

#include "tessera/core/check.h"

namespace tessera {

// Every block handed out starts on this boundary: two cache lines, the widest vector.
inline constexpr std::size_t kScratchAlignment = 128;

namespace detail {

struct AlignedDelete {
  void operator()(std::byte* p) const {
    ::operator delete[](p, std::align_val_t{kScratchAlignment});
  }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedDelete>;

// `bytes`, up to where the next piece of scratch may start.
constexpr std::ptrdiff_t aligned(std::ptrdiff_t bytes) {
  constexpr auto kBoundary = static_cast<std::ptrdiff_t>(kScratchAlignment);
  return (bytes + kBoundary - 1) / kBoundary * kBoundary;
}

inline AlignedBytes allocate_aligned(std::size_t bytes) {
  return AlignedBytes(
      static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{kScratchAlignment})));
}

}  // namespace detail

class Scratch {
 public:
  Scratch() = default;

  // Lends `memory`; calls that need more raise an Error and write nothing.
  explicit Scratch(std::span<std::byte> memory) : lent_(memory), fixed_(true) {}

  // True if it works in memory of the user.
  bool is_lent() const { return fixed_; }

  // `bytes` of uninitialised memory on a kScratchAlignment boundary, valid until the next call.
  std::byte* reserve(std::size_t bytes, const char* function) {
    if (fixed_) {
      const auto address = reinterpret_cast<std::uintptr_t>(lent_.data());
      const std::size_t skip =
          (kScratchAlignment - address % kScratchAlignment) % kScratchAlignment;
      if (lent_.size() < skip || lent_.size() - skip < bytes) {
        detail::fail(function, "context.scratch",
                     "at least " + std::to_string(skip + bytes) + " bytes",
                     std::to_string(lent_.size()));
      }
      return lent_.data() + skip;
    }
    if (bytes > size_ || owned_ == nullptr) {  // moved from: no memory, whatever the size
      owned_.reset();                          // first, so that the peak is one buffer, not two
      owned_ = detail::allocate_aligned(bytes);
      size_ = bytes;
    }
    return owned_.get();
  }

 private:
  detail::AlignedBytes owned_;
  std::size_t size_ = 0;
  std::span<std::byte> lent_;
  bool fixed_ = false;
};

}  // namespace tessera

#endif  // TESSERA_CORE_SCRATCH_H_
