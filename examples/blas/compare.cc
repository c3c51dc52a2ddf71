// SPDX-License-Identifier: Apache-2.0
// Times routines of two or more BLAS libraries in turns, in one process, on one thread:
//   TESSERA_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 blas_compare libtessera_blas.so libopenblas.so.0
// prints, per routine and size, the speed of the first and its median ratio to each of the others. With --count one warm call
// of each is marked for a counter of instructions instead (count_blas.py).
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "bench/count/region.h"
#include "bench/timing.h"

namespace {

using tessera::bench::calls_for, tessera::bench::median, tessera::bench::seconds_per_call;

enum : int { kColumns = 102, kNoTranspose = 111, kTranspose = 112, kUpper = 121, kLower = 122 };
enum : int { kNonUnit = 131, kLeft = 141, kRight = 142 };

template <class T>
using Gemm = void (*)(int, int, int, int, int, int, T, const T*, int, const T*, int, T, T*, int);
using ComplexGemm = void (*)(int, int, int, int, int, int, const void*, const void*, int,
                             const void*, int, const void*, void*, int);
template <class T>
using Gemv = void (*)(int, int, int, int, T, const T*, int, const T*, int, T, T*, int);
template <class T>
using Ger = void (*)(int, int, int, T, const T*, int, const T*, int, T*, int);
template <class T>
using Syrk = void (*)(int, int, int, int, int, T, const T*, int, T, T*, int);
template <class T>
using Triangle = void (*)(int, int, int, int, int, int, int, T, const T*, int, T*, int);

// Memory for all routines: a triangle of `a` that is well conditioned, so that nothing overflows when it is solved again
// and again.
template <class T>
struct Data {
  explicit Data(int n) : a(size(n)), b(size(n)), c(size(n)) {
    unsigned state = 1;
    const auto draw = [&] {
      state = state * 1664525u + 1013904223u;
      return static_cast<T>(static_cast<int>(state >> 8) % 1000 - 500) / 500;
    };
    for (T& x : a) x = draw() / static_cast<T>(n);
    for (T& x : b) x = draw();
    for (T& x : c) x = draw();
    for (int i = 0; i < n; ++i)
      a[static_cast<std::size_t>(i) * (static_cast<std::size_t>(n) + 1)] = 1;
  }
  static std::size_t size(int n) {
    return 2 * static_cast<std::size_t>(n) * static_cast<std::size_t>(n);
  }
  std::vector<T> a, b, c;
};

struct Case {
  double operations;
  std::function<void()> run;
};
using Make = std::function<Case(void* symbol, int n)>;
struct Routine {
  std::string name, symbol;
  Make make;
};

template <class T, class F>
Make with_data(double operations_per_n3, double operations_per_n2, F call) {
  return [=](void* symbol, int n) {
    static Data<T> data(2048);
    const double size = n;
    return Case{operations_per_n3 * size * size * size + operations_per_n2 * size * size,
                [=] { call(symbol, n, data.a.data(), data.b.data(), data.c.data()); }};
  };
}

template <class T>
void add_routines(const std::string& t, std::vector<Routine>& routines) {
  const auto add = [&](const char* name, const char* variant, Make make) {
    routines.push_back({t + name + variant, "cblas_" + t + name, std::move(make)});
  };
  for (const int transpose : {kNoTranspose, kTranspose}) {
    const bool t1 = transpose == kTranspose;
    add("gemm", t1 ? " tn" : " nn", with_data<T>(2, 0, [=](void* f, int n, T* a, T* b, T* c) {
          reinterpret_cast<Gemm<T>>(f)(kColumns, transpose, kNoTranspose, n, n, n, T{1}, a, n, b, n,
                                       T{0}, c, n);
        }));
    add("gemv", t1 ? " t" : " n", with_data<T>(0, 2, [=](void* f, int n, T* a, T* b, T* c) {
          reinterpret_cast<Gemv<T>>(f)(kColumns, transpose, n, n, T{1}, a, n, b, 1, T{0}, c, 1);
        }));
  }
  add("ger", "", with_data<T>(0, 2, [](void* f, int n, T* a, T* b, T* c) {
        reinterpret_cast<Ger<T>>(f)(kColumns, n, n, T{1} / 1024, a, 1, b, 1, c, n);
      }));
  add("syrk", " ln", with_data<T>(1, 0, [](void* f, int n, T* a, T*, T* c) {
        reinterpret_cast<Syrk<T>>(f)(kColumns, kLower, kNoTranspose, n, n, T{1}, a, n, T{0}, c, n);
      }));
  for (const int side : {kLeft, kRight}) {
    const char* const variant = side == kLeft ? " llnn" : " rlnn";
    const auto call = [=](void* f, int n, T* a, T*, T* c) {
      reinterpret_cast<Triangle<T>>(f)(kColumns, side, kLower, kNoTranspose, kNonUnit, n, n, T{1},
                                       a, n, c, n);
    };
    add("trsm", variant, with_data<T>(1, 0, call));
    add("trmm", variant, with_data<T>(1, 0, call));
  }
}

template <class T>
void add_complex(const std::string& t, std::vector<Routine>& routines) {
  routines.push_back({t + "gemm nn", "cblas_" + t + "gemm",
                      with_data<T>(8, 0, [](void* f, int n, T* a, T* b, T* c) {
                        const T one[2] = {1, 0}, zero[2] = {0, 0};
                        reinterpret_cast<ComplexGemm>(f)(kColumns, kNoTranspose, kNoTranspose, n, n,
                                                         n, one, a, n, b, n, zero, c, n);
                      })});
}

// Speed of the first case, and its median ratio to the others.
void time_in_turns(const std::vector<Case>& cases) {
  const auto calls = calls_for(cases[0].run, 2e-3);
  std::vector<std::vector<double>> times(cases.size());
  for (int round = 0; round < 21; ++round) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
      times[i].push_back(seconds_per_call(cases[i].run, calls));
    }
  }
  std::printf(" %8.2f G/s", cases[0].operations / median(times[0]) * 1e-9);
  for (std::size_t i = 1; i < cases.size(); ++i) {
    std::vector<double> ratios;
    for (std::size_t r = 0; r < times[0].size(); ++r) ratios.push_back(times[i][r] / times[0][r]);
    std::printf("  %5.2f", median(ratios));
  }
}

