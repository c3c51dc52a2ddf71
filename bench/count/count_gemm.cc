// SPDX-License-Identifier: Apache-2.0
// One warm call between the markers of count_plugin.c, after a call that is checked.
//   count_gemm f32|f64|s8|bf16|f16 M N K [BLAS]    BLAS: a shared library with the C interface, instead of Tessera
//   count_gemm Q8_0|Q4_0|... M N K                 quantized weights, activations rounded to 8 bits (FP8: as f32)
//   count_gemm quantize-Q8_0|... M 1 K             M x K numbers to blocks
//   count_gemm conv-f32|conv-fast|conv-s8 LAYER    a convolution, as parse_conv_shape() reads it; filters packed before
//   count_gemm attention-f32|-f16|-q8_0 SHAPE      of such keys and values, as parse_attention_shape() reads it
//   count_gemm softmax|rms_norm|layer_norm M 1 K   of the rows of M x K numbers
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "bench/attention_contender.h"
#include "bench/attention_workload.h"
#include "bench/conv_contender.h"
#include "bench/conv_workload.h"
#include "bench/count/region.h"
#include "bench/gemm_workload.h"
#include "bench/nn_workload.h"
#include "bench/peers.h"
#include "bench/weights_workload.h"

namespace tessera::bench {
namespace {

template <class Types>
int count(const GemmShape& shape, const GemmContender& who) {
  GemmWorkload<Types> work(shape);
  const GemmRun run = who.prepare(work.operands());
  const GemmCheck check = work.check(run);
  std::fprintf(stderr, "CHECK %.3f of the error bound, %s\n", check.error, who.description.c_str());
  if (check.wrong()) return EXIT_FAILURE;
  count_region(run.call);
  return EXIT_SUCCESS;
}

int count_weights(const WeightsFormat& format, const GemmShape& shape) {
  const QuantizedWeights weights(format, shape.n, shape.k);
  const WeightsWorkload work(weights, shape.m);
  const WeightsContenders ways = tessera_weights(1);  // f32, int8
  WeightsRun run = ways[1].prepare(work.operands());
  if (!run.run) run = ways[0].prepare(work.operands());
  const GemmCheck check = work.check(run);
  std::fprintf(stderr, "CHECK %.3f of the error bound, %s\n", check.error, check.verdict);
  if (check.wrong()) return EXIT_FAILURE;
  count_region(run.run.call);
  return EXIT_SUCCESS;
}

int count_quantize(const WeightsFormat& format, index_t rows, index_t cols) {
  const QuantizedWeights weights(format, rows, cols);
  const PaddedArray<float> values(rows * cols);
  const PaddedArray<std::byte> blocks(static_cast<index_t>(weights.bytes()));
  NormalNumbers(1).fill(values.data(), values.size);
  const GemmRun run = tessera_weights(1)[0].convert({true, &weights, values.data(), blocks.data()});
  run.call();
  count_region(run.call);
  return EXIT_SUCCESS;
}

template <class T>
int count_conv(const ConvShape& shape, bool fast) {
  const ConvWorkload<T> work(shape, fast);
  const ConvRun conv = tessera_conv(1)[0].prepare(work.operands());
  const GemmCheck check = work.check(conv.run);
  std::fprintf(stderr, "CHECK %.3f of the error bound, %s\n", check.error, conv.details.c_str());
  if (check.wrong()) return EXIT_FAILURE;
  count_region(conv.run.call);
  return EXIT_SUCCESS;
}

template <class Workload>
int count_checked(const Workload& work, const GemmRun& run) {
  const GemmCheck check = work.check(run);
  std::fprintf(stderr, "CHECK %.3f of the error bound, %s\n", check.error, check.verdict);
  if (check.wrong()) return EXIT_FAILURE;
  count_region(run.call);
  return EXIT_SUCCESS;
}

int run(int argc, char** argv) {
  constexpr std::string_view kQuantize = "quantize-", kConv = "conv-", kAttention = "attention-";
  const std::string kind = argc < 2 ? "" : argv[1];
  if (kind.starts_with(kConv) && argc == 3) {
    const ConvTypes types = parse_conv_types(kind.substr(kConv.size()));
    const ConvShape shape = parse_conv_shape(argv[2]);
    if (types == ConvTypes::kS8) return count_conv<std::int8_t>(shape, false);
    return count_conv<float>(shape, types == ConvTypes::kFast);
  }
  if (kind.starts_with(kAttention) && argc == 3) {
    const AttentionWorkload work(parse_attention_shape(argv[2]),
                                 parse_kv_type(kind.substr(kAttention.size())));
    return count_checked(work, tessera_attention(1)[0].prepare(work.operands()));
  }
  if (std::find(kNnOps.begin(), kNnOps.end(), kind) != kNnOps.end() && argc == 5) {
    const NnWorkload work(parse_nn_op(kind), std::atol(argv[2]), std::atol(argv[4]));
    return count_checked(work, tessera_nn(1)[0].prepare(work.operands()));
  }
  const bool quantizes = kind.starts_with(kQuantize);
  const WeightsFormat* const format =
      find_weights_format(quantizes ? kind.substr(kQuantize.size()) : kind);
  if (argc < 5 || argc > (format == nullptr ? 6 : 5) ||
      (quantizes && (format == nullptr || format->kind != WeightsFormat::kBlocks))) {
    std::fprintf(stderr,
                 "usage: count_gemm f32|f64|s8|bf16|f16|Q8_0|...|quantize-Q8_0|... M N K [BLAS]\n"
                 "       count_gemm conv-f32|conv-fast|conv-s8 LAYER\n"
                 "       count_gemm attention-f32|attention-f16|attention-q8_0 SHAPE\n"
                 "       count_gemm softmax|rms_norm|layer_norm M 1 K\n");
    return EXIT_FAILURE;
  }
  const GemmShape shape{std::atol(argv[2]), std::atol(argv[3]), std::atol(argv[4])};
  if (quantizes) return count_quantize(*format, shape.m, shape.k);
  if (format != nullptr) return count_weights(*format, shape);
  const GemmContender who = argc == 6 ? cblas_contender("blas", argv[5]) : tessera_contender();
  if (kind == F64::kName) return count<F64>(shape, who);
  if (kind == S8::kName) return count<S8>(shape, who);
  if (kind == BF16::kName) return count<BF16>(shape, who);
  if (kind == F16::kName) return count<F16>(shape, who);
  return count<F32>(shape, who);
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  try {
    return tessera::bench::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "count_gemm: %s\n", e.what());
    return EXIT_FAILURE;
  }
}
