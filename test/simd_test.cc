// SPDX-License-Identifier: Apache-2.0
// Every op of the SIMD vocabulary, for every type and on every target, against the scalar backend.

#include "simd_test.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "tessera/config.h"

// First with 3 lanes: its ops, on vectors of any length, are the oracle for all that follow.
#define TESSERA_SCALAR_LANES 3
#include "simd_test-inl.h"
#undef TESSERA_SCALAR_LANES

// HWY_TARGET_TOGGLE is how the headers know that a new pass has begun.
#define HWY_TARGET_TOGGLE
#define TESSERA_SCALAR_LANES 5
#include "simd_test-inl.h"
#undef TESSERA_SCALAR_LANES
#undef HWY_TARGET_TOGGLE

#if TESSERA_STATIC
#include "simd_test-inl.h"
#else
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd_test-inl.h"
#include "hwy/foreach_target.h"
#include "simd_test-inl.h"
#endif

namespace tessera::simd_test {
namespace {

namespace oracle = ::tessera::N_SCALAR3;
template <class T, int N = 1>
using Scalar = oracle::LanesVec<T, N>;

// ---- Report

// Counts all checks, keeps the first failures. (A Catch2 assertion per lane would take minutes.)
struct Report {
  size_t checks = 0;
  size_t failed = 0;
  std::string text;

  void fail(const std::string& line) {
    if (++failed <= 10) text += line + "\n";
  }
};

template <class T>
using Bits =
    std::conditional_t<sizeof(T) == 8, uint64_t,
                       std::conditional_t<sizeof(T) == 4, uint32_t,
                                          std::conditional_t<sizeof(T) == 2, uint16_t, uint8_t>>>;

template <class T>
std::string show(T x) {
  const auto bits = static_cast<unsigned long long>(std::bit_cast<Bits<T>>(x));
  char text[64];
  if constexpr (std::is_floating_point_v<T>) {
    std::snprintf(text, sizeof text, "%a (0x%llx)", double{x}, bits);
  } else {
    std::snprintf(text, sizeof text, "0x%llx", bits);
  }
  return text;
}

enum class Nan { kAny, kSameBits };

// Equal bits, except that where arithmetic makes a NaN, any NaN will do.
template <class T>
bool same(T got, T want, Nan nan) {
  if constexpr (std::is_floating_point_v<T>) {
    if (nan == Nan::kAny && got != got && want != want) return true;
  }
  return std::bit_cast<Bits<T>>(got) == std::bit_cast<Bits<T>>(want);
}

template <class T>
void check(Report& r, const char* op, size_t at, T got, T want, Nan nan = Nan::kSameBits) {
  ++r.checks;
  if (same(got, want, nan)) return;
  r.fail(std::string(op) + " " + std::string(DTypeTraits<T>::kName) + " at " + std::to_string(at) +
         ": " + show(got) + ", expected " + show(want));
}

// Runs f(report, ops) for every target that this machine supports.
template <class F>
void for_each_target(F f) {
  for (const auto& t : test::supported_targets<TargetTable>()) {
    INFO(name(t.target));
    Report report;
    f(report, t.table());
    INFO(report.text);
    CHECK(report.checks > 0);
    CHECK(report.failed == 0);
  }
}

template <class T, class F>
void for_each_tag(Report& r, const std::vector<TagTable<T>>& tags, F f) {
  for (const TagTable<T>& tag : tags) f(r, tag);
}

// ---- Inputs

class Random {
 public:
  uint64_t next() {  // SplitMix64
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  template <class T>
  T bits() {
    return std::bit_cast<T>(static_cast<Bits<T>>(next()));
  }

  // All bit patterns; for floating point every other time numbers of about the same size, so that
  // sums and products are finite too.
  template <class T>
  T value() {
    if constexpr (std::is_floating_point_v<T>) {
      if (next() & 1) return static_cast<T>(static_cast<double>(bits<int64_t>()) * 0x1p-60);
    }
    return bits<T>();
  }

 private:
  uint64_t state_ = 1;
};

template <class T>
std::vector<T> random_bits(size_t n) {
  Random random;
  std::vector<T> v(n);
  for (T& x : v) x = random.bits<T>();
  return v;
}

// Values at which ops go wrong.
template <class T>
std::vector<T> specials() {
  using L = std::numeric_limits<T>;
  std::vector<T> v;
  if constexpr (std::is_floating_point_v<T>) {
    for (T x : {T(0),
                T(1),
                T(0.5),
                T(1.5),
                T(2.5),
                T(3),
                T(0.1),
                T(127.5),
                T(255.5),
                T(32768.5),
                T(65519),
                T(65520),
                T(8388607.5),
                T(16777216),
                T(2147483520),
                T(2147483648.0),
                T(4294967296.0),
                T(4503599627370495.5),
                L::min(),
                L::denorm_min(),
                T(L::min() - L::denorm_min()),
                L::epsilon(),
                T(1 + L::epsilon()),
                L::max(),
                L::infinity(),
                L::quiet_NaN()}) {
      v.push_back(x);
      v.push_back(-x);
    }
  } else {
    for (T x : {T(0), T(1), T(2), T(3), T(15), T(16), T(127), T(L::max() / 2), T(L::max() / 2 + 1),
                T(L::max() - 1), L::max(), T(L::min() + 1), L::min()}) {
      v.push_back(x);
      v.push_back(static_cast<T>(0u - static_cast<unsigned>(x)));
    }
  }
  return v;
}

// Three operands: all pairs of special values, with a third that takes turns, then random ones.
// The arrays are longer than `size`, by more than any vector.
template <class T>
struct Operands {
  static constexpr size_t kPadding = 4096 / sizeof(T);
  std::vector<T> a, b, c;
  size_t size;

