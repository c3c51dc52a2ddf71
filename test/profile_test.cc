// SPDX-License-Identifier: Apache-2.0
// Tuning profiles: what is read, what is refused and with which sentence, and that no profile changes a bit.
// The hidden cases are for processes that TESSERA_PROFILE is set for (native.cmake).

#include "tessera/tune/profile.h"

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "gemm_case.h"
#include "stderr_of.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/gemm.h"
#include "testing.h"

namespace tessera::test {
namespace {

using detail::GemmProfile;
using detail::ProfileMachine;
using detail::ProfileRefusal;
using detail::ProfileRow;
using detail::ProfileTile;
using detail::ShapeClass;
using detail::TunedBlocks;

// ---- Text

// A machine with avx2 and rvv of 128 bits.
ProfileTile tile_of_machine(Target target, DType family, const TileShape& shape) {
  const auto is = [&](int rows, int vectors, int lmul) {
    return shape.rows == rows && shape.vectors == vectors && shape.lmul == lmul;
  };
  const index_t lanes = family == DType::kF64 ? 4 : 8;
  if (target == Target::kAvx2) {
    if (is(4, 3, 1)) return {true, 0, lanes};
    if (is(6, 2, 1) && family == DType::kF32) return {true, 1, lanes};
    return {true, -1, 0};
  }
  if (target == Target::kRvv) return {true, is(7, 1, 4) ? 0 : -1, 2 * lanes};
  return {};
}

const ProfileMachine kMachine{"0.1.0", "Some CPU, family 6 model 1", &tile_of_machine};

constexpr std::string_view kBody =
    "tessera-profile 1\n"
    "version 0.1.0\n"
    "cpu Some CPU, family 6 model 1\n"
    "targets avx2 rvv\n"
    "\n"
    "# a comment\n"
    "gemm avx2 f32 large 6x2x1 8 96 320 3072\n"
    "gemm avx2 f64 row 4x3x1 4 0 128 0\n"
    "gemm rvv s8 skinny 7x1x4 16 0 0 512\n";

struct Outcome {
  GemmProfile profile;
  std::string refusal;
};
Outcome parsed(std::string_view text, const ProfileMachine& machine = kMachine) {
  Outcome outcome;
  ProfileRefusal refusal;
  const bool good = detail::parse_profile(text, machine, outcome.profile, refusal);
  CHECK(good == refusal.text().empty());
  CHECK((good || outcome.profile.size() == 0));
  outcome.refusal = refusal.text();
  return outcome;
}
// Of a text that ends with its checksum.
std::string refusal_of(std::string_view body) {
  return parsed(detail::with_checksum(std::string(body))).refusal;
}

std::string replaced(std::string_view old_text, std::string_view new_text) {
  std::string text(kBody);
  const std::size_t at = text.find(old_text);
  REQUIRE(at != std::string::npos);
  return text.replace(at, old_text.size(), new_text);
}

TEST_CASE("a profile is read", "[profile]") {
  const Outcome outcome = parsed(detail::with_checksum(std::string(kBody)));
  CHECK(outcome.refusal == "");
  CHECK(outcome.profile.size() == 3);
  const TunedBlocks* large = outcome.profile.find(Target::kAvx2, DType::kF32, ShapeClass::kLarge);
  REQUIRE(large != nullptr);
  CHECK(large->tile == 1);
  CHECK(large->mc == 96);
  CHECK(large->kc == 320);
  CHECK(large->nc == 3072);
  // bf16 and f16 are computed as f32.
  CHECK(outcome.profile.find(Target::kAvx2, DType::kBF16, ShapeClass::kLarge) == large);
  CHECK(outcome.profile.find(Target::kAvx2, DType::kF16, ShapeClass::kLarge) == large);
  const TunedBlocks* row = outcome.profile.find(Target::kAvx2, DType::kF64, ShapeClass::kRow);
  REQUIRE(row != nullptr);
  CHECK(row->tile == 0);
  CHECK(row->kc == 128);
  CHECK(outcome.profile.find(Target::kRvv, DType::kS8, ShapeClass::kSkinny) != nullptr);
  CHECK(outcome.profile.find(Target::kRvv, DType::kU8, ShapeClass::kSkinny) == nullptr);
  CHECK(outcome.profile.find(Target::kAvx2, DType::kF32, ShapeClass::kSmall) == nullptr);
  CHECK(outcome.profile.find(Target::kSse4, DType::kF32, ShapeClass::kLarge) == nullptr);
}

TEST_CASE("a profile that was written is read", "[profile]") {
  const std::vector<ProfileRow> rows = {
      {Target::kAvx2, DType::kF32, ShapeClass::kLarge, {6, 2, 1}, 8, 96, 320, 3072},
      {Target::kAvx2, DType::kF64, ShapeClass::kRow, {4, 3, 1}, 4, 0, 128, 0}};
  const Outcome outcome = parsed(detail::profile_text(kMachine.version, kMachine.cpu, rows));
  CHECK(outcome.refusal == "");
  CHECK(outcome.profile.size() == 2);
  const Outcome none = parsed(detail::profile_text(kMachine.version, kMachine.cpu, {}));
  CHECK(none.refusal == "");
  CHECK(none.profile.find(Target::kAvx2, DType::kF32, ShapeClass::kLarge) == nullptr);
}

TEST_CASE("rows of targets that the build lacks wait for one that has them", "[profile]") {
  const Outcome outcome =
      parsed(detail::with_checksum(replaced("targets avx2 rvv", "targets avx2 rvv sve2")
                                       .append("gemm sve2 f32 row 9x9x1 4 0 0 0\n")));
  CHECK(outcome.refusal == "");
  CHECK(outcome.profile.size() == 3);
}

TEST_CASE("stale profiles are refused", "[profile]") {
  CHECK(refusal_of(replaced("version 0.1.0", "version 0.0.9")) ==
        "stale: expected version 0.1.0, got 0.0.9");
  CHECK(refusal_of(replaced("cpu Some CPU", "cpu Another CPU")) ==
        "stale: expected cpu Some CPU, family 6 model 1, got Another CPU, family 6 model 1");
  CHECK(refusal_of(replaced("tessera-profile 1", "tessera-profile 2")) ==
        "stale: expected format 1, got 2");
  // Another format may well have another checksum.
  CHECK(parsed("tessera-profile 17\nwhatever\n").refusal == "stale: expected format 1, got 17");
  CHECK(refusal_of(replaced("7x1x4 16", "7x1x4 32")) ==
        "stale: line 9: expected vectors of 16 lanes, got 32");
}

TEST_CASE("damaged profiles are refused", "[profile]") {
  struct Wrong {
    std::string_view from, to, refusal;
  };
  const Wrong edits[] = {
      {"gemm avx2 f32", "gemm avx9 f32", "line 7: expected a target of the line targets, got avx9"},
      {"gemm avx2 f32", "gemm sse4 f32", "line 7: expected a target of the line targets, got sse4"},
      {"targets avx2", "targets avx2000", "line 4: expected names of targets, got avx2000"},
      {"avx2 f32", "avx2 f31", "line 7: expected f32, f64, s8 or u8, got f31"},
      {"large", "huge", "line 7: expected row, skinny, small or large, got huge"},
      {"6x2x1", "5x2x1", "line 7: expected a tile that avx2 has for f32, got 5x2x1"},
      {"f64 row 4x3x1", "f64 row 6x2x1",
       "line 8: expected a tile that avx2 has for f64, got 6x2x1"},
      {"6x2x1", "6x2", "line 7: expected a tile as 8x3x1, got 6x2"},
      {"6x2x1", "6x0x1", "line 7: expected a tile as 8x3x1, got 6x0x1"},
      {"6x2x1", "6x2x1x1", "line 7: expected a tile as 8x3x1, got 6x2x1x1"},
      {"6x2x1 8", "6x2x1 0", "line 7: expected lanes from 1 to 16384, got 0"},
      {"320", "16777217", "line 7: expected mc, kc and nc from 0 to 16777216, got 16777217"},
      {"320", "99999999999999999999999",
       "line 7: expected mc, kc and nc from 0 to 16777216, got 99999999999999999999999"},
      {"320", "-1", "line 7: expected mc, kc and nc from 0 to 16777216, got -1"},
      {"320", "0x40", "line 7: expected mc, kc and nc from 0 to 16777216, got 0x40"},
      {" 3072", "", "line 7: expected mc, kc and nc from 0 to 16777216, got nothing"},
      {" 3072", " 3072 1", "line 7: expected the end of the row, got 1"},
      {"gemm avx2 f64 row 4x3x1 4 0 128 0", "gemm avx2 f32 large 4x3x1 8 0 0 0",
       "line 8: expected one row for each target, type and class, got gemm avx2 f32 large 4x3x1 8 "
       "0 0 0"},
      {"# a comment", "conv avx2", "line 6: expected version, cpu, targets or gemm, got conv avx2"},
      {"version 0.1.0\n", "", "expected lines version, cpu and targets, got not all of them"},
      {"cpu Some CPU, family 6 model 1\n", "",
       "expected lines version, cpu and targets, got not all of them"},
  };
  for (const Wrong& e : edits) {
    CHECK(refusal_of(replaced(e.from, e.to)) == "damaged: " + std::string(e.refusal));
  }
}

TEST_CASE("texts that are no profiles are refused", "[profile]") {
  const std::string first = "damaged: line 1: expected a first line \"tessera-profile 1\", got ";
  CHECK(parsed("").refusal == first + "nothing");
  CHECK(parsed("\n").refusal == first + "nothing");
  CHECK(parsed("{\"tile\": 1}\n").refusal == first + "{\"tile\": 1}");
  CHECK(parsed(std::string_view("\x7f"
                                "ELF\x02\0\0\n",
                                8))
            .refusal == first + "?ELF???");
  CHECK(parsed(std::string(100000, 'x')).refusal == first + std::string(300, 'x'));
}

TEST_CASE("a profile that was cut off or changed is refused, wherever", "[profile]") {
  const std::string good = detail::with_checksum(std::string(kBody));
  for (std::size_t size = 0; size < good.size(); ++size) {
    CAPTURE(size);
    CHECK(parsed(good.substr(0, size)).refusal != "");
  }
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      CAPTURE(at, bit);
      std::string text = good;
      text[at] = static_cast<char>(text[at] ^ (1 << bit));
      CHECK(parsed(text).refusal != "");
    }
  }
  CHECK(parsed(good + "\n").refusal != "");
  CHECK(parsed(good + good).refusal != "");
  CHECK(parsed(std::string(kBody)).refusal ==
        "damaged: expected a last line \"checksum\" with 16 digits, got gemm rvv s8 skinny 7x1x4 "
        "16 0 0 512");
  std::string flipped = good;
  flipped[good.find("320")] = '4';
  const std::string old_sum = good.substr(good.size() - 17, 16);
  flipped.resize(flipped.size() - 26);
  CHECK(parsed(flipped + "checksum " + old_sum + "\n").refusal ==
        "damaged: expected checksum " + std::string(detail::checksum_of(flipped).text()) +
            ", got " + old_sum);
}

