// SPDX-License-Identifier: Apache-2.0
// Version and every TESSERA_* switch. No other file reads a switch that is not normalised here.
//
// A user may define, before the first include or on the command line:
//   TESSERA_STATIC    kernels for the target of the compiler flags only: no tables, no libhwy symbols
//   TESSERA_XSIMD     as TESSERA_STATIC, on the xsimd backend (one architecture per translation unit)
//   TESSERA_COMPILED  kernels come from the library tessera::compiled; headers only declare them
// and, for tests of the library itself:
//   TESSERA_TEST_TARGETS     adds the odd-tile scalar targets, 3 and 5 lanes
//   TESSERA_COMPILED_SOURCE  set by the generated translation units of tessera::compiled
//   TESSERA_COMPILED_PART    likewise: 1 to 4 are the kernels of some targets each, 5 and 6 those of the
//                            odd-tile ones, 0 is all but kernels; without it, one source has everything
#ifndef TESSERA_CONFIG_H_
#define TESSERA_CONFIG_H_

#define TESSERA_VERSION_MAJOR 0
#define TESSERA_VERSION_MINOR 1
#define TESSERA_VERSION_PATCH 0

#ifndef TESSERA_XSIMD
#define TESSERA_XSIMD 0
#endif
#ifndef TESSERA_STATIC
#define TESSERA_STATIC TESSERA_XSIMD
#endif
#ifndef TESSERA_COMPILED
#define TESSERA_COMPILED 0
#endif
#ifndef TESSERA_COMPILED_SOURCE
#define TESSERA_COMPILED_SOURCE 0
#endif
#ifndef TESSERA_COMPILED_PART
#define TESSERA_COMPILED_PART -1
#endif
#ifndef TESSERA_TEST_TARGETS
#define TESSERA_TEST_TARGETS 0
#endif

#if TESSERA_XSIMD && !TESSERA_STATIC
#error "TESSERA_XSIMD builds are static: leave TESSERA_STATIC undefined or set it to 1"
#endif
#if TESSERA_COMPILED && TESSERA_STATIC
#error \
    "TESSERA_COMPILED uses the library's run-time dispatch: it excludes TESSERA_STATIC and TESSERA_XSIMD"
#endif
#if TESSERA_COMPILED_PART >= 0 && !TESSERA_COMPILED_SOURCE
#error "TESSERA_COMPILED_PART is for the sources of tessera::compiled"
#endif

#if defined(__cpp_exceptions)
#define TESSERA_EXCEPTIONS 1
#else
#define TESSERA_EXCEPTIONS 0
#endif

#if TESSERA_STATIC && !TESSERA_XSIMD && !defined(HWY_COMPILE_ONLY_STATIC)
#define HWY_COMPILE_ONLY_STATIC 1
#endif
// -march=haswell and x86-64-v3 do not promise AES, and Highway would take SSSE3 for want of it. No
// kernel here uses AES.
#if TESSERA_STATIC && !TESSERA_XSIMD && !defined(HWY_DISABLE_PCLMUL_AES)
#define HWY_DISABLE_PCLMUL_AES
#endif

// Highway's default x86 targets are trimmed to those that kernels here make a difference for, as each
// costs a second of compile time: SSE2 and SSSE3 run the scalar fallback, and the AVX3 variants with
// BF16, FP16 and AVX10.2 run AVX3_DL's kernels. A TU that included Highway first keeps its choice.
#if !defined(HWY_DISABLED_TARGETS) && !TESSERA_STATIC && (defined(__x86_64__) || defined(__i386__))
#define HWY_DISABLED_TARGETS (HWY_SSE2 | HWY_SSSE3 | HWY_AVX3_ZEN4 | HWY_AVX3_SPR | HWY_AVX10_2)
#endif

// Public functions live in an inline namespace named after how their kernels were chosen, so that
// two translation units with other flags or modes never share a symbol.
#if defined(__AVX512F__)
#define TESSERA_BASELINE avx512
#elif defined(__AVX2__)
#define TESSERA_BASELINE avx2
#elif defined(__SSE4_1__)
#define TESSERA_BASELINE sse4
#elif defined(__riscv_v_fixed_vlen)
#define TESSERA_BASELINE TESSERA_CONCAT(rvv, __riscv_v_fixed_vlen)
#elif defined(__riscv_v)
#define TESSERA_BASELINE rvv
#elif defined(__ARM_FEATURE_SVE)
#define TESSERA_BASELINE sve
#else
#define TESSERA_BASELINE base
#endif

#define TESSERA_CONCAT_(a, b) a##b
#define TESSERA_CONCAT(a, b) TESSERA_CONCAT_(a, b)

// Functions that tessera::compiled has in its library: declared by all headers, defined in one place.
#if TESSERA_COMPILED_SOURCE
#define TESSERA_LIBRARY_FUNCTION
#else
#define TESSERA_LIBRARY_FUNCTION inline
#endif

#if TESSERA_XSIMD
#define TESSERA_ABI TESSERA_CONCAT(xsimd_, TESSERA_BASELINE)
#elif TESSERA_STATIC
#define TESSERA_ABI TESSERA_CONCAT(static_, TESSERA_BASELINE)
#elif TESSERA_COMPILED || TESSERA_COMPILED_SOURCE
#define TESSERA_ABI compiled
#elif TESSERA_TEST_TARGETS
#define TESSERA_ABI TESSERA_CONCAT(test_, TESSERA_BASELINE)
#else
#define TESSERA_ABI TESSERA_CONCAT(dynamic_, TESSERA_BASELINE)
#endif

#endif  // TESSERA_CONFIG_H_