  Operands() {
    const std::vector<T> s = specials<T>();
    Random random;
    for (size_t i = 0; i < s.size(); ++i) {
      for (size_t j = 0; j < s.size(); ++j) add(s[i], s[j], s[(i + 3 * j) % s.size()]);
    }
    while (a.size() < 6000) add(random.value<T>(), random.value<T>(), random.value<T>());
    size = a.size();
    while (a.size() < size + kPadding) add(T{1}, T{1}, T{1});
  }

 private:
  void add(T x, T y, T z) {
    a.push_back(x);
    b.push_back(y);
    c.push_back(z);
  }
};

template <class T>
const Operands<T>& operands() {
  static const Operands<T> x;
  return x;
}

// ---- Memory ops

// An array at the end of accessible memory: touching an element behind the last one is a fault.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t n) : n_(n) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    bytes_ = (n * sizeof(T) + page - 1) / page * page + 2 * page;
    void* p = mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    base_ = static_cast<char*>(p);
    const size_t usable = bytes_ - 2 * page;
    if (usable != 0 && mprotect(base_ + page, usable, PROT_READ | PROT_WRITE) != 0) std::abort();
    data_ = reinterpret_cast<T*>(base_ + bytes_ - page) - n;
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(base_, bytes_); }

  T* data() { return data_; }
  T& operator[](size_t i) { return data_[i]; }

  // Every byte 0xa5.
  void poison() {
    if (n_ != 0) std::memset(static_cast<void*>(data_), 0xa5, n_ * sizeof(T));
  }

