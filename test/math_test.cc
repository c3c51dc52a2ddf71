// SPDX-License-Identifier: Apache-2.0
// The functions of kernels/math-inl.h on every target: their errors against functions of double,
// the values where they go wrong, and the same bits on all targets with FMA.
//
// [.exhaustive], which runs only when asked for, does it for all 2^32 floats on TESSERA_TARGET (the
// last one that is supported if unset) and prints the largest errors, in about a minute a function;
// `-c exp` runs it for one of them.

#include "math_test.h"

#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "digest.h"
#include "tessera/config.h"

// First with 3 lanes: what it gives is the oracle for the bits of all others.
#define TESSERA_SCALAR_LANES 3
#include "math_test-inl.h"
#undef TESSERA_SCALAR_LANES

// HWY_TARGET_TOGGLE is how the headers know that a new pass has begun.
#define HWY_TARGET_TOGGLE
#define TESSERA_SCALAR_LANES 5
#include "math_test-inl.h"
#undef TESSERA_SCALAR_LANES
#undef HWY_TARGET_TOGGLE

#if TESSERA_STATIC
#include "math_test-inl.h"
#else
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "math_test-inl.h"
#include "hwy/foreach_target.h"
#include "math_test-inl.h"
#endif

namespace tessera::math_test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// ---- Specification

double ref_exp(double x) { return std::exp(x); }
double ref_log(double x) { return std::log(x); }
double ref_tanh(double x) { return std::tanh(x); }
double ref_erf(double x) { return std::erf(x); }
double ref_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double ref_gelu(double x) {
  return x == -kInf ? 0 : x / 2 * std::erfc(x * -0.70710678118654752440);
}
double ref_gelu_tanh(double x) {
  return x == -kInf ? 0 : x / (1 + std::exp(-1.5957691216057307117 * (x + 0.044715 * (x * x * x))));
}
double ref_silu(double x) { return x == -kInf ? 0 : x / (1 + std::exp(-x)); }
double ref_hard_swish(double x) { return x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6; }

double ref_sin(double x) { return std::sin(x); }
double ref_cos(double x) { return std::cos(x); }
double ref_rsqrt(double x) { return 1 / std::sqrt(x); }
double ref_exp2_normal(double x) { return x <= -126.5 ? 0 : std::exp2(x > 127 ? 127 : x); }

// The largest error: `ulps`, or for x below `from` the difference `absolute`.
struct Bound {
  double ulps;
  double from = -std::numeric_limits<double>::infinity(), absolute = 0;
};

struct Spec {
  Function function;
  const char* name;
  double (*exact)(double);
  Bound fma, no_fma;     // what the comments in math-inl.h say
  std::uint64_t golden;  // digest of the first values of inputs() on targets with FMA
};

constexpr Spec kSpecs[] = {
    {kExp, "exp", ref_exp, {0.9}, {1.17}, 0xbe84f4aa58c0946d},
    {kLog, "log", ref_log, {0.84}, {0.91}, 0x28dd74e5fe0bd72e},
    {kTanh, "tanh", ref_tanh, {1.37}, {1.35}, 0x66b71132ac036f14},
    {kErf, "erf", ref_erf, {1.7}, {2.21}, 0x0f42818b655f098a},
    {kSigmoid,
     "sigmoid",
     ref_sigmoid,
     {2.49, -87.3, 0x1p-127},
     {2.49, -87.3, 0x1p-127},
     0x202e4855e7208903},
    {kGelu, "gelu", ref_gelu, {1.24, 0, 0x1p-23}, {1.64, 0, 0x1p-22}, 0x2ce3ee9b4d51fbd9},
    {kGeluTanh,
     "gelu_tanh",
     ref_gelu_tanh,
     {1.86, 0, 0x1p-24},
     {1.94, 0, 0x1p-24},
     0x33e81c88cd16bf13},
    {kSilu, "silu", ref_silu, {2.4, -88.3, 0x1p-120}, {2.47, -88.3, 0x1p-120}, 0x263cb616cf7f4a7a},
    {kHardSwish, "hard_swish", ref_hard_swish, {2.49}, {2.49}, 0x908cc5e13bbcd16d},
    {kExp2Normal, "exp2_normal", ref_exp2_normal, {2.1}, {2.5}, 0xc0a519b269a00b1b},
    {kSin, "sin", ref_sin, {1.55}, {2.35}, 0x0e38f9ccfb90a510},
    {kCos, "cos", ref_cos, {1.55}, {2.35}, 0x98353cdb023555da},
    {kRsqrt, "rsqrt", ref_rsqrt, {1.5}, {1.5}, 0x64ec5b4b558eaa8a},
};

// ---- Errors

