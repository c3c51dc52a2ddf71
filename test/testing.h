// SPDX-License-Identifier: Apache-2.0
// Which targets and how many cases a test runs, and how it reports failures among many cases.
//
// Environment, besides that of digest.h:
//   TESSERA_TARGET  only this target, instead of all that the machine supports
#ifndef TESSERA_TEST_TESTING_H_
#define TESSERA_TEST_TESTING_H_

#include <catch2/catch_message.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "digest.h"
#include "tessera/core/context.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/gemm.h"

namespace tessera::test {

inline std::vector<Target> tested_targets() {
  const char* only = std::getenv("TESSERA_TARGET");
  if (only != nullptr && *only != '\0') return {active_target()};
  return available_targets();
}

// f(target). Why not in sections: of several loops in one test case, Catch2 would run the first only.
template <class F>
void for_each_target(F f) {
  for (const Target target : tested_targets()) {
    INFO(name(target));
    f(target);
  }
}

template <class T>
int tile_count(Target target) {
  Context context;
  context.target = target;
  return gemm_tile_count<T>(&context);
}

// Hardly anything fits, so that small matrices are treated like large ones.
inline CacheSizes small_caches() { return {.l1d = {1024, 8, 1}, .l2 = {2048, 8, 1}, .l3 = {}}; }

// Picks the cases to run: all, or with reduced effort one in `one_in`, spread over every loop around
// it by a hash of the running number.
class Sampler {
 public:
  explicit Sampler(unsigned one_in) : one_in_(reduced_effort() ? one_in : 1) {}
  bool skip() {
    const std::uint32_t hash = (count_++ + 1) * 0x9e3779b1u;
    return (hash >> 16) % one_in_ != 0;
  }

 private:
  std::uint32_t count_ = 0;
  unsigned one_in_;
};

// Collects the failures of many cases: Catch2 checks the sum.
class Tally {
 public:
  void add(const std::string& failure, const auto& describe) {
    ++cases_;
    if (failure.empty()) return;
    if (++failed_ <= 5) text_ += describe() + ": " + failure + "\n";
  }
  ~Tally() {
    INFO(text_);
    CHECK(cases_ > 0);
    CHECK(failed_ == 0);
  }
  Tally() = default;
  Tally(const Tally&) = delete;
  Tally& operator=(const Tally&) = delete;

 private:
  std::size_t cases_ = 0, failed_ = 0;
  std::string text_;
};

// Random cases on every target, each with a context of it: run(memories, case, i) says what is wrong with number i. With
// reduced effort one in `one_in` of them runs, but all are drawn, so that it is the same one.
template <class Memories, class Draw, class Run>
void for_random_cases(int count, unsigned one_in, Draw random_case, Run run) {
  for_each_target([&](Target target) {
    Memories m;
    Context context;
    context.target = target;
    Tally tally;
    Sampler sampler(one_in);
    for (int i = 0; i < count; ++i) {
      auto c = random_case(m.random);
      c.context = &context;
      if (sampler.skip()) continue;
      tally.add(run(m, c, i), [&] { return describe(c); });
    }
  });
}

}  // namespace tessera::test

#endif  // TESSERA_TEST_TESTING_H_
