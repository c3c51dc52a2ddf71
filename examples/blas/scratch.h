// SPDX-License-Identifier: Apache-2.0
// Memory for the copies that one call makes; each thread keeps what its largest call needed.
#ifndef TESSERA_BLAS_SCRATCH_H_
#define TESSERA_BLAS_SCRATCH_H_

#include <new>

#include "tessera/core/scratch.h"
#include "tessera/core/view.h"

namespace tessera::blas {

enum class Use { kVectors, kProduct, kComplex };  // one may be in use while another is asked for

// `count` elements, until the next call for this use on this thread; null if there is no memory.
template <Use use, class T>
T* scratch(index_t count) noexcept {
  thread_local Scratch memory;
  try {
    return reinterpret_cast<T*>(
        memory.reserve(static_cast<std::size_t>(count) * sizeof(T), "blas"));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

}  // namespace tessera::blas

#endif  // TESSERA_BLAS_SCRATCH_H_
