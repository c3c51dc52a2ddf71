// SPDX-License-Identifier: Apache-2.0
// Context: executors, scratch, and the choices that it overrides.

#include "tessera/core/context.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "executors.h"
#include "gemm_case.h"
#include "hwy/contrib/thread_pool/thread_pool.h"
#include "tessera/core/scratch.h"
#include "testing.h"

namespace tessera::test {
namespace {

// ---- Executors

// How often each of n tasks runs.
std::vector<int> runs(const Executor& executor, index_t n) {
  std::vector<std::atomic<int>> counts(static_cast<std::size_t>(n));
  executor.parallel_for(n, [&](index_t i) { ++counts.at(static_cast<std::size_t>(i)); });
  return {counts.begin(), counts.end()};
}

TEST_CASE("every executor runs each task once", "[context][threads]") {
  const index_t n = GENERATE(0, 1, 2, 3, 100);
  const std::vector<int> once(static_cast<std::size_t>(n), 1);
  hwy::ThreadPool pool(2);
  StdThreads threads{3};
  Reversed reversed;
  Shuffled shuffled;
  CHECK(runs(Executor(), n) == once);
  CHECK(runs(Executor::from_pool(pool), n) == once);
  CHECK(runs(Executor::from_function(3, threads), n) == once);
  CHECK(runs(Executor::from_function(3, reversed), n) == once);
  CHECK(runs(Executor::from_function(3, shuffled), n) == once);
}

TEST_CASE("the default executor runs in order on the calling thread", "[context]") {
  std::vector<index_t> order;
  std::set<std::thread::id> threads;
  Executor().parallel_for(4, [&](index_t i) {
    order.push_back(i);
    threads.insert(std::this_thread::get_id());
  });
  CHECK(order == std::vector<index_t>{0, 1, 2, 3});
  CHECK(threads == std::set{std::this_thread::get_id()});
  CHECK(Executor().concurrency() == 1);
}

TEST_CASE("an executor hands a single task to nobody", "[context]") {
  int calls = 0;
  auto parallel_for = [&](index_t n, TaskRef task) {
    ++calls;
    for (index_t i = 0; i < n; ++i) task(i);
  };
  const Executor executor = Executor::from_function(4, parallel_for);
  executor.parallel_for(0, [](index_t) {});
  executor.parallel_for(1, [](index_t) {});
  CHECK(calls == 0);
  executor.parallel_for(2, [](index_t) {});
  CHECK(calls == 1);
}

TEST_CASE("an executor knows how many tasks run at a time", "[context]") {
  hwy::ThreadPool pool(2);
  Reversed reversed;
  CHECK(Executor::from_pool(pool).concurrency() == 3);
  CHECK(Executor::from_function(7, reversed).concurrency() == 7);
  CHECK(Executor::from_function(0, reversed).concurrency() == 1);
  CHECK(Executor::from_function(-5, reversed).concurrency() == 1);
}

TEST_CASE("an executor takes const callables and callables with state", "[context]") {
  const auto forwards = [](index_t n, TaskRef task) {
    for (index_t i = 0; i < n; ++i) task(i);
  };
  CHECK(runs(Executor::from_function(2, forwards), 5) == std::vector<int>(5, 1));
  struct Counting {
    int calls = 0;
    void operator()(index_t n, TaskRef task) {
      ++calls;
      for (index_t i = 0; i < n; ++i) task(i);
    }
  } counting;
  const Executor executor = Executor::from_function(2, counting);
  runs(executor, 2);
  runs(executor, 2);
  CHECK(counting.calls == 2);  // referred to, not copied
}

// gemm uses what it is given, and starts no thread of its own.
TEST_CASE("gemm runs on the executor of its context only", "[context][threads]") {
  std::mutex mutex;
  std::set<std::thread::id> seen;
  index_t tasks = 0;
  auto record = [&](index_t n, TaskRef task) {
    std::vector<std::thread> threads;
    for (index_t i = 0; i < n; ++i) {
      threads.emplace_back([&, i] {
        {
          const std::lock_guard lock(mutex);
          seen.insert(std::this_thread::get_id());
          ++tasks;
        }
        task(i);
      });
      threads.back().join();
    }
  };
  Workspace w;
  const GemmCase g{.target = active_target(),
                   .tuning = {.packing = Packing::kAlways},
                   .m = 64,
                   .n = 64,
                   .k = 16,
                   .executor = Executor::from_function(4, record)};
  CHECK(run_case<float>(w, g) == "");
  CHECK(tasks >= 4);
  CHECK(seen.count(std::this_thread::get_id()) == 0);
}

// ---- Scratch

bool aligned(const std::byte* p) {
  return reinterpret_cast<std::uintptr_t>(p) % kScratchAlignment == 0;
}

TEST_CASE("scratch that is owned grows and is reused", "[context]") {
  Scratch scratch;
  for (const std::size_t bytes : {1, 100, 4096, 100000}) {
    std::byte* const p = scratch.reserve(bytes, "test");
    CHECK(aligned(p));
    std::fill(p, p + bytes, std::byte{1});  // a sanitizer sees whether there is enough
    CHECK(scratch.reserve(bytes, "test") == p);
    CHECK(scratch.reserve(bytes / 2, "test") == p);
  }
}

TEST_CASE("scratch that is lent is used within its bounds", "[context]") {
  GuardedMemory memory;
  const std::size_t bytes = 4000;
  for (const Edge edge : {Edge::kStart, Edge::kEnd}) {
    std::byte* const lent = memory.place<std::byte>(bytes, edge);
    Scratch scratch(std::span(lent, bytes));
    std::byte* const p = scratch.reserve(3800, "test");
    CHECK(aligned(p));
    CHECK(p >= lent);
    CHECK(p + 3800 <= lent + bytes);
    CHECK(scratch.reserve(10, "test") == p);
  }
}

TEST_CASE("scratch that is lent and too small is an error", "[context]") {
  alignas(kScratchAlignment) std::byte memory[256];
  Scratch scratch(std::span(memory, 255));
  CHECK(scratch.reserve(255, "test") == memory);
  try {
    scratch.reserve(256, "test");
    FAIL("no error");
  } catch (const Error& e) {
    CHECK(std::string(e.what()) == "test: context.scratch: expected at least 256 bytes, got 255");
  }
  Scratch none(std::span<std::byte>{});
  CHECK_THROWS_AS(none.reserve(1, "test"), Error);
}

TEST_CASE("scratch of absurd size is refused", "[context]") {
  std::byte memory[300];
  Scratch scratch(std::span(memory + 1, 299));  // not aligned: skipped bytes must not wrap
  CHECK_THROWS_AS(scratch.reserve(~std::size_t{0} - 3, "test"), Error);
}

TEST_CASE("scratch moves, memory and all", "[context]") {
  STATIC_REQUIRE(std::is_nothrow_move_constructible_v<Scratch>);
  STATIC_REQUIRE(!std::is_copy_constructible_v<Scratch>);
  Scratch first;
  std::byte* const p = first.reserve(1000, "test");
  Scratch second = std::move(first);
  CHECK(second.reserve(1000, "test") == p);
  std::byte* const q = first.reserve(500, "test");  // moved from: empty, and usable
  REQUIRE(q != nullptr);
  CHECK(q != p);
  std::fill(q, q + 500, std::byte{1});
}

TEST_CASE("gemm works in the scratch of its context", "[context]") {
  Context context;
  std::byte* const before = context.scratch.reserve(1 << 20, "test");
  std::fill(before, before + (1 << 20), std::byte{0xff});
  context.gemm.packing = Packing::kAlways;
  std::vector<float> a(30 * 40, 1.0f), b(40 * 50, 1.0f), c(30 * 50);
  gemm(row_major(a, {30, 40}), row_major(b, {40, 50}), row_major(c, {30, 50}),
       {.context = &context});
  CHECK(c == std::vector<float>(c.size(), 40.0f));
  CHECK(context.scratch.reserve(1, "test") == before);
  CHECK(std::any_of(before, before + (1 << 20), [](std::byte x) { return x != std::byte{0xff}; }));
}

// ---- Choices

TEST_CASE("a context overrides target, caches and tuning", "[context]") {
  for_each_target([](Target target) {
    Context context;
    context.target = target;
    const GemmPlan plan = plan_gemm<float>(4096, 4096, 4096, &context);
    CHECK(plan.target == target);
    context.caches = CacheSizes{.l1d = {16 * 1024, 4, 1}, .l2 = {64 * 1024, 4, 1}, .l3 = {}};
    const GemmPlan small = plan_gemm<float>(4096, 4096, 4096, &context);
    context.caches = CacheSizes{
        .l1d = {128 * 1024, 8, 1}, .l2 = {4096 * 1024, 8, 1}, .l3 = {65536 * 1024, 16, 1}};
    const GemmPlan large = plan_gemm<float>(4096, 4096, 4096, &context);
    CHECK(small.kc * small.mc < large.kc * large.mc);
    CHECK(small.kc <= large.kc);
    CHECK(static_cast<std::size_t>(small.kc * small.mc) * sizeof(float) <= 64 * 1024);
    for (int tile = 0; tile < tile_count<float>(target); ++tile) {
      context.gemm.tile = tile;
      CHECK(plan_gemm<float>(3, 5, 7, &context).tile ==
            plan_gemm<float>(300, 500, 70, &context).tile);
    }
  });
}

TEST_CASE("a context is per call, not per program", "[context]") {
  const Target before = active_target();
  for (const Target target : tested_targets()) {
    Context context;
    context.target = target;
    CHECK(plan_gemm<double>(10, 10, 10, &context).target == target);
    CHECK(active_target() == before);
    CHECK(plan_gemm<double>(10, 10, 10).target == before);
  }
}

}  // namespace
}  // namespace tessera::test
