// SPDX-License-Identifier: Apache-2.0
// Products and convolutions of 8-bit integers, weights of few bits, and the quantization of activations.
#include <cmath>
#include <optional>
#include <variant>

#include "convolution.h"
#include "floats.h"
#include "integers.h"
#include "kernel.h"
#include "products.h"

namespace tessera::ort {
namespace {

// MatMulInteger: sums in s32. QLinearMatMul: they are codes again.
class IntegerMatMul : public Kernel {
 public:
  bool read(const NodeView& node) {
    requantizes_ = node.op() == "QLinearMatMul";
    b_ = requantizes_ ? 3 : 1;
    for (const std::size_t i : {a_zero_point(), b_zero_point()}) {
      if (node.rank(i) > 1) return false;
      if (node.has_input(i) && !node.is_byte(i)) return false;
    }
    if (requantizes_) {
      for (const std::size_t i : {1, 4, 6}) {
        if (!node.is_float(i) || node.rank(i) > 1) return false;
      }
      if (!node.is_byte(7)) return false;
    }
    return node.is_byte(0) && node.is_byte(b_);
  }

  void prepare(Preparation& p) override {
    const Tensor* const b = p.constant(b_);
    if (b == nullptr || b->rank() != 2 || count(b->shape) == 0) return;
    b_shape_ = b->shape;
    with_byte(b->type, [&]<class T>(T) {
      packed_ = pack_b(matrix<T>(*b, 0, static_cast<index_t>(b->shape[0]),
                                 static_cast<index_t>(b->shape[1]), false));
    });
    p.release(b_);
  }

  void run(Step& step) const override {
    const Tensor& a = *step.dense_input(0);
    if (const auto* const b = std::get_if<PackedB<std::int8_t>>(&packed_)) {
      return run_with(step, a, b_shape_, [b](const auto&, index_t) -> auto& { return *b; });
    }
    if (const auto* const b = std::get_if<PackedB<std::uint8_t>>(&packed_)) {
      return run_with(step, a, b_shape_, [b](const auto&, index_t) -> auto& { return *b; });
    }
    const Tensor& b = *step.dense_input(b_);
    with_byte(b.type, [&]<class T>(T) {
      run_with(step, a, b.shape, [&b](const BatchedShapes& s, index_t i) {
        return matrix<T>(b, i, s.k, s.n, false);
      });
    });
  }

 private:
  std::size_t a_zero_point() const { return 2; }
  std::size_t b_zero_point() const { return requantizes_ ? 5 : 3; }

  template <class MatrixOfB>
  void run_with(Step& step, const Tensor& a, const Shape& b_shape,
                const MatrixOfB& matrix_of_b) const {
    const BatchedShapes s(a.shape, b_shape);
    const Tensor& y = *step.output(0, s.result);
    const Lines za{step.dense_input(a_zero_point()), "a_zero_point"};
    const Lines zb{step.dense_input(b_zero_point()), "b_zero_point"};
    za.check(s.m);
    zb.check(s.n);
    const Lines ya{requantizes_ ? step.dense_input(1) : nullptr, "a_scale"};
    if (!ya.is_single()) throw std::invalid_argument("a_scale: expected one, got one per row");
    const auto b_zeros = zb.integers(step, s.n);
    const auto a_zeros = za.integers(step, s.m);
    Epilogue steps;
    if (requantizes_) {
      const Lines yb{step.dense_input(4), "b_scale"}, yy{step.dense_input(6), "y_scale"};
      yb.check(s.n);
      steps = epi::requantize(requantization(step, ya, yb, yy, s.n),
                              Lines{step.dense_input(7), "y_zero_point"}.integer(0));
    }
    const GemmOptions options{.context = &step.context()};
    const auto multiply = [&](const auto& va, const auto& vb, const auto& vc) {
      const auto with_b = [&](const auto& zeroed_a) {
        if (zb.is_single()) {
          gemm(zeroed_a, with_zero_point(vb, zb.integer(0)), vc, options, steps);
        } else {
          gemm(zeroed_a, with_zero_points(vb, b_zeros), vc, options, steps);
        }
      };
      if (za.is_single()) {
        with_b(with_zero_point(va, za.integer(0)));
      } else {
        with_b(with_zero_points(va, a_zeros));
      }
    };
    with_byte(a.type, [&]<class TA>(TA) {
      const auto all = [&]<class TY>(TY) {
        if (b_shape.size() == 2 && za.is_single()) {  // one product of all rows
          const index_t rows = s.m * static_cast<index_t>(count(s.batch));
          return multiply(matrix<TA>(a, 0, rows, s.k, false), matrix_of_b(s, 0),
                          row_major(y.as<TY>(), {rows, s.n}));
        }
        s.for_each([&](index_t i, index_t ai, index_t bi) {
          multiply(matrix<TA>(a, ai, s.m, s.k, false), matrix_of_b(s, bi),
                   row_major(y.as<TY>() + i * s.m * s.n, {s.m, s.n}));
        });
      };
      if (requantizes_) {
        with_byte(y.type, all);
      } else {
        all(std::int32_t());
      }
    });
  }