TEST_CASE("the checksum is FNV-1a", "[profile]") {
  CHECK(detail::fnv1a("") == 0xcbf29ce484222325u);
  CHECK(detail::fnv1a("a") == 0xaf63dc4c8601ec8cu);
  CHECK(detail::fnv1a("foobar") == 0x85944171f73967e8u);
}

TEST_CASE("classes of shapes", "[profile]") {
  CHECK(detail::shape_class(1, 4096, 4096) == ShapeClass::kRow);
  CHECK(detail::shape_class(2, 1, 1) == ShapeClass::kRow);
  CHECK(detail::shape_class(3, 4096, 4096) == ShapeClass::kSkinny);
  CHECK(detail::shape_class(32, 8, 8) == ShapeClass::kSkinny);
  CHECK(detail::shape_class(33, 8, 8) == ShapeClass::kSmall);
  CHECK(detail::shape_class(384, 384, 384) == ShapeClass::kSmall);
  CHECK(detail::shape_class(384, 384, 385) == ShapeClass::kLarge);
  CHECK(detail::shape_class(index_t{1} << 40, index_t{1} << 40, 1) == ShapeClass::kLarge);
}

TEST_CASE("this machine has a name, always the same", "[profile]") {
  const detail::CpuName cpu = detail::cpu_name();
  CHECK(!cpu.text().empty());
  CHECK(cpu.text() == detail::trimmed(cpu.text()));
  CHECK(cpu.text().find('?') == std::string_view::npos);
  CHECK(cpu.text() == detail::cpu_name().text());
}

