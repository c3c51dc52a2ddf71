// SPDX-License-Identifier: Apache-2.0
// Finds faces on photographs with convolution networks whose every operation is Tessera's. See README.md.
#include <charconv>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "detectors.h"
#include "hwy/contrib/thread_pool/thread_pool.h"
#include "image.h"
#include "tessera/tessera.h"

namespace {

constexpr char kUsage[] =
    "usage: face_detection [options] [photograph...]\n"
    "  photograph      JPEG, PNG or PPM; default: the samples of the models' package\n"
    "  --model NAME    tiny (default) or ssd\n"
    "  --min-score S   of a face, above 0 and below 1 (0.5)\n"
    "  --draw DIR      writes each photograph with its faces to DIR, as PNG\n"
    "  --times         time and GFLOP/s of each layer\n"
    "  --threads N     (1)\n"
    "TESSERA_TARGET=name in the environment chooses the instruction set.\n";

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  std::string model = "tiny", draw{};
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

void print_times(const faces::Network& network) {
  double seconds = 0, flops = 0;
  std::printf("  %-46s %16s %9s %9s\n", "layer", "result", "ms", "GFLOP/s");
  const auto print = [](const std::string& name, const std::string& extents, double s, double f) {
    std::printf("  %-46s %16s %9.3f %9s\n", name.c_str(), extents.c_str(), s * 1e3,
                f > 0 ? std::to_string(f / s * 1e-9).substr(0, 6).c_str() : "");
  };
  for (const auto& layer : network.times()) {
    print(layer.name,
          std::to_string(layer.extents[1]) + "x" + std::to_string(layer.extents[2]) + "x" +
              std::to_string(layer.extents[3]),
          layer.seconds, layer.flops);
    seconds += layer.seconds;
    flops += layer.flops;
  }
  print("all", "", seconds, flops);
}

int run(const Options& options) {
  const std::filesystem::path package = TESSERA_FACE_API_DIR;
  std::vector<std::filesystem::path> photographs = options.photographs;
  for (int i = 1; options.photographs.empty() && i <= 6; ++i) {
    photographs.push_back(package / "demo" / ("sample" + std::to_string(i) + ".jpg"));
  }
  hwy::ThreadPool pool(options.threads);
  tessera::Context context;
  if (options.threads > 1) context.executor = tessera::Executor::from_pool(pool);
  const auto detector = faces::make_detector(options.model, package / "model", context);
  std::string counts;
  Digest digest;
  for (const std::filesystem::path& path : photographs) {
    faces::Image image = faces::read_image(path);
    const auto start = std::chrono::steady_clock::now();
    const std::vector<faces::Face> found = detector->detect(image, options.min_score);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    std::printf("%s, %td x %td, %.1f ms: %zu faces\n", path.filename().c_str(), image.width,
                image.height, time.count() * 1e3, found.size());
    std::printf("  score   left    top  width height\n");
    for (const faces::Face& f : found) {
      std::printf("  %.3f %6.0f %6.0f %6.0f %6.0f\n", f.score, f.left, f.top, f.right - f.left,
                  f.bottom - f.top);
      draw(f, image);
    }
    if (options.times) print_times(detector->network());
    for (const faces::Activations& output : detector->network().outputs()) digest.add(output);
    counts += " " + std::to_string(found.size());
    if (!options.draw.empty()) {
      std::filesystem::create_directories(options.draw);
      write_png(image, std::filesystem::path(options.draw) /
                           (path.stem().string() + "-" + options.model + ".png"));
    }
  }
  std::printf("faces         %s\n", counts.c_str());
  std::printf("target         %s\n", name(tessera::active_target()).data());
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