  bool requantizes_ = false;
  std::size_t b_ = 1;
  std::variant<std::monostate, PackedB<std::int8_t>, PackedB<std::uint8_t>> packed_;
  Shape b_shape_;
};

// ConvInteger: sums in s32. QLinearConv: they are codes again.
template <int kRank>
class IntegerConv : public Kernel {
 public:
  bool read(const NodeView& node) {
    requantizes_ = node.op() == "QLinearConv";
    w_ = requantizes_ ? 3 : 1;
    if (!node.is_byte(0) || !node.is_byte(w_) || !geometry_.read(node)) return false;
    if (node.has_input(2) && !node.is_byte(2)) return false;
    if (node.rank(w_zero_point()) > 1) return false;
    if (!requantizes_) return true;
    for (const std::size_t i : {1, 4, 6}) {
      if (!node.is_float(i) || node.rank(i) > 1) return false;
    }
    return node.is_byte(7) && (!node.has_input(8) || node.type(8) == kInt32);
  }

  bool writes_channels() const override { return true; }

  void prepare(Preparation& p) override {
    const Tensor* const w = p.constant(w_);
    if (w == nullptr) return;
    channels_ = w->shape[0];
    kernel_ = spatial_extents<kRank>(*w);
    with_byte(w->type, [&]<class T>(T) {
      packed_ = pack_filters<kRank>(channels_view<const T, kRank + 2>(*w), geometry_.options());
    });
    p.release(w_);
  }

  void run(Step& step) const override {
    if (const auto* const w = std::get_if<PackedFilters<std::int8_t, kRank>>(&packed_)) {
      return run_with(step, *w, channels_, kernel_);
    }
    if (const auto* const w = std::get_if<PackedFilters<std::uint8_t, kRank>>(&packed_)) {
      return run_with(step, *w, channels_, kernel_);
    }
    const Tensor& w = *step.dense_input(w_);
    with_byte(w.type, [&]<class T>(T) {
      run_with(step, channels_view<const T, kRank + 2>(w), w.shape[0], spatial_extents<kRank>(w));
    });
  }

 private:
  std::size_t w_zero_point() const { return requantizes_ ? 5 : 3; }

  template <class W>
  void run_with(Step& step, const W& w, std::int64_t channels,
                const std::array<index_t, kRank>& kernel) const {
    const Tensor& x = *step.input(0);
    const Lines zx{step.dense_input(2), "x_zero_point"},
        zw{step.dense_input(w_zero_point()), "w_zero_point"};
    const index_t columns = static_cast<index_t>(channels);
    zw.check(columns);
    ConvOptions<kRank> options = geometry_.options(x, kernel, step.context());
    options.x_zero_point = zx.integer(0);
    const Shape shape = geometry_.result(x, channels, kernel, options);
    const Tensor& y = *step.output(0, shape, Layout::kChannelsLast);
    with_byte(x.type, [&]<class T>(T) {
      const auto vx = channels_view<const T, kRank + 2>(x);
      if (!zw.is_zero()) return run_with_zero_points(step, vx, w, y, zw, kernel, options);
      if (!requantizes_) {
        return convolve<kRank>(vx, w, channels_view<std::int32_t, kRank + 2>(y), options);
      }
      with_byte(y.type, [&]<class TY>(TY) {
        convolve<kRank>(vx, w, channels_view<TY, kRank + 2>(y), options, epilogue(step, columns));
      });
    });
  }

