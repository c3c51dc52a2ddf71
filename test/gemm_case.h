// SPDX-License-Identifier: Apache-2.0
// One call of gemm, checked: against the specification bit for bit where the target has FMA, and
// within the error bound everywhere else.
#ifndef TESSERA_TEST_GEMM_CASE_H_
#define TESSERA_TEST_GEMM_CASE_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "guarded.h"
#include "matrix.h"
#include "random.h"
#include "tessera/ops/gemm.h"
#include "tessera/ref/gemm.h"
#include "testing.h"

namespace tessera::test {

using Packing = GemmTuning::Packing;

struct GemmCase {
  Target target = Target::kScalar;
  GemmTuning tuning{};
  index_t m = 0, n = 0, k = 0;
  Layout a = Layout::kRowMajor, b = Layout::kRowMajor, c = Layout::kRowMajor;
  double alpha = 1, beta = 0;
  Values values = Values::kWide;
  unsigned edges = 7;  // bits for a, b, c: at the end of the memory, else at the start
  Executor executor{};
  bool small_caches = false;  // whatever has a few rows is larger than L2
};

inline std::string describe(const GemmCase& g) {
  const auto number = [](auto x) { return " " + std::to_string(x); };
  return std::string(name(g.target)) + " tile" + number(g.tuning.tile) + " packing" +
         number(static_cast<int>(g.tuning.packing)) + " mc,kc,nc" + number(g.tuning.mc) +
         number(g.tuning.kc) + number(g.tuning.nc) + ", m,n,k" + number(g.m) + number(g.n) +
         number(g.k) + ", layouts" + number(static_cast<int>(g.a)) + number(static_cast<int>(g.b)) +
         number(static_cast<int>(g.c)) + ", alpha,beta" + number(g.alpha) + number(g.beta) +
         ", values" + number(static_cast<int>(g.values)) + ", edges" + number(g.edges) +
         ", small caches" + number(g.small_caches);
}

// Memory for the operands of one case after another.
struct Workspace {
  GuardedMemory a, b, c;
  Random random;
};

// The operands of a case. C is filled where it is read, and poison where it is not.
template <class T>
struct Operands {
  Matrix<T> a, b, c;
  std::vector<T> old_a, old_b, old_c;

  Operands(Workspace& w, const GemmCase& g)
      : a(w.a, g.m, g.k, g.a, edge(g, 1)),
        b(w.b, g.k, g.n, g.b, edge(g, 2)),
        c(w.c, g.m, g.n, g.c, edge(g, 4)) {
    a.fill(w.random, g.values);
    b.fill(w.random, g.values);
    if (g.beta != 0) c.fill(w.random, g.values);
    old_a = a.copy();
    old_b = b.copy();
    old_c = c.copy();
  }

