// SPDX-License-Identifier: Apache-2.0
// What each format of quantized weights costs a network: bits, errors of the weights, and of products with them.
//
// Weights come from a file of floats, from a manifest of TensorFlow.js with its shards, or from a generator, so that
// there is always something to report. A layer is a matrix [n, k]: a row for each output channel, a column for each
// input that is multiplied with it. It is quantized, and multiplied with random activations:
//
//   expected = x W^T                 x: [m, k], normally distributed
//   actual   = x dequantize(Q)^T     by gemm with the packed weights Q, in floats, or in integers of 8 bits
//
// Weights and products have the same bits on every target with fused multiply-add.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/tessera.h"
#include "tfjs_model.h"

namespace {

namespace ts = tessera;
using ts::index_t;
using Floats = std::vector<float>;
using Input = ts::View<const float, 2>;

std::size_t to_size(index_t n) { return static_cast<std::size_t>(n); }

// ---- Command line

constexpr char kUsage[] =
    "usage: quantize_report [options] [file]\n"
    "  file         a weight manifest of TensorFlow.js (*.json), beside its shards, or with "
    "--shape the\n"
    "               little-endian floats of one matrix; without a file layers are generated\n"
    "  --shape NxK  rows (output channels) and columns of that matrix\n"
    "  --layers     every layer in every format, the worst first\n"
    "  --rows N     rows of the activations that are multiplied with the weights (16)\n"
    "  --help       this text\n"
    "TESSERA_TARGET=name in the environment chooses the instruction set.\n";

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  std::string file{};
  index_t n = 0, k = 0, rows = 16;
  bool layers = false, help = false;
};

// The number from 1 to `most` that is the whole of `text`, or 0.
index_t parse_number(std::string_view text, index_t most) {
  index_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && at == end && value >= 1 && value <= most ? value : 0;
}

Options parse_options(char** argument) {  // a list that ends with a null pointer
  Options options;
  while (*argument != nullptr) {
    const std::string_view option = *argument++;
    if (option == "--help" || option == "-h") {
      options.help = true;
    } else if (option == "--layers") {
      options.layers = true;
    } else if (option == "--shape" || option == "--rows") {
      const std::string_view value = *argument != nullptr ? *argument++ : "";
      const std::size_t x = std::min(value.find('x'), value.size());
      if (option == "--rows") {
        options.rows = parse_number(value, 4096);
      } else if (x < value.size()) {
        options.n = parse_number(value.substr(0, x), 1 << 24);
        options.k = parse_number(value.substr(x + 1), 1 << 24);
      }
      if (options.rows == 0 || (option == "--shape" && (options.n == 0 || options.k == 0))) {
        throw UsageError(
            std::string(option) + " takes " +
            (option == "--rows" ? "a number from 1 to 4096" : "rows x columns, as 64x256") +
            ", got \"" + std::string(value) + "\"");
      }
    } else if (option.starts_with("-")) {
      throw UsageError("unknown option " + std::string(option));
    } else if (!options.file.empty()) {
      throw UsageError("more than one file: " + std::string(option));
    } else {
      options.file = option;
    }
  }
  const bool manifest = options.file.ends_with(".json");
  if (options.n != 0 && options.file.empty())
    throw UsageError("--shape is of a file, but there is none");
  if (options.n != 0 && manifest) throw UsageError("--shape: a manifest has shapes of its own");
  if (options.n == 0 && !manifest && !options.file.empty()) {
    throw UsageError(options.file + " is no manifest (*.json): as plain floats it needs --shape");
  }
  return options;
}

// ---- Weights

// A matrix [n, k] whose rows are filled up with zeros to `stride` columns, whole blocks of every format.
struct Layer {
  static constexpr index_t kLongestBlock = 256;

  Layer(std::string layer_name, index_t rows, index_t cols)
      : name(std::move(layer_name)),
        n(rows),
        k(cols),
        stride((cols + kLongestBlock - 1) / kLongestBlock * kLongestBlock),
        weights(to_size(n * stride)) {}

  float& operator()(index_t i, index_t j) { return weights[to_size(i * stride + j)]; }
  // The first `cols` columns.
  Input view(index_t cols) const {
    return ts::strided(weights.data(), {n, cols}, {stride, index_t{1}});
  }
  float largest() const {
    float most = 0;
    for (const float w : weights) most = std::max(most, std::abs(w));
    return most;
  }

