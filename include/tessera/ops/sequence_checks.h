// SPDX-License-Identifier: Apache-2.0
// Numbers of tokens of the sequences of a batch.
#ifndef TESSERA_OPS_SEQUENCE_CHECKS_H_
#define TESSERA_OPS_SEQUENCE_CHECKS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tessera/config.h"
#include "tessera/core/check.h"
#include "tessera/core/view.h"

namespace tessera::inline TESSERA_ABI::impl {

// options.lengths: none, or one for each sequence of `operand`, from 0 to its tokens.
inline void check_lengths(const char* function, const char* operand,
                          std::span<const std::int32_t> lengths, index_t batch, index_t tokens) {
  const auto count = static_cast<index_t>(lengths.size());
  const std::string of = std::string(" of ").append(operand).append(")");
  if (count != 0 && count != batch) {
    tessera::detail::fail(
        function, "options.lengths",
        std::to_string(batch).append(" (the batch").append(of).append(", or none"),
        std::to_string(count));
  }
  for (const std::int32_t length : lengths) {
    if (length >= 0 && length <= tokens) continue;
    tessera::detail::fail(
        function, "options.lengths",
        "numbers from 0 to " + std::to_string(tokens).append(" (the tokens").append(of),
        std::to_string(length));
  }
}

// Tokens of sequence b, of at most `most`.
inline index_t tokens_of(std::span<const std::int32_t> lengths, index_t b, index_t most) {
  return lengths.empty() ? most : lengths[static_cast<std::size_t>(b)];
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_SEQUENCE_CHECKS_H_