// ---- This machine, in processes of their own

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  REQUIRE(value != nullptr);
  return value;
}

// For every target, type and class: the last tile, and blocks that nobody would choose.
constexpr index_t kOddMc = 40, kOddKc = 24, kOddNc = 72;
template <class T>
void add_odd_rows(std::vector<ProfileRow>& rows) {
  for (const Target target : available_targets()) {
    Context context;
    context.target = target;
    context.gemm.tile = tile_count<T>(target) - 1;
    const GemmPlan plan = plan_gemm<T>(100, 100, 100, &context);
    for (const ShapeClass c :
         {ShapeClass::kRow, ShapeClass::kSkinny, ShapeClass::kSmall, ShapeClass::kLarge}) {
      rows.push_back({target, DTypeTraits<T>::kDType, c, plan.tile, plan.nr / plan.tile.vectors,
                      kOddMc, kOddKc, kOddNc});
    }
  }
}

TEST_CASE("write an odd profile, and a damaged one", "[.][profile-write]") {
  std::vector<ProfileRow> rows;
  add_odd_rows<float>(rows);
  add_odd_rows<double>(rows);
  add_odd_rows<std::int8_t>(rows);
  add_odd_rows<std::uint8_t>(rows);
  const std::string text = detail::profile_text(detail::kVersion, detail::cpu_name().text(), rows);
  const std::string stale = detail::profile_text("0.0.0", detail::cpu_name().text(), rows);
  const std::string name = variable("TESSERA_PROFILE_TO_WRITE");
  const auto write = [](const std::string& file, const std::string& what) {
    std::FILE* f = std::fopen(file.c_str(), "wb");
    REQUIRE(f != nullptr);
    CHECK(std::fwrite(what.data(), 1, what.size(), f) == what.size());
    CHECK(std::fclose(f) == 0);
  };
  write(name, text);
  write(name + ".truncated", text.substr(0, text.size() / 2));
  write(name + ".stale", stale);
  write(name + ".empty", "");
}

