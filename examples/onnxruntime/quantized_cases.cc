// SPDX-License-Identifier: Apache-2.0
// Products and convolutions of integers, and of weights of few bits, beside the host's.
#include <cmath>

#include "graph_case.h"

namespace tessera::ort {
namespace {

constexpr char kMicrosoftDomain[] = "com.microsoft";

// Weights of few bits, [kN, k], in blocks of 32.
struct FewBits {
  std::int64_t bits, k = 96;
  enum class Zeros { kNone, kPacked, kFloats } zeros = Zeros::kNone;
  bool has_bias = false;
  std::int64_t accuracy_level = 0;
};

constexpr std::int64_t kN = 20, kBlock = 32;

std::vector<std::uint8_t> random_bytes(ModelBuilder& m, std::int64_t count, int highest) {
  std::vector<std::uint8_t> values;
  for (const float f : m.random(static_cast<std::size_t>(count), 1)) {
    values.push_back(static_cast<std::uint8_t>((f + 1) / 2 * static_cast<float>(highest) + 0.5f));
  }
  return values;
}

// Element i of those in `bytes`, which are in order from the lowest bits on.
int code_at(const std::uint8_t* bytes, std::int64_t i, std::int64_t bits) {
  return bytes[i * bits / 8] >> (i * bits % 8) & ((1 << bits) - 1);
}

// x of [rows, k] as the integers of 8 bits that a block of it is rounded to, and floats again.
std::string with_8_bits(ModelBuilder& m, const std::string& x, std::int64_t k) {
  const std::vector<std::int64_t> blocks = {-1, k / kBlock, kBlock}, whole = {-1, k};
  const std::string b = m.node("Reshape", {x, m.constant(blocks, {3})});
  const std::string largest =
      m.node("ReduceMax", {m.node("Abs", {b}), m.constant<std::int64_t>({2}, {1})});
  const std::string scale = m.node("Div", {largest, scalar(m, 127)});
  const std::string codes = m.node("Round", {m.node("Div", {b, scale})});
  return m.node("Reshape", {m.node("Mul", {codes, scale}), m.constant(whole, {2})});
}

// The operator; or, for a host that does not have so few or does not round activations on each architecture, a product
// with the floats that its weights mean.
std::string few_bits(ModelBuilder& m, const FewBits& o, bool for_host) {
  const std::int64_t blocks = (o.k + kBlock - 1) / kBlock;
  const std::int64_t blob = kBlock * o.bits / 8, zeros_row = (blocks * o.bits + 7) / 8;
  const auto codes = random_bytes(m, kN * blocks * blob, 255);
  std::vector<float> scales = m.random(static_cast<std::size_t>(kN * blocks), 0.1f);
  const auto packed_zeros = random_bytes(m, kN * zeros_row, 255);
  std::vector<float> zeros(scales.size(), static_cast<float>(1 << (o.bits - 1)));
  for (std::size_t i = 0; i < zeros.size() && o.zeros != FewBits::Zeros::kNone; ++i) {
    const auto row = static_cast<std::int64_t>(i) / blocks;
    zeros[i] = static_cast<float>(code_at(packed_zeros.data() + row * zeros_row,
                                          static_cast<std::int64_t>(i) % blocks, o.bits));
  }
  const std::string scales_name = m.weight(scales, {kN * blocks});
  const std::string bias = o.has_bias ? m.weights({kN}, 1) : "";
  if (for_host) {
    scales = m.rounded(scales);
    std::vector<float> weights;
    for (std::int64_t j = 0; j < o.k; ++j) {
      for (std::int64_t i = 0; i < kN; ++i) {
        const auto block = static_cast<std::size_t>(i * blocks + j / kBlock);
        const int code = code_at(codes.data() + i * blocks * blob, j, o.bits);
        weights.push_back((static_cast<float>(code) - zeros[block]) * scales[block]);
      }
    }
    const std::string x = o.accuracy_level == 4 ? with_8_bits(m, "x", o.k) : "x";
    const std::string product = m.node("MatMul", {x, m.constant(weights, {o.k, kN})});
    return o.has_bias ? m.node("Add", {product, bias}) : product;
  }
  std::vector<std::string> inputs = {
      "x", m.constant(codes, {kN, blocks, blob}), scales_name, "", "", bias};
  if (o.zeros == FewBits::Zeros::kPacked) inputs[3] = m.constant(packed_zeros, {kN * zeros_row});
  if (o.zeros == FewBits::Zeros::kFloats) inputs[3] = m.weight(zeros, {kN, blocks});
  while (inputs.back().empty()) inputs.pop_back();
  return m.node("MatMulNBits", inputs,
                {.integers = {{"K", o.k},
                              {"N", kN},
                              {"bits", o.bits},
                              {"block_size", kBlock},
                              {"accuracy_level", o.accuracy_level}}},
                {}, kMicrosoftDomain);
}

// Codes of weights that the host's sums of two products in 16 bits hold, on x86 without VNNI; ours hold all.
std::vector<std::int8_t> small_codes(ModelBuilder& m, std::size_t count) {
  std::vector<std::int8_t> codes;
  for (const float f : m.random(count, 63)) codes.push_back(static_cast<std::int8_t>(f));
  return codes;
}

// x as u8, a product or a convolution with weights of s8 in integers, and f32 again.
std::string integer_product(ModelBuilder& m) {
  const std::string codes = m.node("DynamicQuantizeLinear", {"x"}, {}, {"q", "s", "z"});
  const std::string w = m.constant(small_codes(m, 48 * 20), {48, 20});
  const std::string sums = m.node("MatMulInteger", {codes, w, "z"});
  const std::string numbers = m.node("Cast", {sums}, {.integers = {{"to", 1}}});
  return m.node("Mul", {numbers, "s"});
}

std::string quantized_conv(ModelBuilder& m) {
  const auto u8 = [&](int v) {
    return m.constant<std::uint8_t>({static_cast<std::uint8_t>(v)}, {});
  };
  const std::string codes = m.node("QuantizeLinear", {"x", scalar(m, 0.01f), u8(117)});
  std::vector<float> scales;
  for (const float f : m.random(12, 0.01f)) scales.push_back(0.001f + std::abs(f));
  const std::string y =
      m.node("QLinearConv",
             {codes, scalar(m, 0.01f), u8(117),
              m.constant(small_codes(m, 12 * 6 * 9), {12, 6, 3, 3}), m.constant(scales, {12}),
              m.constant(std::vector<std::int8_t>(12), {12}), scalar(m, 0.05f), u8(130)},
             {.lists = {{"kernel_shape", {3, 3}}, {"pads", {1, 1, 1, 1}}}});
  return m.node("DequantizeLinear", {y, scalar(m, 0.05f), u8(130)});
}

}  // namespace

std::vector<GraphCase> quantized_cases() {
  using Zeros = FewBits::Zeros;
  std::vector<GraphCase> cases = {
      {"integer product",
       {"DynamicQuantizeLinear", "MatMulInteger"},
       {7, 48},
       {7, 20},
       integer_product},
      {"quantized convolution", {"QLinearConv"}, {1, 6, 11, 9}, {1, 12, 11, 9}, quantized_conv}};
  const auto add = [&](const char* name, const Extents& rows, const FewBits& o) {
    Extents x = rows, y = rows;
    x.push_back(o.k);
    y.push_back(kN);
    cases.push_back({.name = name,
                     .ops = {"MatMulNBits"},
                     .input = x,
                     .output = y,
                     .build = [o](ModelBuilder& m) { return few_bits(m, o, false); },
                     .half_tolerance = o.accuracy_level == 4 ? 5e-3 : 3e-3});
    if (o.bits == 2 || o.accuracy_level == 4) {
      cases.back().build_for_host = [o](ModelBuilder& m) { return few_bits(m, o, true); };
    }
  };
  add("4-bit weights", {5}, {.bits = 4});
  add("4-bit weights, zero points, bias", {2, 3},
      {.bits = 4, .zeros = Zeros::kPacked, .has_bias = true});
  add("4-bit weights, zero points of floats", {5}, {.bits = 4, .zeros = Zeros::kFloats});
  add("4-bit weights, activations of 8 bits", {5},
      {.bits = 4, .zeros = Zeros::kPacked, .accuracy_level = 4});
  add("8-bit weights, zero points", {1}, {.bits = 8, .zeros = Zeros::kPacked});
  add("8-bit weights, part of a block", {3}, {.bits = 8, .k = 72, .has_bias = true});
  add("2-bit weights, zero points", {4}, {.bits = 2, .zeros = Zeros::kPacked});
  add("2-bit weights, part of a block", {1}, {.bits = 2, .k = 72, .zeros = Zeros::kFloats});
  return cases;
}

}  // namespace tessera::ort
