// SPDX-License-Identifier: Apache-2.0
// gemm with quantized weights: in f32 against gemm with their values, in integers against the specification, both bit
// for bit.

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "executors.h"
#include "errors.h"
#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tessera/ops/affine_quantize.h"
#include "tessera/ops/fp8_quantize.h"
#include "tessera/ops/gemm.h"
#include "tessera/ops/quantize.h"
#include "tessera/ops/weights_pack.h"
#include "tessera/ref/gemm.h"
#include "tessera/ref/weights.h"
#include "testing.h"

namespace tessera::test::weights_test {

constexpr std::array kModes = {Activations::kFloat, Activations::kInt8Block32,
                               Activations::kInt8Block256, Activations::kInt8Row};

index_t block_of(Activations mode, index_t k) {
  return mode == Activations::kInt8Block32    ? 32
         : mode == Activations::kInt8Block256 ? 256
                                              : std::max<index_t>(k, 1);
}

// Quantized weights of some kind, with their values and, where they have any, their integers.
struct Weights {
  std::string name{};
  ConstBlockView blocks{};
  GroupQuantizedView groups{};
  Fp8BlockView fp8{};
  std::vector<std::uint8_t> memory{}, zero_points{};
  std::vector<std::byte> scale_memory{};
  std::vector<float> values{};  // [n, k]
  bool has_integers = true;
  std::vector<std::int16_t> codes{};
  std::vector<float> scales{}, mins{};
  detail::WeightFormat format{};
  index_t n = 0, k = 0;

