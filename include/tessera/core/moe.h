// SPDX-License-Identifier: Apache-2.0
// How a router chooses the experts of a token.
#ifndef TESSERA_CORE_MOE_H_
#define TESSERA_CORE_MOE_H_

#include <cstdint>

namespace tessera {

// The scores of experts, of their logits.
enum class RouterScores : std::uint8_t {
  kSoftmax,
  kSigmoid,
};

// The score of a group of experts, of theirs.
enum class GroupScores : std::uint8_t {
  kMax,
  kSumOfTop2,  // of groups of one expert: its score
};

}  // namespace tessera

#endif  // TESSERA_CORE_MOE_H_
