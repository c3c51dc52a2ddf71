// SPDX-License-Identifier: Apache-2.0
// Which targets there are and which one is used.

#include "tessera/dispatch/dispatch.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "gemm_case.h"
#include "tessera/ops/gemm.h"
#include "testing.h"

namespace tessera::test {
namespace {

// ---- The environment variable. It is read once, at first use: so before any test has used it,
// child processes do, each with another value, and write what they got into a pipe. (Not by starting
// this program again, which an emulator could not do.)

std::string in_child(const char* value) {
  int ends[2];
  if (pipe(ends) != 0) return "pipe";
  const pid_t child = fork();
  if (child == 0) {
    if (value == nullptr) {
      unsetenv("TESSERA_TARGET");
    } else {
      setenv("TESSERA_TARGET", value, 1);
    }
    std::string text;
    for (int attempt = 0; attempt < 2; ++attempt) {  // an error must not be forgotten
      try {
        text += name(active_target());
      } catch (const Error& e) {
        text += e.what();
      }
      text += "\n";
    }
    const bool written =
        write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  std::string text;
  char buffer[512];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? text : "the child crashed: " + text;
}

constexpr const char* kUnset = "(unset)";
constexpr const char* kWrong[] = {"avx2000", "AVX2", "scalar ", "lsx;rvv"};

// What active_target() said twice, by value of the variable.
std::map<std::string, std::string>& answers() {
  static std::map<std::string, std::string> map;
  return map;
}

class BeforeAllTests : public Catch::EventListenerBase {
 public:
  using Catch::EventListenerBase::EventListenerBase;
  void testRunStarting(const Catch::TestRunInfo&) override {
    answers()[kUnset] = in_child(nullptr);
    answers()[""] = in_child("");
    for (const char* text : kWrong) answers()[text] = in_child(text);
    for (const std::string_view text : kTargetNames) {
      answers()[std::string(text)] = in_child(std::string(text).c_str());
    }
  }
};
CATCH_REGISTER_LISTENER(BeforeAllTests)

std::string twice(std::string_view text) {
  return std::string(text) + "\n" + std::string(text) + "\n";
}

std::string valid_names() {
  std::string names = "one of";
  for (const Target t : available_targets()) names += " " + std::string(name(t));
  return names;
}

bool available(Target target) {
  const auto all = available_targets();
  return std::find(all.begin(), all.end(), target) != all.end();
}

// Leaves the program as it was.
struct RestoreTarget {
  ~RestoreTarget() { set_active_target(""); }
};

TEST_CASE("TESSERA_TARGET chooses the target", "[dispatch]") {
  for (const std::string_view text : kTargetNames) {
    CAPTURE(text);
    const std::string& answer = answers()[std::string(text)];
    if (available(*parse_target(text))) {
      CHECK(answer == twice(text));
    } else {
      CHECK(answer == twice("environment: TESSERA_TARGET: expected " + valid_names() + ", got \"" +
                            std::string(text) + "\""));
    }
  }
}

TEST_CASE("a wrong TESSERA_TARGET is an error that names the right ones", "[dispatch]") {
  for (const std::string text : kWrong) {
    CHECK(answers()[text] == twice("environment: TESSERA_TARGET: expected " + valid_names() +
                                   ", got \"" + text + "\""));
  }
}

TEST_CASE("without TESSERA_TARGET the best target is chosen", "[dispatch]") {
  // The last that is not there for tests only.
  Target best = Target::kScalar;
  for (const Target t : available_targets()) {
    if (t != Target::kScalar3 && t != Target::kScalar5) best = t;
  }
  CHECK(answers()[kUnset] == twice(name(best)));
  CHECK(answers()[""] == twice(name(best)));
}

// ---- The functions

TEST_CASE("available targets are ordered, and each once", "[dispatch]") {
  const auto targets = available_targets();
  REQUIRE_FALSE(targets.empty());
  CHECK(std::is_sorted(targets.begin(), targets.end()));
  CHECK(std::adjacent_find(targets.begin(), targets.end()) == targets.end());
#if TESSERA_TEST_TARGETS
  CHECK(available(Target::kScalar3));
  CHECK(available(Target::kScalar5));
#endif
}

// The tests above prove nothing about AVX2 if it is not among the targets.
TEST_CASE("the targets that this machine surely has are there", "[dispatch]") {
#if !TESSERA_STATIC && defined(__x86_64__)
  CHECK(available(Target::kAvx2) ==
        (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")));
#ifndef TESSERA_TEST_SANITIZED  // compiles fewer targets
  CHECK(available(Target::kSse4) == (__builtin_cpu_supports("sse4.2") != 0));
#endif
#elif !TESSERA_STATIC && defined(__aarch64__)
  CHECK(available(Target::kNeon));
#elif !TESSERA_STATIC && defined(__riscv)
  CHECK(available(Target::kScalar));  // cores without V
#else
  SUCCEED();
#endif
}

TEST_CASE("set_active_target chooses by name", "[dispatch]") {
  const RestoreTarget restore;
  const Target before = active_target();
  for (const Target target : available_targets()) {
    set_active_target(name(target));
    CHECK(active_target() == target);
    CHECK(plan_gemm<float>(10, 10, 10).target == target);
    Workspace w;
    const GemmCase g{.target = target, .m = 13, .n = 29, .k = 7};
    CHECK(
        run_case<float>(w, g, [](const auto& a, const auto& b, const auto& c, const GemmOptions&) {
          gemm(a, b, c);
        }) == "");
  }
  set_active_target("");
  CHECK(active_target() == before);
}

TEST_CASE("set_active_target refuses other names, and changes nothing", "[dispatch]") {
  const RestoreTarget restore;
  const Target chosen = available_targets().front();
  set_active_target(name(chosen));
  std::vector<std::string> wrong = {"avx2000", "Scalar", "scalar "};
  for (std::size_t i = 0; i < kTargetNames.size(); ++i) {
    if (!available(static_cast<Target>(i))) wrong.emplace_back(kTargetNames[i]);
  }
  for (const std::string& text : wrong) {
    try {
      set_active_target(text);
      FAIL("no error for " << text);
    } catch (const Error& e) {
      CHECK(std::string(e.what()) ==
            "set_active_target: name: expected " + valid_names() + ", got \"" + text + "\"");
    }
    CHECK(active_target() == chosen);
  }
}

TEST_CASE("a context's target wins over the active one", "[dispatch]") {
  const RestoreTarget restore;
  for (const Target active : available_targets()) {
    set_active_target(name(active));
    for (const Target target : available_targets()) {
      Context context;
      context.target = target;
      CHECK(plan_gemm<double>(3, 3, 3, &context).target == target);
      const double x = 1;
      CHECK(pack_b(row_major(&x, {1, 1}), {&context}).target() == target);
    }
  }
}

TEST_CASE("the target is chosen while other threads compute", "[dispatch][threads]") {
  const RestoreTarget restore;
  const auto targets = available_targets();
  std::string failures;
  std::thread worker([&] {
    Workspace w;
    for (int i = 0; i < 200; ++i) {
      // On any of them; moderate values fit the error bound of those without FMA.
      const GemmCase g{
          .target = Target::kSse4, .m = 7, .n = 9, .k = 5, .values = Values::kModerate};
      Operands<float> o(w, g);
      gemm(o.a.read_only(), o.b.read_only(), o.c.view());
      failures += outside_error_bound(g, o);
    }
  });
  for (int i = 0; i < 1000; ++i) {
    set_active_target(name(targets[static_cast<std::size_t>(i) % targets.size()]));
  }
  worker.join();
  CHECK(failures == "");
}

}  // namespace
}  // namespace tessera::test