  std::string name;
  index_t n, k, stride;
  Floats weights;
};

struct Model {
  std::string description{};
  std::vector<Layer> layers{};
};

float read_f32(const std::uint8_t* bytes) {
  return std::bit_cast<float>(tfjs::little_endian(bytes, 4));
}

Model read_floats(const Options& options) {
  const tfjs::Bytes bytes = tfjs::read_file(options.file);
  if (const auto expected = 4 * static_cast<std::uintmax_t>(options.n) * to_size(options.k);
      bytes.size() != expected) {
    throw std::runtime_error(options.file + " has " + std::to_string(bytes.size()) + " bytes; " +
                             std::to_string(options.n) + "x" + std::to_string(options.k) +
                             " floats are " + std::to_string(expected));
  }
  Layer layer(std::filesystem::path(options.file).filename().string(), options.n, options.k);
  for (index_t i = 0; i < options.n; ++i) {
    for (index_t j = 0; j < options.k; ++j)
      layer(i, j) = read_f32(&bytes[to_size(4 * (i * options.k + j))]);
  }
  return {options.file, {std::move(layer)}};
}

// The last axis of filters and of dense layers counts output channels, the others inputs.
Model read_manifest(const std::filesystem::path& path) {
  Model model;
  index_t biases = 0, depthwise = 0, others = 0, quantized = 0;
  for (const tfjs::Tensor& tensor : tfjs::read_model(path)) {
    if (tensor.dtype != "float32" || tensor.values.empty()) {
      ++others;
    } else if (tensor.shape.size() != 2 && tensor.shape.size() != 4) {
      ++biases;
    } else if (tensor.name.find("depthwise") != std::string::npos) {
      ++depthwise;
    } else {
      quantized += tensor.is_affine ? 1 : 0;
      const index_t n = tensor.shape.back();
      const auto elements = static_cast<index_t>(tensor.values.size());
      Layer layer(tensor.name, n, elements / n);
      for (index_t i = 0; i < elements; ++i) layer(i % n, i / n) = tensor.values[to_size(i)];
      model.layers.push_back(std::move(layer));
    }
  }
  model.description = path.string();
  const auto tell = [&](index_t number, const char* what) {
    if (number > 0) model.description += "\n" + std::to_string(number) + " " + what;
  };
  tell(quantized, "of the layers come as integers; errors are against the values of those");
  tell(depthwise, "depthwise filters left out: they are no matrix products");
  tell(biases,
       "biases and others left out: neither matrices nor filters [height, width, inputs, outputs]");
  tell(others, "tensors left out, which are empty or no floats");
  return model;
}

// ---- Random numbers

// SplitMix64's mixing of a counter.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// The i-th number of stream `seed`, close to the normal distribution with variance 1: the sum of twelve uniform ones,
// of 16 bits each, which is exact.
float normal(std::uint64_t seed, std::uint64_t i) {
  std::int64_t sum = 0;
  for (std::uint64_t word = 0; word < 3; ++word) {
    const std::uint64_t bits = mix(mix(seed) + 3 * i + word);
    for (int shift = 0; shift < 64; shift += 16) {
      sum += static_cast<std::int64_t>(bits >> shift & 0xffff) - 0x8000;
    }
  }
  return static_cast<float>(sum) * 0x1p-16f;
}

// What quantizers meet: a normal distribution, a few input channels that are much larger, and short rows with channels
// of different sizes.
Model generate() {
  Model model{"generated layers",
              {{"normal", 96, 512}, {"outliers", 64, 512}, {"filters", 48, 147}}};
  std::uint64_t seed = 1;
  for (Layer& layer : model.layers) {
    for (index_t i = 0; i < layer.n; ++i) {
      for (index_t j = 0; j < layer.k; ++j) {
        float w = 0.0625f * normal(seed, static_cast<std::uint64_t>(i * layer.k + j));
        if (layer.name == "outliers" && j % 61 == 7) w *= 16;
        if (layer.name == "filters") w *= static_cast<float>(1 + i % 8);
        layer(i, j) = w;
      }
    }
    ++seed;
  }
  return model;
}

// ---- Formats

struct Format {
  enum class Kind : std::uint8_t { kBlocks, kGroups, kFp8 };