  Epilogue epilogue(Step& step, index_t columns) const {
    const Lines zy{step.dense_input(7), "y_zero_point"};
    const Epilogue codes = epi::requantize(scales(step, columns), zy.integer(0));
    const Tensor* const bias = step.dense_input(8);
    if (bias == nullptr) return codes;
    float* const numbers = step.scratch_of<float>(columns);
    for (index_t i = 0; i < columns; ++i) {
      numbers[i] = static_cast<float>(bias->as<const std::int32_t>()[i]);
    }
    return epi::bias(row_major<const float>(numbers, {columns})) | codes;
  }

  View<const float, 1> scales(Step& step, index_t columns) const {
    const Lines w{step.dense_input(4), "w_scale"};
    w.check(columns);
    return requantization(step, {step.dense_input(1), "x_scale"}, w,
                          {step.dense_input(6), "y_scale"}, columns);
  }

  // The sum of (x - zx) (w - zw) is that of (x - zx) w, less zw times the sum of x - zx under the filter, which is a convolution
  // with one filter of ones for each group. Rare: most weights are symmetric.
  template <class T, class W>
  void run_with_zero_points(Step& step, const View<const T, kRank + 2>& x, const W& w,
                            const Tensor& y, const Lines& zw,
                            const std::array<index_t, kRank>& kernel,
                            const ConvOptions<kRank>& options) const {
    const std::int64_t columns = y.shape[1], groups = options.groups;
    const std::int64_t pixels = count(y.shape) / std::max<std::int64_t>(1, columns);
    Tensor sums{step.scratch_of<std::int32_t>(pixels * columns), kInt32, y.shape, true};
    convolve<kRank>(x, w, channels_view<std::int32_t, kRank + 2>(sums), options);
    Tensor windows{step.scratch_of<std::int32_t>(pixels * groups), kInt32, y.shape, true};
    windows.shape[1] = groups;
    Shape ones_shape = {groups, static_cast<std::int64_t>(x.extent(kRank + 1)) / groups};
    for (const index_t taps : kernel) ones_shape.push_back(taps);
    std::int8_t* const ones = step.scratch_of<std::int8_t>(count(ones_shape));
    std::fill_n(ones, count(ones_shape), 1);
    const Tensor filters{ones, kInt8, ones_shape};
    convolve<kRank>(x, channels_view<const std::int8_t, kRank + 2>(filters),
                    channels_view<std::int32_t, kRank + 2>(windows), options);
    std::int32_t* const s = sums.as<std::int32_t>();
    for (std::int64_t i = 0; i < pixels; ++i) {
      for (std::int64_t j = 0; j < columns; ++j) {
        const std::int64_t group = j * groups / columns;
        s[i * columns + j] -=
            zw.integer(static_cast<index_t>(j)) * windows.as<std::int32_t>()[i * groups + group];
      }
    }
    store(step, sums, y);
  }

  // The sums as s32, or as codes.
  void store(Step& step, const Tensor& sums, const Tensor& y) const {
    const auto from = channels_view<const std::int32_t, kRank + 2>(sums);
    if (!requantizes_)
      return copy(from, channels_view<std::int32_t, kRank + 2>(y), {.context = &step.context()});
    const index_t columns = static_cast<index_t>(y.shape[1]);
    const auto factors = scales(step, columns);
    const float zero = static_cast<float>(Lines{step.dense_input(7), "y_zero_point"}.integer(0));
    const Tensor* const bias = step.dense_input(8);
    const std::int64_t pixels = count(y.shape) / std::max<std::int64_t>(1, y.shape[1]);
    with_byte(y.type, [&]<class T>(T) {
      Tensor codes{step.scratch_of<T>(count(y.shape)), y.type, y.shape, true};
      for (std::int64_t i = 0; i < pixels * columns; ++i) {
        const index_t j = static_cast<index_t>(i % columns);
        const std::int32_t sum =
            sums.as<std::int32_t>()[i] + (bias == nullptr ? 0 : bias->as<const std::int32_t>()[j]);
        const float code = std::nearbyint(static_cast<float>(sum) * factors(j)) + zero;
        codes.as<T>()[i] =
            static_cast<T>(std::clamp(code, static_cast<float>(std::numeric_limits<T>::lowest()),
                                      static_cast<float>(std::numeric_limits<T>::max())));
      }
      copy(channels_view<const T, kRank + 2>(codes), channels_view<T, kRank + 2>(y),
           {.context = &step.context()});
    });
  }