  View<const float, 2> transposed() const { return {values.data(), {k, n}, {1, k}}; }
  ref::WeightIntegers integers() const {
    const index_t groups_per_row = (k + format.group - 1) / format.group;
    const bool any = format.min != detail::WeightMin::kNone;
    return {{codes.data(), {n, k}, {k, 1}},
            {scales.data(), {n, groups_per_row}, {groups_per_row, 1}},
            {any ? mins.data() : nullptr, {n, groups_per_row}, {groups_per_row, 1}},
            format.group};
  }
  PackedWeights pack(Context* context) const {
    const PackOptions options{.context = context};
    if (blocks.data != nullptr) return pack_weights(blocks, options);
    if (groups.codes != nullptr) return pack_weights(groups, options);
    return pack_weights(fp8, options);
  }
};

float small_scale(std::uint32_t bits, const Weights& w) {
  using detail::WeightScale;
  switch (w.format.scale) {
    case WeightScale::kF32:
      return std::bit_cast<float>(bits);
    case WeightScale::kBF16:
      return static_cast<float>(bf16::from_bits(static_cast<std::uint16_t>(bits)));
    case WeightScale::kE8M0:
      return e8m0_decode(static_cast<std::uint8_t>(bits));
    case WeightScale::kE4M3:
      return static_cast<float>(fp8_e4m3::from_bits(static_cast<std::uint8_t>(bits)));
    default:
      return static_cast<float>(f16::from_bits(static_cast<std::uint16_t>(bits)));
  }
}

// The integers, by the function that packing uses: that it reads them right is what the products in f32 test.
template <class View>
void read_integers(const View& view, Weights& w) {
  using detail::WeightMin;
  using detail::WeightScale;
  const detail::WeightFormat f = w.format = detail::weight_format(view);
  w.has_integers = f.code == detail::WeightCode::kInteger || f.code == detail::WeightCode::kTable;
  if (!w.has_integers) return;
  for (index_t j = 0; j < w.n; ++j) {
    for (index_t u = 0; u * f.unit < w.k; ++u) {
      detail::WeightColumn column{};
      detail::read_unit(view, f, j, u, column);
      for (index_t l = 0; l < std::min(f.unit, w.k - u * f.unit); ++l) {
        const int code = column.codes[static_cast<std::size_t>(l)];
        const int value =
            f.code == detail::WeightCode::kTable ? f.table[static_cast<std::size_t>(code)] : code;
        w.codes.push_back(static_cast<std::int16_t>(value - f.offset));
      }
      for (index_t g = 0; g < f.groups() && u * f.unit + g * f.group < w.k; ++g) {
        const auto at = static_cast<std::size_t>(g);
        const auto half = [](std::uint32_t bits) {
          return static_cast<float>(f16::from_bits(static_cast<std::uint16_t>(bits)));
        };
        float scale = f.scale == WeightScale::kSuper
                          ? half(column.super_scale) * static_cast<std::int8_t>(column.scales[at])
                          : small_scale(column.scales[at], w) * f.factor;
        float min = 0;
        if (f.min == WeightMin::kAdded) min = -half(column.mins[at]);
        if (f.min == WeightMin::kSuper) {
          min = half(column.super_min) * static_cast<float>(column.mins[at]);
        }
        if (f.min == WeightMin::kZeroPoint) {
          min = scale * static_cast<float>(static_cast<std::int16_t>(column.mins[at]));
        }
        w.scales.push_back(scale);
        w.mins.push_back(min);
      }
    }
  }
}

std::vector<float> random_values(index_t n, index_t k, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> x(static_cast<std::size_t>(n * k));
  for (float& v : x) v = random.value<float>(Values::kModerate);
  return x;
}

Weights block_weights(BlockFormat format, index_t n, index_t k) {
  Weights w{.name = std::string(info(format).name), .n = n, .k = k};
  const auto x = random_values(n, k, 7);
  w.memory.resize(static_cast<std::size_t>(n * row_bytes(format, k)));
  const BlockView view = blocks(format, static_cast<void*>(w.memory.data()), n, k, 0.3f);
  quantize(View<const float, 2>{x.data(), {n, k}, {k, 1}}, view);
  w.blocks = view;
  w.values.resize(x.size());
  dequantize(w.blocks, View<float, 2>{w.values.data(), {n, k}, {k, 1}});
  read_integers(w.blocks, w);
  return w;
}

struct GroupKind {
  int bits;
  bool is_signed, zero_points;
  index_t group;  // 0: all columns
  DType scales;
};
constexpr GroupKind kGroupKinds[] = {
    {4, true, false, 0, DType::kF32},   {4, false, true, 128, DType::kF16},
    {4, false, true, 32, DType::kF32},  {8, true, false, 0, DType::kF32},
    {8, false, false, 64, DType::kF16}, {8, false, true, 96, DType::kBF16},
    {2, true, false, 0, DType::kF32},   {8, true, true, 0, DType::kF32},
};

Weights group_weights(const GroupKind& kind, index_t n, index_t k) {
  const index_t group = kind.group == 0 ? k : kind.group;
  Weights w{.name = "groups of " + std::to_string(group) + ", " + std::to_string(kind.bits) +
                    (kind.is_signed ? " bits, signed" : " bits, unsigned") +
                    (kind.zero_points ? ", zero points" : ""),
            .n = n,
            .k = k};
  const auto x = random_values(n, k, 8);
  const index_t bytes = packed_row_bytes(k, kind.bits), count = (k + group - 1) / group;
  w.memory.resize(static_cast<std::size_t>(n * bytes));
  w.zero_points.resize(static_cast<std::size_t>(n * count));
  w.scale_memory.resize(static_cast<std::size_t>(n * count * size_of(kind.scales)));
  MutableGroupQuantizedView view;
  view.codes = w.memory.data();
  view.rows = n;
  view.cols = k;
  view.row_bytes = bytes;
  view.bits = kind.bits;
  view.is_signed = kind.is_signed;
  view.group = group;
  view.scales = w.scale_memory.data();
  view.scale_type = kind.scales;
  view.scale_strides = {count, 1};
  if (kind.zero_points) {
    view.zero_points = w.zero_points.data();
    view.zero_point_strides = {count, 1};
  }
  quantize(View<const float, 2>{x.data(), {n, k}, {k, 1}}, view);
  w.groups = view;
  w.values.resize(x.size());
  dequantize(w.groups, View<float, 2>{w.values.data(), {n, k}, {k, 1}});
  read_integers(w.groups, w);
  return w;
}

Weights fp8_weights(Fp8Format format, index_t block_rows, index_t block_cols, index_t n,
                    index_t k) {
  Weights w{.name = "fp8 in blocks of " + std::to_string(block_cols), .n = n, .k = k};
  const auto x = random_values(n, k, 9);
  const index_t rows = (n + block_rows - 1) / block_rows, cols = (k + block_cols - 1) / block_cols;
  w.memory.resize(static_cast<std::size_t>(n * k));
  w.scale_memory.resize(static_cast<std::size_t>(rows * cols * 4));
  MutableFp8BlockView view;
  view.codes = w.memory.data();
  view.rows = n;
  view.cols = k;
  view.row_bytes = k;
  view.format = format;
  view.block_rows = block_rows;
  view.block_cols = block_cols;
  view.scales = reinterpret_cast<float*>(w.scale_memory.data());
  view.scale_strides = {cols, 1};
  quantize(View<const float, 2>{x.data(), {n, k}, {k, 1}}, view);
  w.fp8 = view;
  w.values.resize(x.size());
  dequantize(w.fp8, View<float, 2>{w.values.data(), {n, k}, {k, 1}});
  read_integers(w.fp8, w);
  return w;
}

// Some columns more than a panel of this target, and than two.
index_t panel_of(Target target) {
  Context context;
  context.target = target;
  const GemmPlan plan = plan_gemm<float>(1000, 1000, 1000, &context);
  return plan.nr;
}

struct WeightCase {
  Target target = Target::kScalar;
  Activations mode = Activations::kFloat;
  index_t m = 1;
  Layout a = Layout::kRowMajor, c = Layout::kRowMajor;
  double alpha = 1, beta = 0;
  unsigned edges = 3;
  Executor executor{};
  bool small_caches = false;
};

std::string describe(const WeightCase& g, const Weights& w) {
  const auto number = [](auto x) { return " " + std::to_string(x); };
  return std::string(name(g.target)) + " " + w.name + ", mode" + number(static_cast<int>(g.mode)) +
         ", m,n,k" + number(g.m) + number(w.n) + number(w.k) + ", layouts" +
         number(static_cast<int>(g.a)) + number(static_cast<int>(g.c)) + ", alpha,beta" +
         number(g.alpha) + number(g.beta) + ", edges" + number(g.edges) + ", small caches" +
         number(g.small_caches);
}

struct Workspace {
  GuardedMemory a, c;
  Random random;
};

bool close(float x, float y, double magnitude) {
  return same(x, y) || std::fabs(double{x} - double{y}) <= 1e-5 * magnitude;
}

std::string run_case(Workspace& ws, const WeightCase& g, const Weights& w,
                     const PackedWeights& packed) {
  Matrix<float> a(ws.a, g.m, w.k, g.a, g.edges & 1 ? Edge::kEnd : Edge::kStart);
  Matrix<float> c(ws.c, g.m, w.n, g.c, g.edges & 2 ? Edge::kEnd : Edge::kStart);
  a.fill(ws.random, Values::kModerate);
  if (g.beta != 0) c.fill(ws.random, Values::kModerate);
  std::vector<float> expected = c.copy();
  Context context;
  context.target = g.target;
  context.executor = g.executor;
  if (g.small_caches) context.caches = small_caches();
  GemmOptions options{.alpha = g.alpha, .beta = g.beta, .context = &context};
  if (g.mode == Activations::kFloat) {
    gemm(a.read_only(), w.transposed(), c.view_of(expected), options);
  } else {
    ref::gemm(a.read_only(), w.integers(), c.view_of(expected), block_of(g.mode, w.k),
              static_cast<float>(g.alpha), static_cast<float>(g.beta));
  }
  options.activations = g.mode;
  gemm(a.read_only(), packed, c.view(), options);
  if (g.mode != Activations::kFloat && !has_fma(g.target)) {  // rounds twice
    const auto want = c.view_of(expected);
    for (index_t i = 0; i < g.m; ++i) {
      for (index_t j = 0; j < w.n; ++j) {
        if (close(c.view()(i, j), want(i, j), 1e3 * static_cast<double>(w.k))) {
          want(i, j) = c.view()(i, j);
        }
      }
    }
  }
  return c.difference(expected);
}

// Every kind of weights.
std::vector<Weights> all_weights(index_t n, index_t k) {
  std::vector<Weights> all;
  for (const BlockFormat format : kBlockFormats) {
    if (k % info(format).block == 0) all.push_back(block_weights(format, n, k));
  }
  for (const GroupKind& kind : kGroupKinds) all.push_back(group_weights(kind, n, k));
  all.push_back(fp8_weights(Fp8Format::kE4M3, 128, 128, n, k));
  all.push_back(fp8_weights(Fp8Format::kE5M2, n, k, n, k));
  return all;
}

TEST_CASE("gemm with quantized weights") {
  for_each_target([](Target target) {
    Tally tally;
    Workspace ws;
    Sampler sampler(10);
    const index_t panel = panel_of(target);
    const std::array<std::array<index_t, 2>, 4> sizes = {
        {{panel + 1, 512}, {2 * panel, 256}, {3, 768}, {panel - 1, 96}}};
    for (const auto& [n, k] : sizes) {
      for (const Weights& w : all_weights(n, k)) {
        Context context;
        context.target = target;
        const PackedWeights packed = w.pack(&context);
        for (const Activations mode : kModes) {
          if (mode != Activations::kFloat && !w.has_integers) continue;
          for (const index_t m : {1, 2, 3, 4, 7}) {
            if (sampler.skip()) continue;
            const WeightCase g{
                .target = target, .mode = mode, .m = m, .edges = m % 2 == 0 ? 2u : 3u};
            tally.add(run_case(ws, g, w, packed), [&] { return describe(g, w); });
          }
        }
      }
    }
  });
}

TEST_CASE("gemm with quantized weights: layouts, scaling, blocks, threads") {
  for_each_target([](Target target) {
    Tally tally;
    Workspace ws;
    const index_t n = 2 * panel_of(target) + 3, k = 512;
    std::vector<Weights> some;
    for (const BlockFormat f :
         {BlockFormat::kQ4_0, BlockFormat::kQ4_K, BlockFormat::kQ6_K, BlockFormat::kIQ4_NL}) {
      some.push_back(block_weights(f, n, k));
    }
    some.push_back(group_weights(kGroupKinds[1], n, k));
    some.push_back(group_weights(kGroupKinds[0], n, 301));  // no whole unit, no whole word
    some.push_back(fp8_weights(Fp8Format::kE4M3, 128, 300, n, 300));
    Shuffled shuffled;
    StdThreads threads{3};
    unsigned turn = 0;
    Sampler sampler(6);
    for (const Weights& w : some) {
      Context context;
      context.target = target;
      const PackedWeights packed = w.pack(&context);
      for (const Activations mode : kModes) {
        if (mode != Activations::kFloat && !w.has_integers) continue;
        for (const Layout layout : kInputLayouts) {
          if (sampler.skip()) continue;
          ++turn;
          WeightCase g{.target = target, .mode = mode, .m = 5 + turn % 16, .a = layout};
          g.c = kOutputLayouts[turn % kOutputLayouts.size()];
          g.alpha = turn % 3 == 0 ? 0.3 : 1;
          g.beta = turn % 4 == 0 ? -1.7 : turn % 4 == 1 ? 1 : 0;
          g.edges = turn % 4;
          g.small_caches = turn % 2 == 0;
          if (turn % 3 == 1) g.executor = Executor::from_function(3, shuffled);
          if (turn % 3 == 2) g.executor = Executor::from_function(3, threads);
          tally.add(run_case(ws, g, w, packed), [&] { return describe(g, w); });
        }
      }
    }
  });
}

// Other types, and what follows the sums.
TEST_CASE("gemm with quantized weights: types and epilogues") {
  for_each_target([](Target target) {
    const index_t m = 6, n = panel_of(target) + 5, k = 256;
    const Weights w = block_weights(BlockFormat::kQ5_K, n, k);
    Random random(3);
    std::vector<bf16> a(static_cast<std::size_t>(m * k));
    for (bf16& x : a) x = random.value<bf16>(Values::kModerate);
    std::vector<float> wide(a.size()), bias(static_cast<std::size_t>(n)),
        sums(static_cast<std::size_t>(m * n)), expected(sums);
    for (std::size_t i = 0; i < a.size(); ++i) wide[i] = static_cast<float>(a[i]);
    for (float& x : bias) x = random.value<float>(Values::kModerate);
    Context context;
    context.target = target;
    const PackedWeights packed = w.pack(&context);
    const View<const bf16, 2> narrow{a.data(), {m, k}, {k, 1}};
    const View<const float, 2> activations{wide.data(), {m, k}, {k, 1}};
    const View<float, 2> c{sums.data(), {m, n}, {n, 1}}, want{expected.data(), {m, n}, {n, 1}};
    const auto epilogue = epi::bias(View<const float, 1>(bias.data(), {n}, {1})) | epi::relu();
    for (const Activations mode : kModes) {
      const GemmOptions options{.activations = mode, .context = &context};
      gemm(activations, packed, want, options);
      for (index_t i = 0; i < m; ++i) {
        for (index_t j = 0; j < n; ++j) {
          want(i, j) = std::max(0.0f, want(i, j) + bias[static_cast<std::size_t>(j)]);
        }
      }
      gemm(narrow, packed, c, options, epilogue);
      CHECK(sums == expected);
      std::vector<f16> halves(sums.size());
      gemm(narrow, packed, View<f16, 2>{halves.data(), {m, n}, {n, 1}}, options, epilogue);
      bool equal = true;
      for (std::size_t i = 0; i < sums.size(); ++i) {
        equal = equal && halves[i].bits == f16(expected[i]).bits;
      }
      CHECK(equal);
    }
  });
}

TEST_CASE("gemm with quantized weights: batches and groups are products in turn") {
  const index_t n = 40, k = 256;
  const Weights first = block_weights(BlockFormat::kQ4_K, n, k),
                second = block_weights(BlockFormat::kQ6_K, n, k);
  const PackedWeights experts[] = {first.pack(nullptr), second.pack(nullptr)};
  const auto a = random_values(12, k, 5);
  std::vector<float> c(static_cast<std::size_t>(12 * n)), expected(c);
  using Group = GemmGroup<View<const float, 2>, PackedWeights, View<float, 2>>;
  const auto groups = [&](std::vector<float>& to) {
    std::vector<Group> list;
    for (const auto& [row, rows, expert] :
         {std::array{0, 5, 0}, {5, 0, 1}, {5, 6, 1}, {11, 1, 0}}) {
      list.push_back({{a.data() + row * k, {rows, k}, {k, 1}},
                      &experts[expert],
                      {to.data() + row * n, {rows, n}, {n, 1}}});
    }
    return list;
  };
  StdThreads threads{2};
  Context context;
  context.executor = Executor::from_function(2, threads);
  for (const Activations mode : kModes) {
    const GemmOptions options{.activations = mode, .context = &context};
    const auto together = groups(c);
    gemm_grouped(std::span<const Group>(together), options);
    for (const Group& g : groups(expected)) gemm(g.a, *g.b, g.c, {.activations = mode});
    CHECK(c == expected);
  }
}

TEST_CASE("gemm with quantized weights: infinities and NaN stay in their row") {
  for_each_target([](Target target) {
    const index_t m = 4, n = 20, k = 512;
    const Weights w = block_weights(BlockFormat::kQ8_0, n, k);
    auto a = random_values(m, k, 6);
    a[0 * k + 300] = std::numeric_limits<float>::infinity();
    a[1 * k + 2] = std::numeric_limits<float>::quiet_NaN();
    for (index_t l = 0; l < k; ++l) a[static_cast<std::size_t>(2 * k + l)] = 0;
    for (index_t l = 0; l < k; ++l) a[static_cast<std::size_t>(3 * k + l)] = 1e-42f;  // subnormal
    Context context;
    context.target = target;
    const PackedWeights packed = w.pack(&context);
    std::vector<float> c(static_cast<std::size_t>(m * n));
    for (const Activations mode : kModes) {
      if (mode == Activations::kFloat) continue;
      gemm(View<const float, 2>{a.data(), {m, k}, {k, 1}}, packed,
           View<float, 2>{c.data(), {m, n}, {n, 1}}, {.activations = mode, .context = &context});
      for (index_t j = 0; j < n; ++j) {
        const auto at = [&](index_t i) { return c[static_cast<std::size_t>(i * n + j)]; };
        CHECK((at(0) != at(0) && at(1) != at(1)));
        CHECK(at(2) == 0);
        CHECK(std::fabs(at(3)) < 1e-35f);
      }
    }
  });
}

TEST_CASE("pack_weights and gemm refuse what they can't do") {
  const Weights w = block_weights(BlockFormat::kQ4_0, 8, 64);
  const Weights fp8 = fp8_weights(Fp8Format::kE4M3, 128, 128, 8, 64);
  ConstBlockView odd = w.blocks;
  odd.cols = 40;
  CHECK(error_of([&] { pack_weights(odd); }) ==
        "pack_weights: weights.cols: expected a multiple of 32 (a block of Q4_0), got 40");
  odd = w.blocks;
  odd.data = nullptr;
  CHECK(error_of([&] { pack_weights(odd); }) ==
        "pack_weights: weights: expected data for extents {8, 64}, got a null pointer");
  Weights groups = group_weights(kGroupKinds[2], 8, 64);
  groups.groups.group = 48;
  CHECK(error_of([&] { pack_weights(groups.groups); }) ==
        "pack_weights: weights.group: expected a multiple of 32, or at least 64 (all columns), got "
        "48");
  groups.groups.bits = 3;
  CHECK(error_of([&] { pack_weights(groups.groups); }) ==
        "pack_weights: weights.bits: expected 8, 4 or 2, got 3");

  PackedWeights packed = w.pack(nullptr);
  std::vector<float> a(64 * 4), c(8 * 4, 5.0f), poison = c;
  const View<const float, 2> va{a.data(), {4, 64}, {64, 1}};
  const View<float, 2> vc{c.data(), {4, 8}, {8, 1}};
  CHECK(error_of([&] { gemm(View<const float, 2>{a.data(), {4, 32}, {64, 1}}, packed, vc); }) ==
        "gemm: b: expected 32 rows (the columns of a), got 64");
  CHECK(
      error_of([&] { gemm(va, fp8.pack(nullptr), vc, {.activations = Activations::kInt8Row}); }) ==
      "gemm: options.activations: expected kFloat for weights of small floats, got integers");
  CHECK(error_of([&] { gemm(va, w.transposed(), vc, {.activations = Activations::kInt8Row}); }) ==
        "gemm: options.activations: expected kFloat where b is not PackedWeights, got integers");
  CHECK(error_of([&] { gemm(pack_a(va), packed, vc); }) ==
        "gemm: a: expected a view where b is quantized weights, got a packed operand");
  for (const Target target : available_targets()) {
    if (target == packed.target()) continue;
    Context other;
    other.target = target;
    CHECK(error_of([&] { gemm(va, packed, vc, {.context = &other}); }) ==
          "gemm: b: expected weights packed for " + std::string(name(target)) +
              ", got some packed for " + std::string(name(packed.target())));
  }
  const PackedWeights moved = std::move(packed);
  CHECK(error_of([&] { gemm(va, packed, vc); }) ==
        "gemm: b: expected packed weights, got some that were moved from");
  std::array<std::byte, 64> little;
  Context lent{.scratch = Scratch(little)};
  CHECK(error_of([&] {
          gemm(va, moved, vc, {.context = &lent});
        }).starts_with("gemm: context.scratch: expected at least "));
  CHECK(c == poison);
}

TEST_CASE("gemm with quantized weights: empty products") {
  const Weights w = block_weights(BlockFormat::kQ4_0, 8, 64);
  std::vector<float> c(8 * 3, 2.0f);
  const View<float, 2> vc{c.data(), {3, 8}, {8, 1}};
  std::vector<float> a(64 * 3, 1.0f);
  for (const Activations mode : kModes) {
    std::fill(c.begin(), c.end(), 2.0f);
    gemm(View<const float, 2>{a.data(), {3, 64}, {64, 1}}, w.pack(nullptr), vc,
         {.alpha = 0, .beta = 0.5, .activations = mode});
    CHECK(c == std::vector<float>(c.size(), 1.0f));
    ConstBlockView none = w.blocks;
    none.cols = 0;
    gemm(View<const float, 2>{a.data(), {3, 0}, {64, 1}}, pack_weights(none), vc,
         {.beta = 0, .activations = mode});
    CHECK(c == std::vector<float>(c.size(), 0.0f));
    none.rows = 0;
    gemm(View<const float, 2>{a.data(), {3, 0}, {64, 1}}, pack_weights(none),
         View<float, 2>{c.data(), {3, 0}, {8, 1}}, {.activations = mode});
  }
}

// The same bits on every target, at every vector length: digest.h.
TEST_CASE("gemm with quantized weights gives the same bits everywhere", "[reproducibility]") {
  constexpr std::uint64_t kGolden = 0x5eb04eb40d24e57b;
  const index_t m = 5, n = 37, k = 512;
  const auto all = all_weights(n, k);
  const auto a = random_values(m, k, 11);
  for (const Target target : tested_targets()) {
    Context context;
    context.target = target;
    Digest digest;
    std::vector<float> c(static_cast<std::size_t>(m * n));
    for (const Weights& w : all) {
      const PackedWeights packed = w.pack(&context);
      for (const Activations mode : kModes) {
        if (mode != Activations::kFloat && !w.has_integers) continue;
        gemm(View<const float, 2>{a.data(), {m, k}, {k, 1}}, packed,
             View<float, 2>{c.data(), {m, n}, {n, 1}}, {.activations = mode, .context = &context});
        for (const float x : c) digest.add(x);
      }
    }
    std::printf("%-14s %016" PRIx64 "  gemm with quantized weights\n", name(target).data(),
                digest.value());
    append_digest("gemm_weights", target, digest.value());
    if (!has_fma(target)) continue;
    CAPTURE(name(target));
    CHECK(digest.value() == kGolden);
  }
  std::fflush(stdout);
}

}  // namespace tessera::test::weights_test