 private:
  size_t n_;
  char* base_;
  size_t bytes_;
  T* data_;
};

template <class T>
T poison() {
  T x;
  std::memset(&x, 0xa5, sizeof x);
  return x;
}

template <class T>
void check_memory(Report& r, const MemoryTable<T>& ops) {
  const size_t n = ops.lanes();
  check(r, "lanes <= max_lanes", n, int32_t{n >= 1 && n <= ops.max_lanes}, 1);
  const std::vector<T> in = random_bits<T>(n);
  Guarded<T> whole(n + 1);  // data() is aligned to no more than the lane
  std::vector<T> out(n);

  ops.zero(out.data());
  for (size_t i = 0; i < n; ++i) check(r, "zero", i, out[i], T{});
  ops.set(in[0], out.data());
  for (size_t i = 0; i < n; ++i) check(r, "set", i, out[i], in[0]);
  for (size_t offset : {0, 1}) {
    for (size_t i = 0; i < n; ++i) whole[i + offset] = in[i];
    ops.load_store(whole.data() + offset, out.data());
    for (size_t i = 0; i < n; ++i) check(r, "load", i, out[i], in[i]);
    whole.poison();
    ops.load_store(in.data(), whole.data() + offset);
    for (size_t i = 0; i < n; ++i) check(r, "store", i, whole[i + offset], in[i]);
    check(r, "around store", offset, whole[offset == 0 ? n : 0], poison<T>());
  }

  for (size_t count = 0; count <= n + 2; ++count) {
    const size_t asked = count == n + 2 ? ~size_t{0} : count;
    const size_t used = count < n ? count : n;
    Guarded<T> part(used);
    for (size_t i = 0; i < used; ++i) part[i] = in[i];
    ops.load_n(part.data(), asked, out.data());
    for (size_t i = 0; i < n; ++i) check(r, "load_n", i, out[i], i < used ? in[i] : T{});
    part.poison();
    ops.store_n(in.data(), part.data(), asked);
    for (size_t i = 0; i < used; ++i) check(r, "store_n", i, part[i], in[i]);
    whole.poison();
    ops.store_n(in.data(), whole.data() + 1, asked);
    for (size_t i = 0; i < n; ++i) {
      check(r, "around store_n", i, whole[i + 1], i < used ? in[i] : poison<T>());
    }
    check(r, "before store_n", 0, whole[0], poison<T>());
  }
}

template <class T>
void check_interleave(Report& r, size_t n, size_t parts, void (*op)(const T*, T*)) {
  if (op == nullptr) return;  // only for LMUL 1
  const std::vector<T> in = random_bits<T>(parts * n);
  Guarded<T> to(parts * n);
  op(in.data(), to.data());
  for (size_t i = 0; i < parts * n; ++i) {
    check(r, "interleave", i, to[i], in[i % parts * n + i / parts]);
  }
}

template <class T>
void check_transpose(Report& r, size_t n, const FullMemoryTable<T>& ops) {
  const size_t sizes[] = {0, 1, 3, 4, 5, 7, 8, 11, 17, n, n + 1};
  for (size_t rows : sizes) {
    for (size_t cols : sizes) {
      const bool empty = rows == 0 || cols == 0;
      const size_t from_stride = cols + 2;
      const size_t to_stride = rows + 3;
      const size_t from_size = empty ? 0 : (rows - 1) * from_stride + cols;
      const size_t to_size = empty ? 0 : (cols - 1) * to_stride + rows;
      const std::vector<T> in = random_bits<T>(from_size);
      Guarded<T> from(from_size);
      Guarded<T> to(to_size);
      for (size_t i = 0; i < from_size; ++i) from[i] = in[i];
      to.poison();
      ops.transpose(from.data(), from_stride, rows, cols, to.data(), to_stride);
      for (size_t k = 0; k < to_size; ++k) {
        const size_t i = k % to_stride;
        const size_t j = k / to_stride;
        check(r, "transpose", k, to[k], i < rows ? in[i * from_stride + j] : poison<T>());
      }
    }
  }
}

template <class T>
void check_tag_memory(Report& r, const TagTable<T>& ops) {
  check_memory(r, ops.memory);
  const size_t n = ops.memory.lanes();
  const std::vector<T> in = random_bits<T>(n);

  Guarded<T> one(1);
  one[0] = in[0];
  std::vector<T> out(n);
  ops.full.load_dup(one.data(), out.data());
  for (size_t i = 0; i < n; ++i) check(r, "load_dup", i, out[i], in[0]);

  const std::vector<T> two = random_bits<T>(2 * n);
  Guarded<T> from(2 * n);
  for (size_t i = 0; i < 2 * n; ++i) from[i] = two[i];
  std::vector<T> both(2 * n);
  ops.full.load_two(from.data(), both.data());
  for (size_t i = 0; i < 2 * n; ++i) check(r, "load_two", i, both[i], two[i]);

  Guarded<T> page(4096 / sizeof(T));  // starts at a page, and so is aligned
  ops.full.stream(in.data(), page.data());
  for (size_t i = 0; i < n; ++i) check(r, "stream", i, page[i], in[i]);

  check_interleave(r, n, 2, ops.full.interleave2);
  check_interleave(r, n, 4, ops.full.interleave4);
  check_transpose(r, n, ops.full);
}

TEST_CASE("simd: memory", "[simd]") {
  for_each_target([](Report& r, const TargetTable& t) {
    const auto check_tags = [&r](const auto& tags) {
      for (const auto& tag : tags) check_tag_memory(r, tag);
    };
    check_tags(t.f32);
    check_tags(t.f64);
    check_tags(t.s32);
    check_tags(t.u32);
    check_tags(t.s16);
    check_tags(t.u16);
    check_tags(t.s8);
    check_tags(t.u8);
    check_tags(t.bf16s);
    check_tags(t.f16s);
    for (const MixedTable& m : t.mixed) {
      check_memory(r, m.bf16_f32.narrow);
      check_memory(r, m.f16_f32.narrow);
      check_memory(r, m.f32_f64.narrow);
      check_memory(r, m.s16_s32.narrow);
      check_memory(r, m.u16_s32.narrow);
      check_memory(r, m.s8_s32.narrow);
      check_memory(r, m.u8_s32.narrow);
      check_memory(r, m.s8_s16.narrow);
      check_memory(r, m.u8_s16.narrow);
    }
  });
}

// ---- Ops within a lane

// Runs `op` on all operands and compares with expect(a, b, c).
template <class T, class F>
void check_map(Report& r, const char* what, Map<T> op, Nan nan, F expect) {
  const Operands<T>& x = operands<T>();
  std::vector<T> out(x.a.size());
  op(x.a.data(), x.b.data(), x.c.data(), out.data(), x.size);
  for (size_t i = 0; i < x.size; ++i) {
    const Scalar<T> want = expect(Scalar<T>{{x.a[i]}}, Scalar<T>{{x.b[i]}}, Scalar<T>{{x.c[i]}});
    check(r, what, i, out[i], want.lane[0], nan);
  }
}

// The product as a number of its own, whatever the compiler of this file thinks of FMA.
template <class T>
Scalar<T> product(Scalar<T> a, Scalar<T> b) {
  volatile T x = oracle::mul(a, b).lane[0];
  return {{x}};
}

template <class T>
void check_lanes(Report& r, const TagTable<T>& tag) {
  using S = Scalar<T>;
  const LaneTable<T>& op = tag.lane;
  check_map<T>(r, "add", op.add, Nan::kAny, [](S a, S b, S) { return oracle::add(a, b); });
  check_map<T>(r, "sub", op.sub, Nan::kAny, [](S a, S b, S) { return oracle::sub(a, b); });
  check_map<T>(r, "min", op.min, Nan::kSameBits, [](S a, S b, S) { return oracle::min(a, b); });
  check_map<T>(r, "max", op.max, Nan::kSameBits, [](S a, S b, S) { return oracle::max(a, b); });
  check_map<T>(r, "select(lt)", op.select_lt, Nan::kSameBits,
               [](S a, S b, S c) { return oracle::select(oracle::lt(a, b), c, a); });
  check_map<T>(r, "select(eq)", op.select_eq, Nan::kSameBits,
               [](S a, S b, S c) { return oracle::select(oracle::eq(a, b), c, a); });
  check_map<T>(r, "bit_and", op.bit_and, Nan::kSameBits,
               [](S a, S b, S) { return oracle::bit_and(a, b); });
  check_map<T>(r, "bit_or", op.bit_or, Nan::kSameBits,
               [](S a, S b, S) { return oracle::bit_or(a, b); });
  if constexpr (sizeof(T) > 1) {
    check_map<T>(r, "mul", op.mul, Nan::kAny, [](S a, S b, S) { return oracle::mul(a, b); });
  }
  if constexpr (std::is_signed_v<T>) {
    check_map<T>(r, "neg", op.neg, Nan::kSameBits, [](S a, S, S) { return oracle::neg(a); });
    check_map<T>(r, "abs", op.abs, Nan::kSameBits, [](S a, S, S) { return oracle::abs(a); });
  }
  const size_t n = tag.memory.lanes();
  std::vector<T> out(n);
  for (size_t count = 0; count <= n + 2; ++count) {
    const size_t asked = count == n + 2 ? ~size_t{0} : count;
    op.first_n(asked, out.data());
    for (size_t i = 0; i < n; ++i) check(r, "first_n", i, out[i], i < asked ? T{1} : T{0});
  }
  const std::vector<T> ones(n, T{1});
  std::vector<T> other(n, T{2});
  check(r, "any", n, op.any(ones.data(), other.data()) ? T{1} : T{0}, T{0});
  for (size_t i = 0; i < n; ++i) {
    other[i] = T{1};
    check(r, "any", i, op.any(ones.data(), other.data()) ? T{1} : T{0}, T{1});
    other[i] = T{2};
  }
}

template <int kBits, class T>
void check_shift(Report& r, Map<T> op) {
  using S = Scalar<T>;
  check_map<T>(r, "shl, shr", op, Nan::kSameBits, [](S a, S b, S) {
    return oracle::bit_or(oracle::shl<kBits>(a), oracle::shr<kBits>(b));
  });
}

template <class T>
void check_integer_lanes(Report& r, const TagTable<T>& tag) {
  check_lanes(r, tag);
  check_shift<0>(r, tag.lane.shift0);
  check_shift<1>(r, tag.lane.shift1);
  check_shift<4>(r, tag.lane.shift4);
  check_shift<8 * sizeof(T) - 1>(r, tag.lane.shift_most);
}

template <class T>
Scalar<T> expect_mul_add(bool fma, Scalar<T> a, Scalar<T> b, Scalar<T> c) {
  return fma ? oracle::mul_add(a, b, c) : oracle::add(product(a, b), c);
}

template <class T>
void check_float_lanes(Report& r, const TagTable<T>& tag, bool fma) {
  using S = Scalar<T>;
  const LaneTable<T>& op = tag.lane;
  check_lanes(r, tag);
  check_map<T>(r, "div", op.div, Nan::kAny, [](S a, S b, S) { return oracle::div(a, b); });
  check_map<T>(r, "sqrt", op.sqrt, Nan::kAny, [](S a, S, S) { return oracle::sqrt(a); });
  check_map<T>(r, "round", op.round, Nan::kAny, [](S a, S, S) { return oracle::round(a); });
  check_map<T>(r, "mul_add", op.mul_add, Nan::kAny,
               [fma](S a, S b, S c) { return expect_mul_add(fma, a, b, c); });
  check_map<T>(r, "neg_mul_add", op.neg_mul_add, Nan::kAny,
               [fma](S a, S b, S c) { return expect_mul_add(fma, oracle::neg(a), b, c); });
  // What looks like a fused operation and must not become one.
  check_map<T>(r, "add(mul)", op.mul_then_add, Nan::kAny,
               [](S a, S b, S c) { return oracle::add(product(a, b), c); });
  check_map<T>(r, "sub(mul)", op.mul_then_sub, Nan::kAny,
               [](S a, S b, S c) { return oracle::sub(c, product(a, b)); });

  const Operands<T>& x = operands<T>();
  std::vector<T> out(x.a.size());
  op.mul_add_scalar(x.a.data(), x.b.data(), x.c.data(), out.data(), x.size);
  const size_t n = tag.memory.lanes();
  for (size_t i = 0; i < x.size; ++i) {
    const S want = expect_mul_add(fma, S{{x.a[i / n * n]}}, S{{x.b[i]}}, S{{x.c[i]}});
    check(r, "mul_add_scalar", i, out[i], want.lane[0], Nan::kAny);
  }
  op.mul_scalar(x.a.data(), x.b.data(), x.c.data(), out.data(), x.size);
  for (size_t i = 0; i < x.size; ++i) {
    check(r, "mul_scalar", i, out[i], x.a[i / n * n] * x.b[i], Nan::kAny);
  }
}

void check_rcp_approx(Report& r, const TagTable<float>& tag) {
  const size_t size = 20000;
  std::vector<float> in(size + Operands<float>::kPadding, 1.0f);
  std::vector<float> out(in.size());
  Random random;
  for (size_t i = 0; i < size; ++i) {  // any mantissa and sign, exponents from -100 to 100
    const auto bits = random.bits<uint32_t>();
    in[i] = std::bit_cast<float>((bits & 0x807fffffu) | ((27 + (bits >> 23) % 201) << 23));
  }
  tag.lane.rcp_approx(in.data(), in.data(), in.data(), out.data(), size);
  for (size_t i = 0; i < size; ++i) {
    const double error = double{out[i]} * double{in[i]} - 1;
    ++r.checks;
    if (!(error <= 0x1p-7 && error >= -0x1p-7)) r.fail("rcp_approx of " + show(in[i]));
  }
}

TEST_CASE("simd: within a lane", "[simd]") {
  for_each_target([](Report& r, const TargetTable& t) {
    for (const auto& tag : t.f32) check_float_lanes(r, tag, t.has_fma);
    for (const auto& tag : t.f64) check_float_lanes(r, tag, t.has_fma);
    for (const auto& tag : t.s32) check_integer_lanes(r, tag);
    for (const auto& tag : t.u32) check_integer_lanes(r, tag);
    for (const auto& tag : t.s16) check_integer_lanes(r, tag);
    for (const auto& tag : t.u16) check_integer_lanes(r, tag);
    for (const auto& tag : t.s8) check_integer_lanes(r, tag);
    for (const auto& tag : t.u8) check_integer_lanes(r, tag);
    for (const auto& tag : t.f32) check_rcp_approx(r, tag);
  });
}

// ---- Conversions

// All values of an 8 or 16 bit type; special and random ones of wider types.
template <class T>
std::vector<T> all_values() {
  std::vector<T> v;
  if constexpr (sizeof(T) <= 2) {
    for (uint32_t bits = 0; bits >> (8 * sizeof(T)) == 0; ++bits) {
      v.push_back(std::bit_cast<T>(static_cast<Bits<T>>(bits)));
    }
  } else {
    v = specials<T>();
    Random random;
    while (v.size() < 20000) v.push_back(random.value<T>());
  }
  return v;
}

// Values of W whose conversion to N is hard.
template <class N, class W>
std::vector<W> hard_to_demote() {
  std::vector<W> v = all_values<W>();
  if constexpr (std::is_same_v<W, float>) {
    // Every value of N, the middle between it and the next, and the floats beside the middle.
    for (uint32_t bits = 0; bits < 65536; ++bits) {
      const auto x = static_cast<float>(N::from_bits(static_cast<uint16_t>(bits)));
      const auto y = static_cast<float>(N::from_bits(static_cast<uint16_t>(bits + 1)));
      const float middle = x / 2 + y / 2;
      const auto u = std::bit_cast<uint32_t>(middle);
      v.insert(v.end(), {x, middle, std::bit_cast<float>(u + 1), std::bit_cast<float>(u - 1)});
    }
  } else if constexpr (std::is_same_v<W, int32_t>) {
    for (int32_t x = -70000; x <= 70000; ++x) v.push_back(x);
  }
  return v;
}

template <class N, class W>
void check_convert(Report& r, const ConvertTable<N, W>& op, size_t wide_lanes) {
  const size_t n = op.narrow.lanes();
  check(r, "lanes after Rebind", 0, static_cast<uint32_t>(n), static_cast<uint32_t>(wide_lanes));
  // Bits are kept between formats of the core; the NaN of f32 <-> f64 is the machine's.
  const Nan nan = sizeof(W) == 8 ? Nan::kAny : Nan::kSameBits;
  {
    std::vector<N> in = all_values<N>();
    while (in.size() % n != 0) in.push_back(N{});
    std::vector<W> out(n);
    for (size_t i = 0; i < in.size(); i += n) {
      op.promote(&in[i], out.data());
      for (size_t j = 0; j < n; ++j) {
        check(r, "promote", i + j, out[j], static_cast<W>(in[i + j]), nan);
      }
    }
  }
  if (op.demote == nullptr) return;
  std::vector<W> in = hard_to_demote<N, W>();
  while (in.size() % n != 0) in.push_back(W{});
  std::vector<N> out(n);
  for (size_t i = 0; i < in.size(); i += n) {
    op.demote(&in[i], out.data());
    for (size_t j = 0; j < n; ++j) {
      check(r, "demote", i + j, out[j], oracle::lane_demote<N>(in[i + j]), nan);
    }
  }
}

template <class From, class To>
void check_cast(Report& r, size_t n, void (*op)(const From*, To*)) {
  const std::vector<From> in = random_bits<From>(n);
  std::vector<To> out(n * sizeof(From) / sizeof(To));
  op(in.data(), out.data());
  check(r, "bit_cast", 0, int32_t{std::memcmp(in.data(), out.data(), n * sizeof(From))}, 0);
}

TEST_CASE("simd: conversions", "[simd]") {
  for_each_target([](Report& r, const TargetTable& t) {
    for (size_t k = 0; k < t.mixed.size(); ++k) {
      const MixedTable& m = t.mixed[k];
      const size_t n32 = m.lanes();
      const size_t n16 = t.s16[k].memory.lanes();
      const size_t n64 = t.f64[k].memory.lanes();
      check_convert(r, m.bf16_f32, n32);
      check_convert(r, m.f16_f32, n32);
      check_convert(r, m.f32_f64, n64);
      check_convert(r, m.s16_s32, n32);
      check_convert(r, m.u16_s32, n32);
      check_convert(r, m.s8_s32, n32);
      check_convert(r, m.u8_s32, n32);
      check_convert(r, m.s8_s16, n16);
      check_convert(r, m.u8_s16, n16);
      check_convert(r, m.u16_u32, n32);
      check_convert(r, m.u8_u32, n32);
      check_convert(r, m.u8_u16, n16);

      std::vector<float> f = all_values<float>();
      std::vector<int32_t> s = all_values<int32_t>();
      f.resize(f.size() / n32 * n32);
      s.resize(f.size());
      std::vector<float> from(n32);
      std::vector<int32_t> to(n32), in_range(n32);
      for (size_t i = 0; i < f.size(); i += n32) {
        m.to_int(&f[i], to.data());
        m.to_int_in_range(&f[i], in_range.data());
        m.from_int(&s[i], from.data());
        for (size_t j = 0; j < n32; ++j) {
          check(r, "to_int", i + j, to[j], oracle::lane_to_int(f[i + j]));
          if (std::fabs(f[i + j]) < 0x1p31f) {
            check(r, "to_int_in_range", i + j, in_range[j], oracle::lane_to_int(f[i + j]));
          }
          check(r, "from_int", i + j, from[j], static_cast<float>(s[i + j]));
        }
      }

      std::vector<float> halves;  // and their neighbours
      for (int i = -255; i <= 255; ++i) {
        const float x = static_cast<float>(i) / 2;
        for (const float to : {-1e3f, x, 1e3f}) halves.push_back(std::nextafter(x, to));
      }
      for (const float x : all_values<float>()) halves.push_back(x);
      std::erase_if(halves, [](float x) { return !(std::fabs(x) < 127.5f); });
      halves.resize((halves.size() + n32 - 1) / n32 * n32);
      std::vector<int8_t> rounded(n32);
      for (size_t i = 0; i < halves.size(); i += n32) {
        m.round_away(&halves[i], rounded.data());
        for (size_t j = 0; j < n32; ++j) {
          check(r, "round_away", i + j, rounded[j], static_cast<int8_t>(std::round(halves[i + j])));
        }
      }

      check_cast(r, n32, m.cast_f32_u32);
      check_cast(r, n32, m.cast_s32_f32);
      check_cast(r, n64, m.cast_f64_s32);
      check_cast(r, 2 * n32, m.cast_bf16_u32);
      check_cast(r, 4 * n32, m.cast_u8_s16);
    }
  });
}

// ---- Ops across lanes

// The sum that concept.h describes.
template <class T>
T tree_of_halves(const T* p, size_t n) {
  std::vector<T> v(p, p + n);
  for (size_t half = std::bit_ceil(n) / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half && i + half < n; ++i) {
      v[i] = oracle::add(Scalar<T>{{v[i]}}, Scalar<T>{{v[i + half]}}).lane[0];
    }
  }
  return v[0];
}

