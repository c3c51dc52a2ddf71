// SPDX-License-Identifier: Apache-2.0
// Finds faces on photographs with convolution networks whose every operation is Tessera's. See README.md.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "bench/peak.h"
#include "detectors.h"
#include "hwy/contrib/thread_pool/thread_pool.h"
#include "image.h"
#include "tessera/tessera.h"

namespace {

constexpr char kUsage[] =
    "usage: face_detection [options] [photograph...]\n"
    "  photograph      JPEG, PNG or PPM; default: the samples of the models' package\n"
    "  --model NAME    tiny (default) or ssd\n"
    "  --type T        of weights and activations: f32 (default), or s8 and u8 for s8\n"
    "  --min-score S   of a face, above 0 and below 1 (0.5)\n"
    "  --draw DIR      writes each photograph with its faces to DIR, as PNG\n"
    "  --times         time and GFLOP/s of each layer, in f32 the share of what the cores can do\n"
    "  --threads N     (1)\n"
    "TESSERA_TARGET=name in the environment chooses the instruction set.\n";

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  std::string model = "tiny", type = "f32", draw{};
  double min_score = 0.5;
  std::size_t threads = 1;
  bool times = false, help = false;
  std::vector<std::filesystem::path> photographs{};
};

Options parse_options(char** argument) {  // a list that ends with a null pointer
  Options options;
  while (*argument != nullptr) {
    const std::string_view option = *argument++;
    const auto value = [&]() -> std::string_view {
      if (*argument == nullptr) throw UsageError(std::string(option) + " takes a value");
      return *argument++;
    };
    const auto number = [&](auto& result) {
      const std::string_view text = value();
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result);
      return error == std::errc() && end == text.data() + text.size();
    };
    if (option == "--help" || option == "-h") {
      options.help = true;
    } else if (option == "--times") {
      options.times = true;
    } else if (option == "--model") {
      options.model = value();
    } else if (option == "--type") {
      options.type = value();
      if (options.type != "f32" && options.type != "s8") throw UsageError("--type takes f32 or s8");
    } else if (option == "--draw") {
      options.draw = value();
    } else if (option == "--min-score") {
      if (!number(options.min_score) || !(options.min_score > 0 && options.min_score < 1)) {
        throw UsageError("--min-score takes a number above 0 and below 1");
      }
    } else if (option == "--threads") {
      if (!number(options.threads) || options.threads < 1 || options.threads > 256) {
        throw UsageError("--threads takes a number from 1 to 256");
      }
    } else if (option.starts_with("-")) {
      throw UsageError("unknown option " + std::string(option));
    } else {
      options.photographs.emplace_back(option);
    }
  }
  return options;
}

// FNV-1a of 64 bits, of the bits of all numbers.
struct Digest {
  std::uint64_t value = 0xcbf29ce484222325u;
  void add(const faces::Activations& x) {
    for (tessera::index_t i = 0; i < x.extent(0) * x.extent(1) * x.extent(2) * x.extent(3); ++i) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, x.data + i, sizeof bits);
      for (int shift = 0; shift < 32; shift += 8) {
        value = (value ^ (bits >> shift & 0xff)) * 0x100000001b3u;
      }
    }
  }
};

// `peak`: GFLOP/s that the threads can do, or 0.
void print_times(const faces::Network& network, double peak) {
  double all_seconds = 0, all_operations = 0;
  std::printf("  %-46s %16s %9s %9s%s\n", "layer", "result", "ms", peak > 0 ? "GFLOP/s" : "GOP/s",
              peak > 0 ? "    peak" : "");
  const auto print = [&](const std::string& name, const std::string& extents, double seconds,
                         double operations) {
    std::printf("  %-46s %16s %9.3f", name.c_str(), extents.c_str(), seconds * 1e3);
    const double rate = operations / seconds * 1e-9;
    if (operations > 0) std::printf(" %9.1f", rate);
    if (operations > 0 && peak > 0) std::printf(" %5.0f %%", 100 * rate / peak);
    std::printf("\n");
  };
  for (std::size_t i = 0; i < network.seconds().size(); ++i) {
    const faces::Step& step = network.model().steps[i];
    const double seconds = network.seconds()[i];
    print(step.layer.name,
          std::to_string(step.extents[1]) + "x" + std::to_string(step.extents[2]) + "x" +
              std::to_string(step.extents[3]),
          seconds, step.operations);
    all_seconds += seconds;
    all_operations += step.operations;
  }
  print("all", "", all_seconds, all_operations);
}

using Paths = std::vector<std::filesystem::path>;