 private:
  static Edge edge(const GemmCase& g, unsigned bit) {
    return g.edges & bit ? Edge::kEnd : Edge::kStart;
  }
};

// |computed - exact| <= gamma_n (|alpha| |A| |B| + |beta| |C|), gamma_n = n u / (1 - n u), for each
// element: k products and sums, the roundings of alpha * a, beta * c and of the exact value below.
// (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., section 3.1; with or without
// FMA and for any order of the sum.) `exact` is a compensated dot product in f64 (Ogita, Rump and
// Oishi, "Accurate Sum and Dot Product", 2005): f64 itself needs more than f64 to be judged.
template <class T>
std::string outside_error_bound(const GemmCase& g, Operands<T>& o) {
  const double n = static_cast<double>(g.k + 4);
  const double u = std::numeric_limits<T>::epsilon() / 2;
  const double gamma = n * u / (1 - n * u);
  const auto alpha = static_cast<double>(static_cast<T>(g.alpha));
  const auto beta = static_cast<double>(static_cast<T>(g.beta));
  const auto a = o.a.view_of(o.old_a), b = o.b.view_of(o.old_b), c = o.c.view_of(o.old_c);
  for (index_t i = 0; i < g.m; ++i) {
    for (index_t j = 0; j < g.n; ++j) {
      double sum = 0, error = 0, magnitude = 0;
      for (index_t k = 0; k < g.k && alpha != 0; ++k) {
        const double x = a(i, k), y = b(k, j);
        const double product = x * y, product_error = std::fma(x, y, -product);
        const double next = sum + product, part = next - sum;
        error += (sum - (next - part)) + (product - part) + product_error;
        sum = next;
        magnitude += std::abs(product);
      }
      const double start = beta == 0 ? 0 : beta * static_cast<double>(c(i, j));
      const double exact = alpha * (sum + error) + start;
      const double bound = gamma * (std::abs(alpha) * magnitude + std::abs(start));
      const double got = o.c.view()(i, j);
      if (!(std::abs(got - exact) <= bound)) {
        return "c(" + std::to_string(i) + ", " + std::to_string(j) + ") is " + show(got) +
               ", exact " + show(exact) + ", bound " + show(bound);
      }
    }
  }
  return "";
}

// C as it must be now, or a sentence. Inputs must be as they were, gaps and margins untouched.
template <class T>
std::string check_result(const GemmCase& g, Operands<T>& o) {
  if (auto text = o.a.difference(o.old_a); !text.empty()) return "a changed: " + text;
  if (auto text = o.b.difference(o.old_b); !text.empty()) return "b changed: " + text;
  if (has_fma(g.target)) {
    std::vector<T> expected = o.old_c;
    ref::gemm(o.a.read_only(), o.b.read_only(), o.c.view_of(expected), static_cast<T>(g.alpha),
              static_cast<T>(g.beta));
    return o.c.difference(expected);
  }
  if (auto text = outside_error_bound(g, o); !text.empty()) return text;
  std::vector<T> expected =
      o.old_c;  // with its own results: gaps and margins remain to be compared
  const auto to = o.c.view_of(expected);
  for (index_t i = 0; i < g.m; ++i) {
    for (index_t j = 0; j < g.n; ++j) to(i, j) = o.c.view()(i, j);
  }
  return o.c.difference(expected);
}

// Without FMA only the error bound can be checked, and it wants moderate values.
inline void adapt_values(GemmCase& g) {
  if (!has_fma(g.target)) g.values = Values::kModerate;
}

// Runs one case. `call` does what gemm(a, b, c, options) does: other ways to pass the operands.
template <class T, class Call>
std::string run_case(Workspace& w, GemmCase g, const Call& call) {
  adapt_values(g);
  Operands<T> o(w, g);
  Context context;
  context.target = g.target;
  context.gemm = g.tuning;
  context.executor = g.executor;
  if (g.small_caches) context.caches = small_caches();
  call(o.a.read_only(), o.b.read_only(), o.c.view(),
       GemmOptions{.alpha = g.alpha, .beta = g.beta, .context = &context});
  return check_result(g, o);
}

template <class T>
std::string run_case(Workspace& w, const GemmCase& g) {
  return run_case<T>(w, g,
                     [](const auto& a, const auto& b, const auto& c, const GemmOptions& options) {
                       gemm(a, b, c, options);
                     });
}

// The register tile of a target in elements.
struct TileSize {
  index_t mr, nr, lanes, unroll;
};

template <class T>
TileSize tile_size(Target target, int tile) {
  Context context;
  context.target = target;
  context.gemm.tile = tile;
  const GemmPlan plan = plan_gemm<T>(1000, 1000, 1000, &context);
  return {plan.mr, plan.nr, plan.nr / plan.tile.vectors, plan.tile.unroll};
}

// The positive values among these, each once.
inline std::vector<index_t> extents(std::vector<index_t> values) {
  std::erase_if(values, [](index_t x) { return x < 1; });
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

struct Shape {
  index_t m, n, k;
};

// Around every edge of the tile: rows, columns, vectors, unrolled steps of k, blocks of K of `kc`.
inline std::vector<Shape> shapes_around(const TileSize& tile, index_t kc) {
  const index_t mr = tile.mr, nr = tile.nr, lanes = tile.lanes, unroll = tile.unroll;
  const auto rows = extents({1, 2, mr - 1, mr, mr + 1, 2 * mr - 1, 2 * mr, 2 * mr + 1, 3 * mr + 2});
  const auto cols =
      extents({1, lanes - 1, lanes, lanes + 1, nr - 1, nr, nr + 1, 2 * nr - 1, 2 * nr, 2 * nr + 1});
  const auto depths = extents({1, 2, 3, unroll - 1, unroll, unroll + 1, 2 * unroll + 1, kc - 1, kc,
                               kc + 1, 2 * kc, 2 * kc + 3, 31});
  std::vector<Shape> shapes;
  for (const index_t m : rows) {
    for (const index_t n : cols) {
      for (const index_t k : {index_t{1}, unroll + 1, kc + 1}) shapes.push_back({m, n, k});
    }
  }
  for (const index_t k : depths) {
    for (const index_t m : {mr, mr + 1}) {
      for (const index_t n : {nr, nr + lanes + 1}) shapes.push_back({m, n, k});
    }
  }
  return shapes;
}

}  // namespace tessera::test

#endif  // TESSERA_TEST_GEMM_CASE_H_