// The counter prints what it counts; here, by how many operations to divide.
void count(const std::vector<Case>& cases) {
  std::printf(" %.0f\n", cases[0].operations);
  std::fflush(stdout);
  for (const Case& c : cases) {
    c.run();
    tessera::bench::count_region(c.run);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> files;
  std::string filter;
  bool counts = false;
  std::vector<int> sizes = {16, 64, 128, 256, 512, 1024};
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("--only=")) {
      filter = argument.substr(7);
    } else if (argument == "--count") {
      counts = true;
    } else if (argument.starts_with("--size=")) {
      sizes = {std::stoi(argument.substr(7))};
    } else {
      files.push_back(argument);
    }
  }
  if (files.size() < 2) {
    std::fprintf(stderr,
                 "usage: %s [--only=sgemm] [--size=512] [--count] library other-library...\n",
                 argv[0]);
    return 1;
  }
  std::vector<void*> libraries;
  for (const std::string& file : files) {
    libraries.push_back(dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND));
    if (libraries.back() == nullptr) {
      std::fprintf(stderr, "%s\n", dlerror());
      return 1;
    }
  }
  std::vector<Routine> routines;
  add_routines<float>("s", routines);
  add_routines<double>("d", routines);
  add_complex<float>("c", routines);
  add_complex<double>("z", routines);
  for (const Routine& routine : routines) {
    if (!routine.name.starts_with(filter)) continue;
    for (const int n : sizes) {
      std::vector<Case> cases;
      for (void* library : libraries) {
        void* const symbol = dlsym(library, routine.symbol.c_str());
        if (symbol != nullptr) cases.push_back(routine.make(symbol, n));
      }
      if (cases.size() != libraries.size()) continue;
      std::printf("%-12s %5d", routine.name.c_str(), n);
      if (counts) {
        count(cases);
        continue;
      }
      time_in_turns(cases);
      std::printf("\n");
      std::fflush(stdout);
    }
  }
}
