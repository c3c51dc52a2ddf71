// SPDX-License-Identifier: Apache-2.0
#include "xerbla.h"

#include <array>
#include <cctype>
#include <cstdint>
#include <cstdio>
#include <string_view>

// Defined by the host, if at all. Little-endian memory and registers let a reader of 32 bits find its integer in 64.
#define TESSERA_HOST [[gnu::weak, gnu::visibility("default")]]
extern "C" {
TESSERA_HOST void xerbla_(const char* routine, const std::int64_t* parameter, std::size_t length);
TESSERA_HOST void xerbla_64_(const char* routine, const std::int64_t* parameter,
                             std::size_t length);
TESSERA_HOST void cblas_xerbla(std::int64_t parameter, const char* routine, const char* format,
                               ...);
TESSERA_HOST void cblas_xerbla64_(std::int64_t parameter, const char* routine, const char* format,
                                  ...);
// The reference CBLAS sets it in row-major calls, whose numbers its cblas_xerbla then changes.
TESSERA_HOST extern int RowMajorStrg;
}

namespace tessera::blas {
namespace {

using Name = std::array<char, 32>;

// In capital letters, and blanks up to six.
Name fortran_name(const Routine& routine) {
  Name name{}, text{};
  std::snprintf(text.data(), text.size(), "%s%s", routine.types, routine.name);
  std::snprintf(name.data(), name.size(), "%-6s", text.data());
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

void print(const char* name, int parameter) {
  std::fprintf(stderr, " ** On entry to %s parameter number %d had an illegal value\n", name,
               parameter);
}

}  // namespace

void report_fortran(const Routine& routine, int parameter) noexcept {
  const Name name = fortran_name(routine);
  const std::int64_t number = parameter;
  const auto host = routine.suffixed && xerbla_64_ != nullptr ? xerbla_64_ : xerbla_;
  if (host == nullptr) return print(name.data(), parameter);
  host(name.data(), &number, std::string_view(name.data()).size());
}

void report_cblas(const Routine& routine, int parameter) noexcept {
  Name name{};
  std::snprintf(name.data(), name.size(), "cblas_%s%s", routine.types, routine.name);
  const auto host = routine.suffixed && cblas_xerbla64_ != nullptr ? cblas_xerbla64_ : cblas_xerbla;
  if (host == nullptr) return print(name.data(), parameter);
  if (&RowMajorStrg != nullptr) RowMajorStrg = 0;
  host(parameter, name.data(), "");
}

}  // namespace tessera::blas