template <class T>
T most(const T* p, size_t n) {
  T m = p[0];
  for (size_t i = 0; i < n; ++i) {
    if (p[i] != p[i]) return p[i];
    if (p[i] > m) m = p[i];
  }
  return m == T{0} ? T{0} : m;  // not -0
}

template <class T>
void check_reduce(Report& r, const TagTable<T>& tag) {
  const Operands<T>& x = operands<T>();
  const size_t n = tag.memory.lanes();
  for (size_t i = 0; i + n <= x.a.size(); ++i) {
    const T* p = &x.a[i];
    check(r, "reduce_add", i, tag.reduce.reduce_add(p), tree_of_halves(p, n), Nan::kAny);
    check(r, "reduce_max", i, tag.reduce.reduce_max(p), most(p, n), Nan::kAny);
  }
}

// Sums of 32 virtual lanes, kept in as many vectors as it takes and added by halves, have the same
// bits whatever the number of lanes. (-0 is what changes no sum; 0 would change -0.)
void check_virtual_lanes(Report& r, const TagTable<float>& tag) {
  const size_t n = tag.memory.lanes();
  if (!std::has_single_bit(n)) return;  // scalar3, scalar5
  const oracle::LanesTag<float, 32> d32;
  const Operands<float>& x = operands<float>();
  std::vector<float> v(n > 32 ? n : 32);
  for (size_t i = 0; i + 32 <= x.size; i += 32) {
    for (size_t j = 0; j < v.size(); ++j) v[j] = j < 32 ? x.a[i + j] : -0.0f;
    const float want = oracle::reduce_add(d32, oracle::load(d32, v.data()));
    for (size_t width = 32; width > n; width /= 2) {
      const size_t half = width / 2;
      tag.lane.add(v.data(), v.data() + half, v.data(), v.data(), half);
    }
    check(r, "reduce_add of 32 virtual lanes", i, tag.reduce.reduce_add(v.data()), want, Nan::kAny);
  }
}