  std::string name;
  Kind kind = Kind::kBlocks;
  ts::BlockFormat block{};  // of kBlocks
  int bits = 8;             // of kGroups, from here on
  index_t group = 0;        // 0: a row
  bool ternary = false;

  bool has_integers() const {
    switch (block) {
      case ts::BlockFormat::kMXFP6_E2M3:
      case ts::BlockFormat::kMXFP6_E3M2:
      case ts::BlockFormat::kMXFP8_E4M3:
      case ts::BlockFormat::kMXFP8_E5M2:
        return false;
      default:
        return kind != Kind::kFp8;
    }
  }
};

std::vector<Format> all_formats() {
  std::vector<Format> formats;
  for (const ts::BlockFormat f : ts::kBlockFormats) {
    formats.push_back({.name = std::string(ts::info(f).name), .block = f});
  }
  constexpr auto kGroups = Format::Kind::kGroups;
  formats.push_back({.name = "s8 per row", .kind = kGroups, .bits = 8});
  formats.push_back({.name = "s4 per row", .kind = kGroups, .bits = 4});
  formats.push_back({.name = "s2 per row", .kind = kGroups, .bits = 2});
  formats.push_back({.name = "s4 of 32", .kind = kGroups, .bits = 4, .group = 32});
  formats.push_back({.name = "s4 of 128", .kind = kGroups, .bits = 4, .group = 128});
  formats.push_back({.name = "ternary", .kind = kGroups, .bits = 2, .ternary = true});
  formats.push_back({.name = "E4M3 128x128", .kind = Format::Kind::kFp8});
  return formats;
}

struct Quantized {
  double bits = 0;      // of all codes and scales
  index_t padding = 0;  // columns of zeros
  Floats values{};      // [n, stride of the layer]
  ts::PackedWeights packed{};
};

Quantized quantize(const Layer& layer, const Format& format) {
  Quantized q{.values = Floats(layer.weights.size())};
  const auto values = [&](index_t cols) {
    return ts::strided(q.values.data(), {layer.n, cols}, {layer.stride, index_t{1}});
  };
  const auto rows = static_cast<double>(layer.n);
  if (format.kind == Format::Kind::kBlocks) {
    const index_t block = ts::info(format.block).block;
    const index_t cols = (layer.k + block - 1) / block * block;
    const index_t bytes = ts::row_bytes(format.block, cols);
    std::vector<std::byte> memory(to_size(layer.n * bytes));
    const bool nvfp4 = format.block == ts::BlockFormat::kNVFP4;
    const auto weights = ts::blocks(format.block, memory.data(), layer.n, cols,
                                    nvfp4 ? ts::nvfp4_tensor_scale(layer.largest()) : 1);
    ts::quantize(layer.view(cols), weights);
    ts::dequantize(weights, values(cols));
    q.packed = ts::pack_weights(weights);
    q.bits = 8 * rows * static_cast<double>(bytes);
    q.padding = cols - layer.k;
  } else if (format.kind == Format::Kind::kGroups) {
    // Scales of groups are of 16 bits, those of rows and matrices of 32.
    const ts::DType scale_type = format.group > 0 ? ts::DType::kF16 : ts::DType::kF32;
    ts::GroupQuantizedMatrix matrix({.rows = layer.n,
                                     .cols = layer.k,
                                     .bits = format.bits,
                                     .group = format.group,
                                     .scale_type = scale_type});
    ts::MutableGroupQuantizedView weights = matrix.view();
    if (format.ternary) weights.scale_strides = {0, 0};
    ts::quantize(layer.view(layer.k), weights,
                 {.scaling = format.ternary ? ts::Scaling::kAbsMean : ts::Scaling::kMinMax});
    ts::dequantize(weights, values(layer.k));
    q.packed = ts::pack_weights(weights);
    const double scales = format.ternary ? 1 : rows * static_cast<double>(weights.groups());
    q.bits = 8 * (rows * static_cast<double>(weights.row_bytes) +
                  scales * static_cast<double>(ts::size_of(scale_type)));
  } else {
    tfjs::Bytes codes(to_size(layer.n * layer.k));
    ts::MutableFp8BlockView weights{.codes = codes.data(),
                                    .rows = layer.n,
                                    .cols = layer.k,
                                    .row_bytes = layer.k,
                                    .block_rows = 128,
                                    .block_cols = 128};
    Floats scales(to_size(weights.rows_of_blocks() * weights.cols_of_blocks()));
    weights.scales = scales.data();
    weights.scale_strides = {weights.cols_of_blocks(), 1};
    ts::quantize(layer.view(layer.k), weights);
    ts::dequantize(weights, values(layer.k));
    q.packed = ts::pack_weights(weights);
    q.bits = 8.0 * static_cast<double>(codes.size()) + 32.0 * static_cast<double>(scales.size());
  }
  return q;
}

