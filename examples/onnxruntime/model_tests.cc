// SPDX-License-Identifier: Apache-2.0
#include "model_tests.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <filesystem>

namespace tessera::ort {
namespace {

namespace fs = std::filesystem;

// A session with random inputs of f32.
class Model {
 public:
  Model(Ort::Env& env, const std::string& file, const Ort::SessionOptions& options)
      : session_(env, file.c_str(), options),
        input_names_(session_.GetInputNames()),
        output_names_(session_.GetOutputNames()) {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> uniform(-2, 2);
    for (std::size_t i = 0; i < input_names_.size(); ++i) {
      const Ort::TypeInfo info = session_.GetInputTypeInfo(i);
      Extents extents = info.GetTensorTypeAndShapeInfo().GetShape();
      for (std::int64_t& e : extents) e = e < 1 ? 1 : e;
      auto& values = memory_.emplace_back(elements(extents));
      for (float& v : values) v = uniform(random);
      inputs_.push_back(tensor(values, extents));
    }
  }

  std::vector<Ort::Value> run() {
    return session_.Run(Ort::RunOptions{nullptr}, pointers(input_names_).data(), inputs_.data(),
                        inputs_.size(), pointers(output_names_).data(), output_names_.size());
  }

 private:
  static std::vector<const char*> pointers(const std::vector<std::string>& names) {
    std::vector<const char*> result;
    for (const std::string& name : names) result.push_back(name.c_str());
    return result;
  }

  Ort::Session session_;
  std::vector<std::string> input_names_, output_names_;
  std::vector<std::vector<float>> memory_;
  std::vector<Ort::Value> inputs_;
};

// The largest difference, as a part of the largest element.
double relative_difference(const Ort::Value& a, const Ort::Value& b) {
  const std::size_t count = a.GetTensorTypeAndShapeInfo().GetElementCount();
  const float *const x = a.GetTensorData<float>(), *const y = b.GetTensorData<float>();
  double largest = 0, difference = 0;
  for (std::size_t i = 0; i < count; ++i) {
    largest = std::max<double>(largest, std::abs(x[i]));
    difference = std::max<double>(difference, std::abs(x[i] - y[i]));
    if (std::isnan(y[i]) && !std::isnan(x[i])) return 1;
  }
  return largest == 0 ? difference : difference / largest;
}

// Of one thread the CPU time, which others on the machine disturb less.
double seconds(Model& model, int threads) {
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t cpu_start = std::clock();
  model.run();
  if (threads == 1) return static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Hints of RISC-V, which do nothing: plugins of emulators that count instructions start and stop there.
void mark([[maybe_unused]] bool starts) {
#if defined(__riscv)
  if (starts) {
    __asm__ volatile("lui x0, 1" ::: "memory");
  } else {
    __asm__ volatile("lui x0, 2" ::: "memory");
  }
#endif
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int check_models(Runtime& runtime, const std::string& directory, const std::string& only) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".onnx" && name.find(only) != std::string::npos) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  int failures = files.empty() ? 1 : 0;
  for (const fs::path& file : files) {
    try {
      const std::vector<Ort::Value> expected =
          Model(runtime.env(), file.string(), runtime.options(false)).run();
      const std::uint64_t before = runtime.runs_of("Conv");
      const std::vector<Ort::Value> results =
          Model(runtime.env(), file.string(), runtime.options(true)).run();
      const std::uint64_t convolutions = runtime.runs_of("Conv") - before;
      const double difference = relative_difference(expected[0], results[0]);
      std::printf("%-28s %3d convolutions by Tessera, differs by %.1e of the largest result\n",
                  file.filename().c_str(), static_cast<int>(convolutions), difference);
      failures += convolutions == 0 || !(difference < 1e-4);
    } catch (const std::exception& error) {
      std::printf("%s: %s\n", file.filename().c_str(), error.what());
      ++failures;
    }
  }
  return failures;
}

void time_model(Runtime& runtime, const std::string& file, int threads, int rounds) {
  Model host(runtime.env(), file, runtime.options(false, threads));
  const char* const fast = std::getenv("TESSERA_ORT_NUMERICS");
  Model ours(runtime.env(), file,
             runtime.options(true, threads, fast != nullptr ? fast : "reproducible"));
  seconds(host, threads);
  seconds(ours, threads);
  std::vector<double> before, after, ratios;
  for (int i = 0; i < rounds; ++i) {
    before.push_back(seconds(host, threads));
    after.push_back(seconds(ours, threads));
    ratios.push_back(after.back() / before.back());
  }
  std::printf("%s, %d threads: %.1f ms, with Tessera %.1f ms, ratio %.2f\n", file.c_str(), threads,
              median(before) * 1e3, median(after) * 1e3, median(ratios));
}

void run_marked(Runtime& runtime, const std::string& file, bool accelerated) {
  Model model(runtime.env(), file, runtime.options(accelerated));
  model.run();
  mark(true);
  model.run();
  mark(false);
}

}  // namespace tessera::ort