template <class A>
void check_dot4(Report& r, size_t n,
                void (*op)(const A*, const int8_t*, const int32_t*, int32_t*)) {
  std::vector<A> a(4 * n);
  std::vector<int8_t> b(4 * n);
  std::vector<int32_t> c(n), out(n);
  Random random;
  for (int repeat = 0; repeat < 1000; ++repeat) {
    for (size_t i = 0; i < 4 * n; ++i) {
      a[i] = random.bits<A>();
      b[i] = random.bits<int8_t>();
      if (repeat < 4) {  // the corners, where instructions saturate
        a[i] = repeat & 1 ? std::numeric_limits<A>::min() : std::numeric_limits<A>::max();
        b[i] = repeat & 2 ? -128 : 127;
      }
    }
    for (int32_t& x : c) x = random.bits<int32_t>();
    op(a.data(), b.data(), c.data(), out.data());
    for (size_t i = 0; i < n; ++i) {
      int64_t sum = c[i];
      for (size_t k = 4 * i; k < 4 * i + 4; ++k) sum += int64_t{a[k]} * b[k];
      check(r, "dot4_i8", i, out[i], static_cast<int32_t>(sum));
    }
  }
}

// a of 7 bits where it is unsigned, and b from -127 on.
template <class A>
void check_dot2_i8(Report& r, size_t n, void (*op)(const A*, const int8_t*, int16_t*)) {
  std::vector<A> a(4 * n);
  std::vector<int8_t> b(4 * n);
  std::vector<int16_t> out(2 * n);
  Random random;
  for (int repeat = 0; repeat < 1000; ++repeat) {
    for (size_t i = 0; i < 4 * n; ++i) {
      a[i] = random.bits<A>();
      b[i] = std::max<int8_t>(random.bits<int8_t>(), -127);
      if (repeat < 4) {  // the corners, where sums are the largest
        a[i] = repeat & 1 ? std::numeric_limits<A>::min() : std::numeric_limits<A>::max();
        b[i] = repeat & 2 ? -127 : 127;
      }
      if (!std::is_signed_v<A>) a[i] = static_cast<A>(a[i] & 127);
    }
    op(a.data(), b.data(), out.data());
    for (size_t i = 0; i < 2 * n; ++i) {
      const int sum = a[2 * i] * b[2 * i] + a[2 * i + 1] * b[2 * i + 1];
      check(r, "dot2_i8", i, out[i], static_cast<int16_t>(sum));
    }
  }
}

