// SPDX-License-Identifier: Apache-2.0
#include "rope_tables.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "tensors.h"
#include "tessera/ops/elementwise.h"

namespace ggml_port {
namespace {

// The parameters of GGML_OP_ROPE.
struct RopeParams {
  explicit RopeParams(const ggml_tensor& op)
      : dims(param<int>(op, 1)),
        mode(param<int>(op, 2)),
        first_context(param<int>(op, 4)),
        base(param<float>(op, 5)),
        scale(param<float>(op, 6)),
        extrapolation(param<float>(op, 7)),
        magnitude(param<float>(op, 8)),
        beta_fast(param<float>(op, 9)),
        beta_slow(param<float>(op, 10)) {
    for (int i = 0; i < 4; ++i) sections[i] = param<int>(op, 11 + i);
    // Both of YaRN, Peng et al., "Efficient Context Window Extension of Large Language Models", arXiv:2309.00071.
    if (extrapolation != 0) magnitude *= 1 + 0.1f * std::log(1 / scale);
    ramp_first = std::max(0.0f, std::floor(pair_of_turns(beta_fast)));
    ramp_last = std::min(static_cast<float>(dims - 1), std::ceil(pair_of_turns(beta_slow)));
  }

  // Which pair turns so often within the context that the model was trained for.
  float pair_of_turns(float turns) const {
    constexpr float kTwoPi = 2 * std::numbers::pi_v<float>;
    return static_cast<float>(dims) *
           std::log(static_cast<float>(first_context) / (turns * kTwoPi)) / (2 * std::log(base));
  }

  bool is_vision() const { return mode == GGML_ROPE_TYPE_VISION; }
  // With the mode for images all of a head turns, pairs of elements that are `dims` apart, and the angles of each axis start anew.
  int pairs() const { return is_vision() ? dims : dims / 2; }

  // Of four positions of a token (time, height, width, another), the one that turns a pair.
  int axis_of(int pair) const {
    const int all = sections[0] + sections[1] + sections[2] + sections[3];
    const int place = pair % all;
    if (mode == GGML_ROPE_TYPE_IMROPE) {
      const int axis = place % 3;
      return place < 3 * sections[axis] ? axis : 3;
    }
    int axis = 0;
    for (int end = sections[0]; axis < 3 && place >= end; end += sections[axis]) ++axis;
    return axis;
  }

  bool starts_section(int pair) const {
    const int all = sections[0] + sections[1] + sections[2] + sections[3];
    return pair % all == 0 || axis_of(pair) != axis_of(pair - 1);
  }

  float angle(float turned, int pair, float divisor) const {
    const float extrapolated = turned / divisor;
    const float interpolated = scale * extrapolated;
    if (extrapolation == 0) return interpolated;
    const float along =
        (static_cast<float>(pair) - ramp_first) / std::max(0.001f, ramp_last - ramp_first);
    const float mix = (1 - std::clamp(along, 0.0f, 1.0f)) * extrapolation;
    return interpolated * (1 - mix) + extrapolated * mix;
  }

  int dims, mode, first_context;
  float base, scale, extrapolation, magnitude, beta_fast, beta_slow;
  int sections[4];
  float ramp_first, ramp_last;
};

// Products of powers one by one, in f32, as ggml has them.
void fill_angles(const RopeParams& p, const std::int32_t* positions, const float* divisors,
                 index_t tokens, float* angles) {
  const int pairs = p.pairs();
  const float ratio = std::pow(p.base, -2.0f / static_cast<float>(p.dims));
  const bool several = (p.mode & GGML_ROPE_TYPE_MROPE) != 0;
  for (index_t t = 0; t < tokens; ++t) {
    float turned[4];
    for (int axis = 0; axis < 4; ++axis)
      turned[axis] = static_cast<float>(positions[several ? t + axis * tokens : t]);
    for (int i = 0; i < pairs; ++i) {
      const int axis = several ? p.axis_of(i) : 0;
      if (p.is_vision() && p.starts_section(i))
        turned[axis] = static_cast<float>(positions[t + axis * tokens]);
      *angles++ = p.angle(turned[axis], i, divisors == nullptr ? 1.0f : divisors[i]);
      for (float& x : turned) x *= ratio;
    }
  }
}

}  // namespace

RopeTable RopeTables::get(const ggml_tensor& op, ts::Context* context) {
  const ggml_tensor& positions = *op.src[1];
  Table key{positions.data,
            op.src[2] == nullptr ? nullptr : op.src[2]->data,
            op.src[0]->ne[2],
            {},
            {},
            {}};
  std::memcpy(key.params.data(), op.op_params, sizeof(key.params));
  const auto same = [&](const Table& t) {
    return t.positions == key.positions && t.factors == key.factors && t.tokens == key.tokens &&
           t.params == key.params;
  };
  const RopeParams p(op);
  const index_t pairs = p.pairs(), tokens = extent(*op.src[0], 2);
  auto found = std::find_if(tables_.begin(), tables_.end(), same);
  if (found == tables_.end()) {
    const auto count = static_cast<std::size_t>(tokens * pairs);
    key.cosines.resize(count);
    key.sines.resize(count);
    fill_angles(p, static_cast<const std::int32_t*>(positions.data),
                static_cast<const float*>(key.factors), tokens, key.sines.data());
    const auto cosines = ts::row_major(key.cosines, {static_cast<index_t>(count)});
    const auto sines = ts::row_major(key.sines, {static_cast<index_t>(count)});
    const ts::ElementwiseOptions options{.context = context};
    ts::elementwise(ts::UnaryOp::kCos, sines, cosines, options);
    ts::elementwise(ts::UnaryOp::kSin, sines, sines, options);
    if (p.magnitude != 1) {
      const ts::View<const float, 1> magnitude(&p.magnitude, {1}, {1});
      ts::elementwise(ts::BinaryOp::kMul, cosines, magnitude, cosines, options);
      ts::elementwise(ts::BinaryOp::kMul, sines, magnitude, sines, options);
    }
    tables_.push_front(std::move(key));
    found = tables_.begin();
  }
  return {ts::row_major(static_cast<const float*>(found->cosines.data()), {tokens, pairs}),
          ts::row_major(static_cast<const float*>(found->sines.data()), {tokens, pairs})};
}

}  // namespace ggml_port