  ConvGeometry<kRank> geometry_;
  bool requantizes_ = false;
  std::size_t w_ = 1;
  std::variant<std::monostate, PackedFilters<std::int8_t, kRank>,
               PackedFilters<std::uint8_t, kRank>>
      packed_;
  std::int64_t channels_ = 0;
  std::array<index_t, kRank> kernel_{};
};

// Codes of u8 over the range of x and 0, with their scale and zero point.
class DynamicQuantizeLinear : public Kernel {
 public:
  bool read(const NodeView& node) { return node.is_float(0); }

  void run(Step& step) const override {
    const Tensor& x = *step.input(0);
    const std::int64_t n = count(x.shape);
    const float* const values = x.as<const float>();
    float low = 0, high = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      low = std::min(low, values[i]);
      high = std::max(high, values[i]);
    }
    const float scale = high == low ? 1.0f : (high - low) / 255;
    const float zero = std::nearbyint(std::clamp(-low / scale, 0.0f, 255.0f));
    const Tensor& y =
        *step.output(0, x.shape, x.channels_last ? Layout::kChannelsLast : Layout::kAsOnnx);
    const float* const from =
        y.channels_last == x.channels_last ? values : step.dense_input(0)->as<const float>();
    std::uint8_t* const codes = y.as<std::uint8_t>();
    // Adding 1.5 * 2^23 rounds to an integer, ties to even; the clamp before it keeps that exact.
    constexpr float kRounding = 12582912;
    for (std::int64_t i = 0; i < n; ++i) {
      const float quotient = std::min(std::max(from[i] / scale, -512.0f), 512.0f);
      const float code = (quotient + kRounding) - kRounding + zero;
      codes[i] = static_cast<std::uint8_t>(std::min(std::max(code, 0.0f), 255.0f));
    }
    if (const Tensor* const s = step.output(1, {})) *s->as<float>() = scale;
    if (const Tensor* const z = step.output(2, {}))
      *z->as<std::uint8_t>() = static_cast<std::uint8_t>(zero);
  }
};

// Weights of 2, 4 or 8 bits in blocks along k, each with a scale and a zero point.
template <class T>
class MatMulNBits : public Kernel {
 public:
  bool read(const NodeView& node) {
    k_ = static_cast<index_t>(node.integer("K", 0));
    n_ = static_cast<index_t>(node.integer("N", 0));
    bits_ = static_cast<int>(node.integer("bits", 4));
    block_ = static_cast<index_t>(node.integer("block_size", 0));
    // Of 4 a block of activations may be rounded to 8 bits.
    if (node.integer("accuracy_level", 0) == 4) activations_ = Activations::kInt8Block32;
    const bool has_formats =
        (bits_ == 2 || bits_ == 4 || bits_ == 8) && block_ > 0 && block_ % 32 == 0;
    const bool has_constants = node.constant(1) != nullptr && node.constant(2) != nullptr &&
                               node.type(1) == kUint8 && node.is_like_first(2) &&
                               reads_zero_points(node);
    return has_formats && has_constants && k_ > 0 && n_ > 0 && !node.has_input(4) &&
           node.is_like_first(5);
  }

  void prepare(Preparation& p) override {
    bias_.prepare(p);
    expect(*p.constant(1), n_ * row_bytes(), "B");
    expect(*p.constant(2), n_ * blocks() * size_of(DTypeTraits<T>::kDType), "scales");
    const std::vector<std::uint8_t> zeros = zero_points(p.constant(3));
    GroupQuantizedView view;
    view.codes = p.constant(1)->as<const std::uint8_t>();
    view.rows = n_;
    view.cols = k_;
    view.row_bytes = row_bytes();
    view.bits = bits_;
    view.is_signed = false;
    view.group = block_;
    view.scales = p.constant(2)->data;
    view.scale_type = DTypeTraits<T>::kDType;
    view.scale_strides = {blocks(), 1};
    view.zero_points = zeros.data();
    view.zero_point_strides = {blocks(), 1};
    weights_ = pack_weights(view);
    for (const std::size_t i : {1, 2, 3}) p.release(i);
  }