// ---- The report

struct Row {
  const Layer* layer = nullptr;
  double bits = 0;
  ts::QuantizationError error{};
  double largest_error = 0;          // as a part of the largest weight
  double product = 0;                // |actual - expected| / |expected|
  std::optional<double> integers{};  // likewise, where the format has integers

  // What rows are sorted by. Values that overflowed have no SNR: they are the worst.
  double quality() const {
    return std::isnan(error.snr_db) ? -std::numeric_limits<double>::infinity() : error.snr_db;
  }
};

// Random activations and their exact counterpart, for one layer.
class Product {
 public:
  Product(const Layer& layer, index_t m) : layer_(layer), m_(m) {
    x_.resize(to_size(m * layer.stride));  // no activations where the weights are padding
    for (index_t i = 0; i < m; ++i) {
      for (index_t j = 0; j < layer.k; ++j) {
        x_[to_size(i * layer.stride + j)] =
            normal(100, static_cast<std::uint64_t>(i * layer.k + j));
      }
    }
    expected_.resize(to_size(m * layer.n));
    actual_.resize(expected_.size());
    ts::gemm(activations(layer.k), ts::transposed(layer.view(layer.k)),
             ts::row_major(expected_, {m, layer.n}));
  }

  double error(const ts::PackedWeights& weights, ts::Activations mode) {
    const auto actual = ts::row_major(actual_, {m_, layer_.n});
    ts::gemm(activations(weights.rows()), weights, actual, {.activations = mode});
    double distance = 0, size = 0;
    for (std::size_t i = 0; i < expected_.size(); ++i) {
      const double e = expected_[i], d = actual_[i] - e;
      distance = std::fma(d, d, distance);
      size = std::fma(e, e, size);
    }
    return distance == 0 ? 0 : std::abs(std::sqrt(distance / size));  // NaN has no sign
  }

 private:
  Input activations(index_t k) const {
    return ts::strided(x_.data(), {m_, k}, {layer_.stride, index_t{1}});
  }

  const Layer& layer_;
  index_t m_;
  Floats x_, expected_, actual_;
};

// A bar that is redrawn on a terminal, nothing elsewhere.
class Progress {
 public:
  explicit Progress(std::size_t steps) : steps_(steps) {}
  ~Progress() { clear(); }
  void step(const std::string& layer, const std::string& format) {
    ++done_;
    if (!terminal_) return;
    constexpr int kWidth = 30;
    const int filled = static_cast<int>(done_ * kWidth / steps_);
    std::fprintf(stderr, "\r[%.*s%*s] %3zu %%  %.30s %.12s\33[K", filled,
                 "==============================", kWidth - filled, "", 100 * done_ / steps_,
                 layer.c_str(), format.c_str());
  }
  void clear() const {
    if (terminal_) std::fprintf(stderr, "\r\33[K");
  }

 private:
  bool terminal_ = isatty(STDERR_FILENO) == 1;
  std::size_t done_ = 0, steps_;
};

void print_header(const char* last) {
  std::printf("%-13s%7s%9s%10s%9s%11s%11s  %s\n", "format", "bits", "SNR dB", "cosine", "max err",
              "gemm f32", "gemm s8", last);
}

void print_row(const std::string& format, const Row& row, const std::string& last) {
  char integers[32] = "-";
  if (row.integers) std::snprintf(integers, sizeof(integers), "%.2e", *row.integers);
  std::printf("%-13s%7.3f%9.2f%10.6f%9.4f%11.2e%11s  %s\n", format.c_str(), row.bits,
              row.error.snr_db, row.error.cosine, row.largest_error, row.product, integers,
              last.c_str());
}

struct FormatReport {
  double bits = 0;  // of all layers
  index_t padded = 0;
  std::vector<Row> rows{};
};