void check_s16_products(Report& r, const MixedTable& m) {
  const size_t n = m.lanes();
  std::vector<int16_t> a(2 * n), b(2 * n);
  std::vector<int32_t> c(n), out(n);
  Random random;
  for (int repeat = 0; repeat < 1000; ++repeat) {
    for (size_t i = 0; i < 2 * n; ++i) {
      a[i] = random.bits<int16_t>();
      b[i] = random.bits<int16_t>();
      if (repeat < 4) {  // the corners, where sums of products wrap
        a[i] = repeat & 1 ? -32768 : 32767;
        b[i] = repeat & 2 ? -32768 : 32767;
      }
    }
    for (int32_t& x : c) x = random.bits<int32_t>();
    m.dot2_i16(a.data(), b.data(), c.data(), out.data());
    for (size_t i = 0; i < n; ++i) {
      const int64_t sum =
          int64_t{c[i]} + int64_t{a[2 * i]} * b[2 * i] + int64_t{a[2 * i + 1]} * b[2 * i + 1];
      check(r, "dot2_i16", i, out[i], static_cast<int32_t>(sum));
    }
  }
}

template <class W, class N, class Op>
void check_wide(Report& r, size_t n, Op op) {
  constexpr auto kMost = std::numeric_limits<N>::max(), kLeast = std::numeric_limits<N>::min();
  std::vector<N> b(n);
  std::vector<W> c(n), product(n), product_sum(n), sum(n);
  Random random;
  for (int repeat = 0; repeat < 1000; ++repeat) {
    const N a = repeat < 8 ? (repeat & 1 ? kLeast : kMost) : random.bits<N>();  // sums wrap
    for (N& x : b) x = repeat < 8 ? (repeat & 2 ? kLeast : kMost) : random.bits<N>();
    for (W& x : c) {
      x = repeat >= 8  ? random.bits<W>()
          : repeat & 4 ? std::numeric_limits<W>::min()
                       : std::numeric_limits<W>::max();
    }
    op(a, b.data(), c.data(), product.data(), product_sum.data(), sum.data());
    for (size_t i = 0; i < n; ++i) {
      const int64_t x = int64_t{a} * b[i];
      check(r, "mul_scalar_wide", i, product[i], static_cast<W>(x));
      check(r, "mul_add_scalar_wide", i, product_sum[i], static_cast<W>(x + c[i]));
      check(r, "add_wide", i, sum[i], static_cast<W>(int64_t{b[i]} + c[i]));
    }
  }
}