  void run(Step& step) const override {
    const Tensor& a = *step.dense_input(0);
    if (a.rank() == 0 || a.shape.back() != k_) {
      throw std::invalid_argument("A: expected " + std::to_string(k_) + " columns, got " +
                                  to_string(a.shape));
    }
    Shape shape = a.shape;
    shape.back() = n_;
    const index_t rows = static_cast<index_t>(count(a.shape, 0, a.rank() - 1));
    Epilogue steps;
    const std::optional<Tensor> bias = bias_.tensor(step);
    if (bias) steps = epi::bias(View<const float, 1>(vector_view<const float>(*bias)));
    gemm(matrix<T>(a, 0, rows, k_, false), weights_,
         row_major(step.output(0, shape)->as<T>(), {rows, n_}),
         {.activations = activations_, .context = &step.context()}, steps);
  }

 private:
  index_t blocks() const { return (k_ + block_ - 1) / block_; }
  index_t row_bytes() const { return blocks() * block_ * bits_ / 8; }
  int middle() const { return 1 << (bits_ - 1); }
  int highest() const { return (1 << bits_) - 1; }

  // Codes, or numbers that could be codes.
  bool reads_zero_points(const NodeView& node) const {
    if (!node.has_input(3)) return true;
    const Tensor* const zeros = node.constant(3);
    if (zeros == nullptr) return false;
    if (zeros->type == kUint8) return true;
    if (!node.is_like_first(3)) return false;
    const T* const values = zeros->as<const T>();
    return std::all_of(values, values + count(zeros->shape), [&](T value) {
      const float z = static_cast<float>(value);
      return z >= 0 && z <= static_cast<float>(highest()) && z == std::nearbyint(z);
    });
  }

  static void expect(const Tensor& t, index_t bytes, const char* name) {
    if (static_cast<index_t>(t.bytes()) != bytes) {
      throw std::invalid_argument(std::string(name) + ": expected " + std::to_string(bytes) +
                                  " bytes, got " + std::to_string(t.bytes()));
    }
  }

  // [n, blocks], of bits without gaps within a row, of floats, or of nothing.
  std::vector<std::uint8_t> zero_points(const Tensor* given) const {
    std::vector<std::uint8_t> zeros(static_cast<std::size_t>(n_ * blocks()),
                                    static_cast<std::uint8_t>(middle()));
    if (given == nullptr) return zeros;
    const bool is_packed = given->type == kUint8;
    const index_t row = is_packed ? (blocks() * bits_ + 7) / 8 : blocks();
    expect(*given, n_ * row * static_cast<index_t>(size_of_element(given->type)), "zero_points");
    for (index_t i = 0; i < n_ * blocks(); ++i) {
      std::uint8_t& zero = zeros[static_cast<std::size_t>(i)];
      if (is_packed) {
        const index_t bit = i % blocks() * bits_;
        const int byte = given->as<const std::uint8_t>()[i / blocks() * row + bit / 8];
        zero = static_cast<std::uint8_t>(byte >> (bit % 8) & highest());
      } else {
        zero = static_cast<std::uint8_t>(static_cast<float>(given->as<const T>()[i]));
      }
    }
    return zeros;
  }

  index_t k_ = 0, n_ = 0, block_ = 0;
  int bits_ = 4;
  Activations activations_ = Activations::kFloat;
  PackedWeights weights_;
  FloatInput bias_{5};
};

}  // namespace

void add_quantized_products(std::vector<Operator>& operators) {
  for (const char* op : {"MatMulInteger", "QLinearMatMul"}) {
    operators.push_back({kOnnx, op, make_if_read<IntegerMatMul>});
  }
  operators.push_back({kOnnx, "ConvInteger", [](const NodeView& node) {
                         return make_spatial<IntegerConv>(node, node.rank(1));
                       }});
  operators.push_back({kOnnx, "QLinearConv", [](const NodeView& node) {
                         return make_spatial<IntegerConv>(node, node.rank(3));
                       }});
  operators.push_back({kOnnx, "DynamicQuantizeLinear", make_if_read<DynamicQuantizeLinear>});
  operators.push_back({kMicrosoft, "MatMulNBits", make_for_real<MatMulNBits>});
}

}  // namespace tessera::ort