// The ranges of all values of a network over some photographs, each without its outliers.
class Calibration {
 public:
  Calibration(const faces::Detector& detector, Paths photographs, faces::FloatNetwork& network)
      : photographs_(std::move(photographs)) {
    for (const std::filesystem::path& path : photographs_) {
      network.run(detector.input(faces::read_image(path)));
      ranges_.push_back(network.ranges(kKept));
    }
  }

  // Over all but one, if that is among them.
  std::vector<tessera::ValueRange> without(const std::filesystem::path& photograph) const {
    std::vector<tessera::ValueRange> all(ranges_.at(0).size());
    for (std::size_t i = 0; i < photographs_.size(); ++i) {
      if (std::filesystem::equivalent(photographs_[i], photograph)) continue;
      for (std::size_t j = 0; j < all.size(); ++j) all[j].include(ranges_[i][j]);
    }
    return all;
  }

 private:
  // Values of the tiny network have long tails: with all of them, one face more passes the least score. The SSD finds
  // the same faces with 1.
  static constexpr double kKept = 0.9999;

  Paths photographs_;
  std::vector<std::vector<tessera::ValueRange>> ranges_{};  // of each photograph
};

double best_overlap(const faces::Face& face, const std::vector<faces::Face>& others) {
  double best = 0;
  for (const faces::Face& other : others) best = std::max(best, overlap(face, other));
  return best;
}

int run(const Options& options) {
  const std::filesystem::path package = TESSERA_FACE_API_DIR;
  Paths samples;
  for (int i = 1; i <= 6; ++i) {
    samples.push_back(package / "demo" / ("sample" + std::to_string(i) + ".jpg"));
  }
  hwy::ThreadPool pool(options.threads);
  tessera::Context context;
  if (options.threads > 1) context.executor = tessera::Executor::from_pool(pool);
  const auto detector = faces::make_detector(options.model, package / "model", context);
  faces::FloatNetwork exact(detector->model(), context);
  std::optional<Calibration> calibration;
  if (options.type == "s8") calibration.emplace(*detector, samples, exact);
  const tessera::Target target = tessera::active_target();
  const double peak =
      options.times && !calibration
          ? tessera::bench::fma_peak_gflops<float>(tessera::bench::peak_probe(target)) *
                static_cast<double>(options.threads)
          : 0;
  std::string counts;
  double least_overlap = 1;
  Digest digest;
  for (const std::filesystem::path& path :
       options.photographs.empty() ? samples : options.photographs) {
    faces::Image image = faces::read_image(path);
    std::optional<faces::QuantizedNetwork> quantized;
    if (calibration) quantized.emplace(detector->model(), calibration->without(path), context);
    faces::Network& network = quantized ? static_cast<faces::Network&>(*quantized) : exact;
    const auto start = std::chrono::steady_clock::now();
    const std::vector<faces::Face> found = detector->detect(image, options.min_score, network);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    std::vector<faces::Face> expected;
    if (quantized) expected = detector->detect(image, options.min_score, exact);
    std::printf("%s, %td x %td, %.1f ms: %zu faces\n", path.filename().c_str(), image.width,
                image.height, time.count() * 1e3, found.size());
    std::printf("  score   left    top  width height%s\n", quantized ? "  overlap with f32" : "");
    for (const faces::Face& f : found) {
      std::printf("  %.3f %6.0f %6.0f %6.0f %6.0f", f.score, f.left, f.top, f.right - f.left,
                  f.bottom - f.top);
      if (quantized) {
        const double overlap = best_overlap(f, expected);
        least_overlap = std::min(least_overlap, overlap);
        std::printf("  %.2f", overlap);
      }
      std::printf("\n");
      draw(f, image);
    }
    if (options.times) print_times(network, peak);
    for (const faces::Activations& output : network.outputs()) digest.add(output);
    counts += " " + std::to_string(found.size());
    if (!options.draw.empty()) {
      std::filesystem::create_directories(options.draw);
      write_png(image, std::filesystem::path(options.draw) /
                           (path.stem().string() + "-" + options.model + ".png"));
    }
  }
  std::printf("faces         %s\n", counts.c_str());
  if (calibration) std::printf("least overlap  %.2f\n", least_overlap);
  std::printf("target         %s\n", name(target).data());
  std::printf("outputs digest %016" PRIx64 "\n", digest.value);
  return EXIT_SUCCESS;
}

}  // namespace

int main(int, char** argv) {
  try {
    const Options options = parse_options(argv + 1);
    if (!options.help) return run(options);
    std::fputs(kUsage, stdout);
    return EXIT_SUCCESS;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "face_detection: %s\n%s", error.what(), kUsage);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "face_detection: %s\n", error.what());
  }
  return EXIT_FAILURE;
}