void check_dot2_bf16(Report& r, const MixedTable& m, bool fma) {
  const size_t n = m.lanes();
  std::vector<bf16> a(2 * n), b(2 * n);
  std::vector<float> c(n), out(n);
  const std::vector<float> s = specials<float>();
  Random random;
  for (int repeat = 0; repeat < 1000; ++repeat) {
    for (size_t i = 0; i < 2 * n; ++i) {
      a[i] = repeat < 200 ? bf16(s[random.next() % s.size()]) : bf16(random.value<float>());
      b[i] = repeat < 200 ? bf16(s[random.next() % s.size()]) : random.bits<bf16>();
    }
    for (float& x : c) x = random.value<float>();
    m.dot2_bf16(a.data(), b.data(), c.data(), out.data());
    for (size_t i = 0; i < n; ++i) {
      Scalar<float> sum{{c[i]}};
      for (size_t k = 2 * i; k < 2 * i + 2; ++k) {
        const Scalar<float> x{{static_cast<float>(a[k])}};
        const Scalar<float> y{{static_cast<float>(b[k])}};
        sum = expect_mul_add(fma, x, y, sum);
      }
      check(r, "dot2_bf16", i, out[i], sum.lane[0], Nan::kAny);
    }
  }
}

template <class T>
void check_table16(Report& r, size_t n, void (*op)(const T*, const T*, T*)) {
  std::vector<T> index(n), out(n);
  Guarded<T> table(16);
  Random random;
  for (int repeat = 0; repeat < 100; ++repeat) {
    for (size_t i = 0; i < 16; ++i) table[i] = random.bits<T>();
    for (T& x : index) x = static_cast<T>(random.next() % 16);
    op(table.data(), index.data(), out.data());
    for (size_t i = 0; i < n; ++i) {
      check(r, "table16", i, out[i], table[static_cast<size_t>(index[i])]);
    }
  }
}

TEST_CASE("simd: across lanes", "[simd]") {
  for_each_target([](Report& r, const TargetTable& t) {
    for (const auto& tag : t.f32) check_reduce(r, tag);
    for (const auto& tag : t.f64) check_reduce(r, tag);
    for (const auto& tag : t.s32) check_reduce(r, tag);
    for (const auto& tag : t.u32) check_reduce(r, tag);
    for (const auto& tag : t.f32) check_virtual_lanes(r, tag);
    for (size_t k = 0; k < t.mixed.size(); ++k) {
      const MixedTable& m = t.mixed[k];
      const size_t n = m.lanes();
      check_dot4(r, n, m.dot4_s8);
      check_dot4(r, n, m.dot4_u8);
      check_dot2_i8(r, n, m.dot2_s8);
      check_dot2_i8(r, n, m.dot2_u8);
      check_s16_products(r, m);
      check_wide<int32_t, int16_t>(r, n, m.wide_s32);
      check_wide<int16_t, int8_t>(r, t.s16[k].memory.lanes(), m.wide_s16);
      check_dot2_bf16(r, m, t.has_fma);
      check_table16(r, 4 * n, m.table16_s8);
      check_table16(r, 4 * n, m.table16_u8);
    }
  });
}

TEST_CASE("simd: accumulators are separate, and in order", "[simd]") {
  for_each_target([](Report& r, const TargetTable& t) {
    check(r, "with_accumulators", 0, t.accumulate(), 1.0f + 4 + 16 + 64 + 256 + 1024 + 4096);
  });
}

// ---- What concept.h says, in numbers. This also holds the scalar backend to its word, which the
// checks above take as given.

template <class T>
T one(const TagTable<T>& tag, Map<T> op, T a, T b = T{}, T c = T{}) {
  const size_t n = tag.memory.lanes();
  const std::vector<T> as(n, a), bs(n, b), cs(n, c);
  std::vector<T> out(n);
  op(as.data(), bs.data(), cs.data(), out.data(), n);
  return out[0];
}

template <class From, class To>
To one(size_t n, void (*op)(const From*, To*), From x) {
  const std::vector<From> in(n, x);
  std::vector<To> out(n);
  op(in.data(), out.data());
  return out[0];
}

