// SPDX-License-Identifier: Apache-2.0
#include "host_tests.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <string>
#include <thread>

#include "graph_tests.h"
#include "test/is_mapped.h"

namespace tessera::ort {
namespace {

std::vector<float> image(unsigned seed) { return ModelBuilder(seed).random(kSmallImage, 1); }

bool report(const char* what, bool passed) {
  std::printf("%-60s %s\n", what, passed ? "ok" : "FAILED");
  return passed;
}

// Two sessions at a time, each from two threads at a time.
bool sessions_and_threads(Runtime& runtime) {
  Ort::Session first = small_network(runtime.env(), runtime.options(true, 2));
  Ort::Session second = small_network(runtime.env(), runtime.options(true));
  std::vector<std::vector<float>> images, expected;
  for (unsigned i = 0; i < 4; ++i) {
    images.push_back(image(i));
    expected.push_back(run_small_network(second, images.back()));
  }
  std::atomic<bool> same = true;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      try {
        for (int round = 0; round < 20; ++round) {
          if (run_small_network(i % 2 == 0 ? first : second, images[i]) != expected[i])
            same = false;
        }
      } catch (...) {
        same = false;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return same;
}

// A session of one thread, made before the fork, in the child.
bool works_after_fork(Runtime& runtime) {
  Ort::Session session = small_network(runtime.env(), runtime.options(true));
  const std::vector<float> x = image(7), expected = run_small_network(session, x);
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    int code = 1;
    try {
      code = run_small_network(session, x) == expected ? 0 : 1;
    } catch (...) {
    }
    _exit(code);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 && run_small_network(session, x) == expected;
}

// Shapes that only a run can know to be wrong: an error of the host, after which the session goes on.
bool errors_are_of_the_host(Runtime& runtime) {
  ModelBuilder model(3);
  model.input("x", {-1, -1});
  model.node("MatMul", {"x", model.weights({8, 4}, 1)}, {}, {"y"});
  model.output("y", {-1, 4});
  Ort::Session session = model.session(runtime.env(), runtime.options(true));
  const auto run = [&](const Extents& extents) {
    std::vector<float> values(elements(extents), 1.0f);
    const Ort::Value x = tensor(values, extents);
    const char *in = "x", *out = "y";
    session.Run(Ort::RunOptions{nullptr}, &in, &x, 1, &out, 1);
  };
  const std::uint64_t before = runtime.runs_of("MatMul");
  run({3, 8});
  std::string message;
  try {
    run({3, 7});
  } catch (const Ort::Exception& error) {
    message = error.what();
  }
  run({2, 8});
  const bool is_ours = runtime.runs_of("MatMul") == before + 2;
  const bool is_clear =
      message.find("expected 7 rows (the columns of a), got 8") != std::string::npos;
  if (!is_clear) std::printf("message: %s\n", message.c_str());
  return is_ours && is_clear;
}

bool is_refused(Runtime& runtime, const Ort::SessionOptions& options, const char* why) {
  try {
    small_network(runtime.env(), options);
  } catch (const Ort::Exception& error) {
    return std::string(error.what()).find(why) != std::string::npos;
  }
  return false;
}

bool refuses_options(Runtime& runtime) {
  Ort::SessionOptions defaults;
  defaults.AppendExecutionProvider_V2(runtime.env(), runtime.devices(), Ort::KeyValuePairs());
  setenv("TESSERA_NUM_THREADS", "none", 1);
  const bool no_threads =
      is_refused(runtime, defaults, "TESSERA_NUM_THREADS: expected at least 1, got none");
  unsetenv("TESSERA_NUM_THREADS");
  return no_threads &&
         is_refused(runtime, runtime.options(true, 1, "sloppy"),
                    "numerics: expected reproducible or fast, got sloppy") &&
         is_refused(runtime, runtime.options(true, 0), "threads: expected at least 1, got 0");
}

// The host of 1.23 opens a library twice and closes it once. Nothing else may keep ours in memory.
bool goes_away(const std::string& library) {
  if (void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_NOLOAD)) {
    dlclose(handle);
    dlclose(handle);
  }
  return !test::is_mapped(library);
}

// Unloaded, forgotten, and loaded again.
bool reloads(Runtime& runtime) {
  const std::vector<float> x = image(9);
  std::vector<float> expected;
  for (int round = 0; round < 3; ++round) {
    {
      Ort::Session session = small_network(runtime.env(), runtime.options(true));
      const std::vector<float> y = run_small_network(session, x);
      if (round > 0 && y != expected) return false;
      expected = y;
    }
    if (!test::is_mapped(runtime.library())) return false;
    runtime.unregister_provider();
    if (!runtime.devices().empty() || !goes_away(runtime.library())) return false;
    runtime.register_provider();
    if (runtime.devices().empty()) return false;
  }
  return true;
}

// Empty tensors pass through.
bool takes_empty_batches(Runtime& runtime) {
  ModelBuilder model(4);
  model.input("x", {-1, 8});
  const std::string h = model.node("Gemm", {"x", model.weights({8, 6}, 1), model.weights({6}, 1)});
  model.node("Softmax", {model.node("Relu", {h})}, {.integers = {{"axis", -1}}}, {"y"});
  model.output("y", {-1, 6});
  Ort::Session session = model.session(runtime.env(), runtime.options(true));
  std::vector<float> nothing;
  const Ort::Value x = tensor(nothing, {0, 8});
  const char *in = "x", *out = "y";
  const auto results = session.Run(Ort::RunOptions{nullptr}, &in, &x, 1, &out, 1);
  return results[0].GetTensorTypeAndShapeInfo().GetShape() == Extents{0, 6};
}

}  // namespace

int check_host(Runtime& runtime) {
  const std::pair<const char*, bool (*)(Runtime&)> checks[] = {
      {"two sessions, each on two threads: the same bits", sessions_and_threads},
      {"a session in a forked process", works_after_fork},
      {"wrong shapes are errors of the host, and the session goes on", errors_are_of_the_host},
      {"an option that there is not", refuses_options},
      {"unregistered and registered again", reloads},
      {"an empty batch", takes_empty_batches}};
  int failures = 0;
  for (const auto& [what, check] : checks) {
    bool passed = false;
    try {
      passed = check(runtime);
    } catch (const std::exception& error) {
      std::printf("%s\n", error.what());
    }
    failures += !report(what, passed);
  }
  return failures;
}

}  // namespace tessera::ort