template <class T>
void check_odd_plans() {
  for_each_target([](Target target) {
    const int last = tile_count<T>(target) - 1;
    const bool matrix_unit = target == Target::kAmx && sizeof(T) == 1;  // 64 steps of k at a time
    const auto whole_steps = [&](index_t kc) { return matrix_unit ? (kc + 63) / 64 * 64 : kc; };
    Context told, untold;
    told.target = untold.target = target;
    told.gemm = {.tile = last, .mc = kOddMc, .kc = kOddKc, .nc = kOddNc};
    for (const index_t m : {1, 12, 96, 960}) {
      CAPTURE(m);
      const GemmPlan expected = plan_gemm<T>(m, 960, 960, &told);
      const GemmPlan plan = plan_gemm<T>(m, 960, 960, &untold);
      CHECK(plan.tile == expected.tile);
      CHECK(plan.mc == expected.mc);
      CHECK(plan.kc == expected.kc);
      CHECK(plan.nc == expected.nc);
    }
    // The context wins.
    untold.gemm = {.tile = 0, .mc = 80, .kc = 48, .nc = 960};
    told.gemm = untold.gemm;
    CHECK(plan_gemm<T>(960, 960, 960, &untold).tile.rows ==
          plan_gemm<T>(960, 960, 960, &told).tile.rows);
    CHECK(plan_gemm<T>(960, 960, 960, &untold).mc == 80);
    CHECK(plan_gemm<T>(960, 960, 960, &untold).kc == whole_steps(48));
    untold.gemm = {.kc = 48};
    CHECK(plan_gemm<T>(960, 960, 960, &untold).kc == whole_steps(48));
    // So do caches that are not this machine's: formulas.
    untold.gemm = {};
    untold.caches = machine_caches();
    CHECK(plan_gemm<T>(960, 960, 960, &untold).kc > kOddKc);
    untold.caches = {};
    // Packed operands have tile and blocks of large products, and meet.
    const std::vector<T> a(50 * 70, T{1}), b(70 * 30, T{1});
    const auto pa = pack_a(row_major(a, {50, 70}), {.context = &untold});
    const auto pb = pack_b(row_major(b, {70, 30}), {.context = &untold});
    CHECK(pa.layout().tile == last);
    CHECK(pb.layout().tile == last);
    CHECK(pa.layout().kc == whole_steps(24));
    CHECK(pb.layout().kc == whole_steps(24));
    std::vector<Accumulator<T>> c(50 * 30);
    gemm(pa, pb, row_major(c, {50, 30}), {.context = &untold});
    CHECK(c == std::vector<Accumulator<T>>(c.size(), Accumulator<T>{70}));
  });
}

TEST_CASE("the profile of TESSERA_PROFILE is used, silently", "[.][profile-used]") {
  const std::string said = stderr_of([] { plan_gemm<float>(1, 1, 1); });
  CHECK(said == "");
  check_odd_plans<float>();
  check_odd_plans<double>();
  check_odd_plans<std::int8_t>();
}

TEST_CASE("a profile that is refused is named once and ignored", "[.][profile-refused]") {
  const std::string file = variable("TESSERA_PROFILE"), why = variable("TESSERA_PROFILE_REFUSAL");
  Workspace w;
  std::string failure;
  const std::string said = stderr_of([&] {
    for (int i = 0; i < 3; ++i) {
      failure += run_case<float>(w, {.target = active_target(), .m = 70, .n = 50, .k = 60});
    }
  });
  CHECK(failure == "");
  CHECK(said.find("tessera: TESSERA_PROFILE: " + file + ": " + why) == 0);
  CHECK(said.find("; it is ignored\n") == said.size() - 16);
  CHECK(said.find('\n') == said.size() - 1);
  Context formulas;
  formulas.caches = machine_caches();
  const GemmPlan plan = plan_gemm<float>(960, 960, 960);
  CHECK(plan.kc == plan_gemm<float>(960, 960, 960, &formulas).kc);
  CHECK(plan.kc > kOddKc);
}

}  // namespace
}  // namespace tessera::test