TEST_CASE("simd: examples of floating point", "[simd]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for_each_target([=](Report& r, const TargetTable& t) {
    const TagTable<float>& f = t.f32[0];
    const LaneTable<float>& op = f.lane;
    const auto expect = [&r](const char* what, float got, float want) {
      check(r, what, 0, got, want, Nan::kAny);
    };
    expect("min(nan, 1)", one(f, op.min, nan, 1.0f), 1);
    expect("min(1, nan)", one(f, op.min, 1.0f, nan), nan);
    expect("min(-0, 0)", one(f, op.min, -0.0f, 0.0f), 0);
    expect("max(0, -0)", one(f, op.max, 0.0f, -0.0f), -0.0f);
    expect("max(lo, nan)", one(f, op.max, -5.0f, nan), nan);
    expect("max(nan, lo)", one(f, op.max, nan, -5.0f), -5);
    expect("round(2.5)", one(f, op.round, 2.5f), 2);
    expect("round(-3.5)", one(f, op.round, -3.5f), -4);
    expect("round(-0.5)", one(f, op.round, -0.5f), -0.0f);
    expect("round(-inf)", one(f, op.round, -inf), -inf);
    expect("neg(0)", one(f, op.neg, 0.0f), -0.0f);
    expect("abs(-inf)", one(f, op.abs, -inf), inf);
    expect("div(1, -0)", one(f, op.div, 1.0f, -0.0f), -inf);
    expect("sqrt(-1)", one(f, op.sqrt, -1.0f), nan);
    // (1 + e)(1 - e) = 1 - e^2, which is no float.
    const float e = 0x1p-13f;
    const float fused = t.has_fma ? -0x1p-26f : 0;
    expect("mul_add", one(f, op.mul_add, 1 + e, 1 - e, -1.0f), fused);
    expect("mul_add_scalar", one(f, op.mul_add_scalar, 1 + e, 1 - e, -1.0f), fused);
    expect("neg_mul_add", one(f, op.neg_mul_add, 1 + e, 1 - e, 1.0f), 0 - fused);
    expect("add(mul)", one(f, op.mul_then_add, 1 + e, 1 - e, -1.0f), 0);
    expect("sub(mul)", one(f, op.mul_then_sub, 1 + e, 1 - e, 1.0f), 0);
  });
}

TEST_CASE("simd: examples of integers", "[simd]") {
  for_each_target([](Report& r, const TargetTable& t) {
    const LaneTable<int8_t>& s8 = t.s8[0].lane;
    const LaneTable<uint8_t>& u8 = t.u8[0].lane;
    const LaneTable<int16_t>& s16 = t.s16[0].lane;
    check(r, "add", 0, one<int8_t>(t.s8[0], s8.add, 127, 1), int8_t{-128});
    check(r, "sub", 0, one<uint8_t>(t.u8[0], u8.sub, 0, 1), uint8_t{255});
    check(r, "mul", 0, one<int16_t>(t.s16[0], s16.mul, 300, 300), int16_t{90000 - 65536});
    check(r, "neg", 0, one<int16_t>(t.s16[0], s16.neg, -32768), int16_t{-32768});
    check(r, "abs", 0, one<int8_t>(t.s8[0], s8.abs, -128), int8_t{-128});
    check(r, "min", 0, one<uint8_t>(t.u8[0], u8.min, 255, 1), uint8_t{1});
    check(r, "shl", 0, one<uint8_t>(t.u8[0], u8.shift4, 0x1f, 0), uint8_t{0xf0});
    check(r, "shr", 0, one<uint8_t>(t.u8[0], u8.shift4, 0, 0xf1), uint8_t{0x0f});
    check(r, "shr", 0, one<int8_t>(t.s8[0], s8.shift1, 0, -3), int8_t{-2});
  });
}

TEST_CASE("simd: examples of conversions", "[simd]") {
  for_each_target([](Report& r, const TargetTable& t) {
    const MixedTable& m = t.mixed[0];
    const size_t n = m.lanes();
    const float inf = std::numeric_limits<float>::infinity();
    const auto to_int = [&](float x) { return one(n, m.to_int, x); };
    check(r, "to_int(0.5)", 0, to_int(0.5f), 0);
    check(r, "to_int(-1.5)", 0, to_int(-1.5f), -2);
    check(r, "to_int(3e9)", 0, to_int(3e9f), 2147483647);
    check(r, "to_int(-inf)", 0, to_int(-inf), -2147483647 - 1);
    check(r, "to_int(nan)", 0, to_int(std::numeric_limits<float>::quiet_NaN()), 0);
    check(r, "from_int", 0, one(n, m.from_int, 16777217), 16777216.0f);  // ties go to even
    check(r, "from_int", 1, one(n, m.from_int, 16777219), 16777220.0f);
    check(r, "s32 to s8", 0, one(n, m.s8_s32.demote, -70000), int8_t{-128});
    check(r, "s32 to u8", 0, one(n, m.u8_s32.demote, -1), uint8_t{0});
    check(r, "s32 to u8", 1, one(n, m.u8_s32.demote, 70000), uint8_t{255});
    check(r, "s32 to u16", 0, one(n, m.u16_s32.demote, 70000), uint16_t{65535});
    check(r, "s16 to u8", 0, one(2 * n, m.u8_s16.demote, int16_t{-300}), uint8_t{0});
    check(r, "to f16", 0, one(n, m.f16_f32.demote, 65520.0f).bits, uint16_t{0x7c00});
    check(r, "to f16", 1, one(n, m.f16_f32.demote, 65519.0f).bits, uint16_t{0x7bff});
    check(r, "to f16", 2, one(n, m.f16_f32.demote, 0x1p-24f).bits, uint16_t{0x0001});
    check(r, "to f16", 3, one(n, m.f16_f32.demote, -0x1p-25f).bits, uint16_t{0x8000});
    check(r, "to bf16", 0, one(n, m.bf16_f32.demote, 0x1.01p0f).bits, uint16_t{0x3f80});
    check(r, "to bf16", 1, one(n, m.bf16_f32.demote, 0x1.03p0f).bits, uint16_t{0x3f82});
    check(r, "to bf16", 2, one(n, m.bf16_f32.demote, 0x1.fffffep127f).bits, uint16_t{0x7f80});
    check(r, "to f32", 0, one(n, m.f32_f64.demote, 1e300), inf);
  });
}

}  // namespace
}  // namespace tessera::simd_test
