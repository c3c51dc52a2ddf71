// SPDX-License-Identifier: Apache-2.0
// Finds faces on photographs with convolution networks whose every operation is Tessera's. See README.md.
#include <algorithm>
#include <array>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/peak.h"
#include "calibration.h"
#include "detectors.h"
#include "hwy/contrib/thread_pool/thread_pool.h"
#include "image.h"
#include "landmarks.h"
#include "options.h"
#include "people.h"
#include "recognizer.h"
#include "tessera/tessera.h"

namespace {

using faces::Options;

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

double best_overlap(const faces::Face& face, const std::vector<faces::Face>& others) {
  double best = 0;
  for (const faces::Face& other : others) best = std::max(best, overlap(face, other));
  return best;
}

using Path = std::filesystem::path;

// What finds the square around a face and what recognizes it, their networks, and the faces that they have met.
class Album {
 public:
  Album(const Path& models, tessera::Context& context)
      : landmarks_(models, context),
        recognizer_(models, context),
        landmark_networks_(landmarks_.model(), context),
        networks_(recognizer_.model(), context) {}

  void calibrate(const Path& path, const faces::Image& image, const faces::Face& face) {
    landmark_networks_.observe(path, landmarks_.input(crop(image, face)));
    const faces::Face aligned = landmarks_.align(image, face, landmark_networks_.exact());
    networks_.observe(path, recognizer_.input(crop(image, aligned)));
    calibrated_ = true;
  }

  // In integers, calibrated on other photographs, if there was a calibration. Returns the networks that it ran.
  std::array<const faces::Network*, 2> add(const Path& path, const faces::Image& image,
                                           const std::vector<faces::Face>& found, Digest& digest) {
    faces::Network& exact = networks_.exact();
    faces::Network& network = calibrated_ ? networks_.quantized(path) : exact;
    faces::Network& landmark_network =
        calibrated_ ? landmark_networks_.quantized(path) : landmark_networks_.exact();
    const auto describe = [&](const faces::Image& picture) {
      return recognizer_.describe(picture, network);
    };
    for (std::size_t i = 0; i < found.size(); ++i) {
      const faces::Face square = landmarks_.align(image, found[i], landmark_network);
      faces::Face moved = square;
      const double by = kShift * (moved.right - moved.left);
      for (double* edge : {&moved.left, &moved.right, &moved.top, &moved.bottom}) *edge += by;
      const faces::Image face = crop(image, square);
      people_.add({.photograph = path.filename().string(),
                   .number = i + 1,
                   .face = describe(face),
                   .mirrored = describe(mirrored(face)),
                   .shifted = describe(crop(image, moved)),
                   .again = describe(face),
                   .exact = calibrated_ ? recognizer_.describe(face, exact) : faces::Descriptor()});
      digest.add(landmark_network.outputs()[0]);
      digest.add(network.outputs()[0]);
    }
    return {&landmark_network, &network};
  }

  void print() const { people_.print(calibrated_); }

 private:
  static constexpr double kShift = 0.05;  // of the width of a face, to the right and down

  faces::LandmarkDetector landmarks_;
  faces::Recognizer recognizer_;
  faces::CalibratedNetworks landmark_networks_, networks_;
  faces::People people_{};
  bool calibrated_ = false;
};

int run(const Options& options) {
  const Path package = TESSERA_FACE_API_DIR;
  std::vector<Path> samples;
  for (int i = 1; i <= 6; ++i) {
    samples.push_back(package / "demo" / ("sample" + std::to_string(i) + ".jpg"));
  }
  const bool quantizes = options.type == "s8";
  hwy::ThreadPool pool(options.threads);
  tessera::Context context;
  if (options.threads > 1) context.executor = tessera::Executor::from_pool(pool);
  const auto detector = faces::make_detector(options.model, package / "model", context);
  faces::CalibratedNetworks networks(detector->model(), context);
  std::optional<Album> album;
  if (options.recognize) album.emplace(package / "model", context);
  for (const Path& path : quantizes ? samples : std::vector<Path>()) {
    const faces::Image image = faces::read_image(path);
    networks.observe(path, detector->input(image));
    if (!album) continue;
    for (const faces::Face& face : detector->detect(image, options.min_score, networks.exact())) {
      album->calibrate(path, image, face);
    }
  }
  const tessera::Target target = tessera::active_target();
  const double peak =
      options.times && !quantizes
          ? tessera::bench::fma_peak_gflops<float>(tessera::bench::peak_probe(target)) *
                static_cast<double>(options.threads)
          : 0;
  std::string counts;
  double least_overlap = 1;
  Digest digest;
  for (const Path& path : options.photographs.empty() ? samples : options.photographs) {
    faces::Image image = faces::read_image(path);
    faces::Network& exact = networks.exact();
    faces::Network& network = quantizes ? networks.quantized(path) : exact;
    const auto start = std::chrono::steady_clock::now();
    const std::vector<faces::Face> found = detector->detect(image, options.min_score, network);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    std::vector<faces::Face> expected;
    if (quantizes) expected = detector->detect(image, options.min_score, exact);
    std::printf("%s, %td x %td, %.1f ms: %zu faces\n", path.filename().c_str(), image.width,
                image.height, time.count() * 1e3, found.size());
    std::printf("  score   left    top  width height%s\n", quantizes ? "  overlap with f32" : "");
    for (const faces::Face& f : found) {
      std::printf("  %.3f %6.0f %6.0f %6.0f %6.0f", f.score, f.left, f.top, f.right - f.left,
                  f.bottom - f.top);
      if (quantizes) {
        const double overlap = best_overlap(f, expected);
        least_overlap = std::min(least_overlap, overlap);
        std::printf("  %.2f", overlap);
      }
      std::printf("\n");
    }
    if (options.times) print_times(network, peak);
    for (const faces::Activations& output : network.outputs()) digest.add(output);
    if (album && !found.empty()) {
      for (const faces::Network* ran : album->add(path, image, found, digest)) {
        if (options.times) print_times(*ran, peak);
      }
    }
    counts += " " + std::to_string(found.size());
    if (!options.draw.empty()) {
      for (const faces::Face& f : found) draw(f, image);
      std::filesystem::create_directories(options.draw);
      write_png(image, Path(options.draw) / (path.stem().string() + "-" + options.model + ".png"));
    }
  }
  std::printf("faces         %s\n", counts.c_str());
  if (quantizes) std::printf("least overlap  %.2f\n", least_overlap);
  if (album) album->print();
  std::printf("target         %s\n", name(target).data());
  std::printf("outputs digest %016" PRIx64 "\n", digest.value);
  return EXIT_SUCCESS;
}

}  // namespace

int main(int, char** argv) {
  try {
    const Options options = faces::parse_options(argv + 1);
    if (!options.help) return run(options);
    std::fputs(faces::kUsage, stdout);
    return EXIT_SUCCESS;
  } catch (const faces::UsageError& error) {
    std::fprintf(stderr, "face_detection: %s\n%s", error.what(), faces::kUsage);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "face_detection: %s\n", error.what());
  }
  return EXIT_FAILURE;
}