// From `got` to `exact` in ulps of `exact`: the distance of the floats around it. Infinity stands
// for 2^128, which is what it is rounded from.
double error_in_ulps(float got, double exact, double* absolute) {
  if (exact != exact || got != got) {
    *absolute = 0;
    return (exact != exact) == (got != got) ? 0 : 1e30;
  }
  if (static_cast<double>(got) == exact) {
    *absolute = 0;
    return 0;
  }
  const auto finite = [](double x) {
    return std::fabs(x) > 0x1p128 ? std::copysign(0x1p128, x) : x;
  };
  exact = finite(exact);
  *absolute = std::fabs(finite(static_cast<double>(got)) - exact);
  const auto exponent = static_cast<int>(std::bit_cast<std::uint64_t>(exact) >> 52 & 0x7ff) - 1023;
  const int unit = (exponent < -126 ? -126 : exponent) - 23;
  return *absolute * std::bit_cast<double>(static_cast<std::uint64_t>(1023 - unit) << 52);
}

struct Worst {
  double ulps = 0, absolute = 0;
  float at = 0, absolute_at = 0;

  // Returns whether the error is within the bound.
  bool add(const Bound& bound, float x, float got, double exact) {
    double difference;
    const double error = error_in_ulps(got, exact, &difference);
    if (static_cast<double>(x) < bound.from) {
      if (difference > absolute) absolute = difference, absolute_at = x;
      return error < 1e30 && difference <= bound.absolute;
    }
    if (error > ulps) ulps = error, at = x;
    return error <= bound.ulps;
  }
};

// Equal bits; one NaN is as good as another.
bool same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (a != a && b != b);
}

std::string show(const Spec& spec, float x, float got, const std::string& expected) {
  char text[200];
  std::snprintf(text, sizeof text, "%s(%a) = %a, expected ", spec.name, static_cast<double>(x),
                static_cast<double>(got));
  return text + expected + "\n";
}

std::string show(double x) {
  char text[64];
  std::snprintf(text, sizeof text, "%a", x);
  return text;
}

// ---- Inputs

// Half of them of all sizes, half from 2^-13 to 2^8, both signs. The first kGoldenInputs are the
// same with reduced effort.
constexpr size_t kGoldenInputs = 40000;

std::vector<float> inputs() {
  std::vector<float> v;
  const std::uint32_t count = test::reduced_effort() ? kGoldenInputs / 2 : 200000;
  for (std::uint32_t i = 0; i < count; ++i) {
    v.push_back(std::bit_cast<float>(i * 0x9e3779b1u));
    const std::uint32_t sign = i % 2 << 31;
    v.push_back(std::bit_cast<float>(sign | (0x39000000u + i * 0x9e3779b1u % 0x0a800000u)));
  }
  return v;
}

using RegisteredTarget = test::RegisteredTarget<TagTables>;

std::vector<RegisteredTarget> supported_targets() { return test::supported_targets<TagTables>(); }

// ---- Tests

TEST_CASE("math: errors are within the bounds, bits are the same on all targets", "[math]") {
  const std::vector<float> in = inputs();
  std::vector<float> oracle(in.size()), out(in.size());
  std::vector<double> exact(in.size());
  std::vector<test::Digest> digests(supported_targets().size());
  for (const Spec& spec : kSpecs) {
    for (size_t i = 0; i < in.size(); ++i) exact[i] = spec.exact(static_cast<double>(in[i]));
    N_SCALAR3::math_test::all_tags()[0].functions[spec.function](in.data(), oracle.data(),
                                                                 in.size());
    size_t index = 0;
    for (const RegisteredTarget& target : supported_targets()) {
      test::Digest& digest = digests[index++];
      for (const TagTable& tag : target.table()) {
        tag.functions[spec.function](in.data(), out.data(), in.size());
        const bool fma = has_fma(target.target);
        const Bound& bound = fma ? spec.fma : spec.no_fma;
        Worst worst;
        std::string failures;
        size_t failed = 0;
        for (size_t i = 0; i < in.size(); ++i) {
          if (!worst.add(bound, in[i], out[i], exact[i]) && ++failed <= 5) {
            failures += show(spec, in[i], out[i], show(exact[i]));
          }
          if (fma && !same(out[i], oracle[i]) && ++failed <= 5) {
            failures += show(spec, in[i], out[i],
                             "the bits of scalar3: " + show(static_cast<double>(oracle[i])));
          }
        }
        CAPTURE(name(target.target), tag.lmul, worst.ulps, worst.absolute);
        INFO(failures);
        CHECK(failed == 0);
      }
      for (size_t i = 0; i < kGoldenInputs; ++i) digest.add(out[i] != out[i] ? kNaN : out[i]);
    }
    test::Digest golden;
    for (size_t i = 0; i < kGoldenInputs; ++i)
      golden.add(oracle[i] != oracle[i] ? kNaN : oracle[i]);
    CAPTURE(spec.name);
    CHECK(golden.value() == spec.golden);
  }
  const char* only = std::getenv("TESSERA_TARGET");  // which target this run is about
  size_t index = 0;
  for (const RegisteredTarget& target : supported_targets()) {
    const std::uint64_t digest = digests[index++].value();
    if (only != nullptr && *only != '\0' && name(target.target) != only) continue;
    test::append_digest("math_f32", target.target, digest);
  }
}

