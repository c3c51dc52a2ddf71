// SPDX-License-Identifier: Apache-2.0
// The functions that the library exports. routines.inc is the list; it is included for each width of integers.
#include <complex>
#include <cstdint>

#include "calls.h"
#include "tessera/core/dtype.h"

#define BLAS_EXPORT extern "C" [[gnu::visibility("default")]]
#define BLAS_PASTE(prefix, types, name, suffix) prefix##types##name##suffix
#define BLAS_NAME(prefix, types, name, suffix) BLAS_PASTE(prefix, types, name, suffix)
#define BLAS_STRING(text) #text
#define BLAS_TEXT(text) BLAS_STRING(text)

// Names as the standard has them: 32 bits (LP64), or, in the library for that, 64 (ILP64).
#if TESSERA_BLAS_ILP64
#define BLAS_INT std::int64_t
#else
#define BLAS_INT std::int32_t
#endif
#define BLAS_SUFFIXED false
#define FORTRAN(name) BLAS_NAME(, BLAS_TYPES, name, _)
#define CBLAS(name) BLAS_NAME(cblas_, BLAS_TYPES, name, )
#include "routines.inc"
#undef BLAS_INT
#undef BLAS_SUFFIXED
#undef FORTRAN
#undef CBLAS

// 64 bits, with the suffixes of OpenBLAS: sgemm_64_, cblas_sgemm64_.
#define BLAS_INT std::int64_t
#define BLAS_SUFFIXED true
#define FORTRAN(name) BLAS_NAME(, BLAS_TYPES, name, _64_)
#define CBLAS(name) BLAS_NAME(cblas_, BLAS_TYPES, name, 64_)
#include "routines.inc"