void report(const Model& model, const Options& options) {
  const ts::Target target = ts::active_target();  // refuses an unknown TESSERA_TARGET right here
  if (model.layers.empty())
    throw std::runtime_error(model.description + "\nthere is no layer to quantize");
  const std::vector<Format> formats = all_formats();
  std::vector<FormatReport> reports(formats.size());
  double total = 0;
  Progress progress(model.layers.size() * formats.size());
  for (const Layer& layer : model.layers) {
    if (!std::all_of(layer.weights.begin(), layer.weights.end(),
                     [](float w) { return std::isfinite(w); })) {
      throw std::runtime_error(layer.name + " has weights that are no finite numbers");
    }
    const double count = static_cast<double>(layer.n) * static_cast<double>(layer.k);
    const float largest = layer.largest();
    Product product(layer, options.rows);
    total += count;
    for (std::size_t f = 0; f < formats.size(); ++f) {
      progress.step(layer.name, formats[f].name);
      const Quantized q = quantize(layer, formats[f]);
      Row row{.layer = &layer, .bits = q.bits / count};
      row.error = ts::quantization_error(
          layer.view(layer.k),
          ts::strided(q.values.data(), {layer.n, layer.k}, {layer.stride, index_t{1}}));
      row.largest_error = largest > 0 ? row.error.max_abs / largest : 0;
      row.product = product.error(q.packed, ts::Activations::kFloat);
      if (formats[f].has_integers())
        row.integers = product.error(q.packed, ts::Activations::kInt8Block256);
      reports[f].bits += q.bits;
      reports[f].padded += q.padding > 0 ? 1 : 0;
      reports[f].rows.push_back(row);
    }
  }
  progress.clear();

  std::printf(
      "%s\n%zu layer%s, %.0f weights, %td rows of random activations, target %s\n\n"
      "bits      per weight, with scales and with columns of zeros that fill up the last block of "
      "a row\n"
      "SNR       10 log10(sum(w^2) / sum((w - q)^2))\n"
      "max err   largest |w - q|, as a part of the largest |w|\n"
      "gemm f32  relative error of the product with activations of floats, Frobenius norms\n"
      "gemm s8   likewise, activations rounded to 8 bits in blocks of 256; -: the format has no "
      "integers\n",
      model.description.c_str(), model.layers.size(), model.layers.size() == 1 ? "" : "s", total,
      options.rows, std::string(ts::name(target)).c_str());
  if (!options.layers) {
    std::printf("\nThe layer with the least SNR; bits of all layers, median of their SNR:\n");
    print_header("median  layer");
  }
  index_t most_padded = 0;
  for (std::size_t f = 0; f < formats.size(); ++f) {
    FormatReport& r = reports[f];
    most_padded = std::max(most_padded, r.padded);
    std::sort(r.rows.begin(), r.rows.end(), [](const Row& a, const Row& b) {
      return std::pair(a.quality(), a.layer) < std::pair(b.quality(), b.layer);
    });
    if (options.layers) {
      std::printf("\n");
      print_header("layer");
      for (const Row& row : r.rows) {
        const Layer& l = *row.layer;
        print_row(formats[f].name, row,
                  l.name + " " + std::to_string(l.n) + "x" + std::to_string(l.k));
      }
    } else {
      Row worst = r.rows.front();
      worst.bits = r.bits / total;
      char median[16];
      std::snprintf(median, sizeof(median), "%6.2f  ", r.rows[r.rows.size() / 2].error.snr_db);
      print_row(formats[f].name, worst, median + worst.layer->name);
    }
  }
  if (most_padded > 0) {
    std::printf(
        "\n%td of the layers have rows that are no whole blocks of some formats, and were filled "
        "up with zeros.\n",
        most_padded);
  }
}

Model read_model(const Options& options) {
  if (options.file.empty()) return generate();
  return options.n > 0 ? read_floats(options) : read_manifest(options.file);
}

}  // namespace

int main(int, char** argv) {
  try {
    const Options options = parse_options(argv + 1);
    if (options.help) {
      std::fputs(kUsage, stdout);
    } else {
      report(read_model(options), options);
    }
    return 0;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "quantize_report: %s\n\n%s", error.what(), kUsage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "quantize_report: %s\n", error.what());
    return 1;
  }
}