TEST_CASE("math: special values", "[math]") {
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  constexpr float kLeast = std::numeric_limits<float>::min();
  constexpr float kMost = std::numeric_limits<float>::max();
  struct Value {
    Function function;
    float x, y;
  };
  const Value values[] = {
      {kExp, 0.0f, 1.0f},
      {kExp, -0.0f, 1.0f},
      {kExp, kTiny, 1.0f},
      {kExp, 1.0f, 0x1.5bf0a8p1f},
      {kExp, kInf, kInf},
      {kExp, kMost, kInf},
      {kExp, 0x1.62e43p6f, kInf},  // the first that overflows
      {kExp, 0x1.62e42ep6f, 0x1.ffff08p127f},
      {kExp, -0x1.9fe368p6f, kTiny},  // the last that does not underflow
      {kExp, -0x1.9fe36ap6f, 0.0f},
      {kExp, -kMost, 0.0f},
      {kExp, -kInf, 0.0f},
      {kLog, 1.0f, 0.0f},
      {kLog, 0.0f, -kInf},
      {kLog, -0.0f, -kInf},
      {kLog, kTiny, -0x1.9d1dap6f},
      {kLog, kLeast, -0x1.5d58ap6f},
      {kLog, kInf, kInf},
      {kLog, -kTiny, kNaN},
      {kLog, -1.0f, kNaN},
      {kLog, -kInf, kNaN},
      {kTanh, 0.0f, 0.0f},
      {kTanh, -0.0f, -0.0f},
      {kTanh, kTiny, kTiny},
      {kTanh, -kTiny, -kTiny},
      {kTanh, kLeast, kLeast},
      {kTanh, 20.0f, 1.0f},
      {kTanh, -20.0f, -1.0f},
      {kTanh, kMost, 1.0f},
      {kTanh, kInf, 1.0f},
      {kTanh, -kInf, -1.0f},
      {kErf, 0.0f, 0.0f},
      {kErf, -0.0f, -0.0f},
      {kErf, kTiny, kTiny},
      {kErf, -kTiny, -kTiny},
      {kErf, 4.0f, 1.0f},
      {kErf, -4.0f, -1.0f},
      {kErf, kMost, 1.0f},
      {kErf, kInf, 1.0f},
      {kErf, -kInf, -1.0f},
      {kSigmoid, 0.0f, 0.5f},
      {kSigmoid, -0.0f, 0.5f},
      {kSigmoid, 17.5f, 1.0f},
      {kSigmoid, kInf, 1.0f},
      {kSigmoid, -kMost, 0.0f},
      {kSigmoid, -kInf, 0.0f},
      {kGelu, 0.0f, 0.0f},
      {kGelu, 10.0f, 10.0f},
      {kGelu, kMost, kMost},
      {kGelu, kInf, kInf},
      {kGelu, -6.0f, 0.0f},
      {kGelu, -kMost, 0.0f},
      {kGelu, -kInf, 0.0f},
      {kGeluTanh, 0.0f, 0.0f},
      {kGeluTanh, 10.0f, 10.0f},
      {kGeluTanh, kMost, kMost},
      {kGeluTanh, kInf, kInf},
      {kGeluTanh, -kMost, -0.0f},
      {kGeluTanh, -kInf, -0.0f},
      {kSilu, 0.0f, 0.0f},
      {kSilu, 20.0f, 20.0f},
      {kSilu, kMost, kMost},
      {kSilu, kInf, kInf},
      {kSilu, -kMost, -0.0f},
      {kSilu, -kInf, -0.0f},
      {kHardSwish, 0.0f, 0.0f},
      {kHardSwish, -0.0f, -0.0f},
      {kHardSwish, 3.0f, 3.0f},
      {kHardSwish, -3.0f, -0.0f},
      {kHardSwish, kMost, kMost},
      {kHardSwish, kInf, kInf},
      {kHardSwish, -kMost, -0.0f},
      {kHardSwish, -kInf, -0.0f},
      {kExp2Normal, 0.0f, 1.0f},
      {kExp2Normal, -0.0f, 1.0f},
      {kExp2Normal, -3.0f, 0.125f},
      {kExp2Normal, -126.0f, 0x1p-126f},
      {kExp2Normal, -127.0f, 0.0f},
      {kExp2Normal, -kMost, 0.0f},
      {kExp2Normal, -kInf, 0.0f},
      {kExp2Normal, 127.0f, 0x1p127f},
      {kSin, 0.0f, 0.0f},
      {kSin, -0.0f, -0.0f},
      {kSin, kTiny, kTiny},
      {kSin, -kLeast, -kLeast},
      {kSin, 0x1.921fb6p0f, 1.0f},
      {kSin, -0x1.921fb6p0f, -1.0f},
      {kSin, 0x1.921fb6p1f, -0x1.777a5cp-24f},
      // The float that is nearest to a multiple of pi / 2.
      {kCos, 0x1.f37c8ap95f, -0x1.bbdd52p-30f},
      {kSin, 0x1.f37c8ap95f, 0x1.p0f},
      {kSin, kMost, -0x1.0b3366p-1f},
      {kSin, kInf, kNaN},
      {kSin, -kInf, kNaN},
      {kCos, 0.0f, 1.0f},
      {kCos, -0.0f, 1.0f},
      {kCos, kTiny, 1.0f},
      {kCos, 0x1.921fb6p0f, -0x1.777a5cp-25f},
      {kCos, -0x1.921fb6p1f, -1.0f},
      {kCos, kMost, 0x1.b4bf2cp-1f},
      {kCos, kInf, kNaN},
      {kRsqrt, 0.0f, kInf},
      {kRsqrt, -0.0f, -kInf},
      {kRsqrt, 4.0f, 0.5f},
      {kRsqrt, 1.0f, 1.0f},
      {kRsqrt, kTiny, 0x1.6a09e6p74f},
      {kRsqrt, kInf, 0.0f},
      {kRsqrt, -kTiny, kNaN},
      {kRsqrt, -kInf, kNaN},
  };
  for (const RegisteredTarget& target : supported_targets()) {
    for (const TagTable& tag : target.table()) {
      CAPTURE(name(target.target), tag.lmul);
      std::string failures;
      const auto check = [&](const Spec& spec, float x, float y) {
        float out;
        tag.functions[spec.function](&x, &out, 1);
        if (!same(out, y)) failures += show(spec, x, out, show(static_cast<double>(y)));
      };
      for (const Value& v : values) check(kSpecs[v.function], v.x, v.y);
      for (const Spec& spec : kSpecs) {
        check(spec, kNaN, kNaN);
        check(spec, -kNaN, kNaN);
      }
      INFO(failures);
      CHECK(failures.empty());
    }
  }
}

// All other targets with FMA are compared with the one that is measured, except those that call
// std::fma: they would take hours.
TEST_CASE("math: all floats", "[.exhaustive]") {
  const std::vector<RegisteredTarget> all = supported_targets();
  const char* wanted = std::getenv("TESSERA_TARGET");
  const RegisteredTarget* measured = &all.back();
  for (const RegisteredTarget& t : all) {
    if (wanted != nullptr && name(t.target) == wanted) measured = &t;
  }
  const bool fma = has_fma(measured->target);
  constexpr size_t kBlock = size_t{1} << 16;
  std::vector<float> in(kBlock), out(kBlock), other(kBlock);
  for (const Spec& spec : kSpecs) {
    DYNAMIC_SECTION(spec.name) {
      Worst worst;
      size_t failed = 0, different = 0;
      std::uint32_t next = 0;
      do {
        for (float& x : in) x = std::bit_cast<float>(next++);
        measured->table()[0].functions[spec.function](in.data(), out.data(), kBlock);
        for (size_t i = 0; i < kBlock; ++i) {
          const double exact = spec.exact(static_cast<double>(in[i]));
          if (!worst.add(fma ? spec.fma : spec.no_fma, in[i], out[i], exact)) ++failed;
        }
        for (const RegisteredTarget& t : all) {
          if (!fma || t.highway_target == 0 || !has_fma(t.target) || t.target == measured->target) {
            continue;
          }
          t.table()[0].functions[spec.function](in.data(), other.data(), kBlock);
          for (size_t i = 0; i < kBlock; ++i) different += !same(out[i], other[i]);
        }
      } while (next != 0);
      std::printf("%s  %-10s  %.4f ulp at %a", name(measured->target).data(), spec.name, worst.ulps,
                  static_cast<double>(worst.at));
      if (worst.absolute != 0) {
        std::printf(", %.3g = 2^%.2f at %a", worst.absolute, std::log2(worst.absolute),
                    static_cast<double>(worst.absolute_at));
      }
      std::printf("\n");
      std::fflush(stdout);
      CHECK(failed == 0);
      CHECK(different == 0);
    }
  }
}

}  // namespace
}  // namespace tessera::math_test
