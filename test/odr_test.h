// SPDX-License-Identifier: Apache-2.0
// What odr_a.cc and odr_b.cc compute. They include Tessera first; odr_test.cc does not.
#ifndef TESSERA_TEST_ODR_TEST_H_
#define TESSERA_TEST_ODR_TEST_H_

#include <string>
#include <vector>

namespace tessera::test {

struct OdrProbe {
  std::vector<float> product;
  std::string active_target;
  std::string slowest_target;
  const void* caches;
  const void* kernels;
};

OdrProbe odr_a();
OdrProbe odr_b();
void odr_set_active_target_in_a(const char* target);

#ifdef TESSERA_OPS_GEMM_H_
inline OdrProbe odr_probe() {
  std::vector<float> a(9 * 20), b(20 * 31), c(9 * 31);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 13) / 3;
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 11) / 7;
  gemm(row_major(a, {9, 20}), pack_b(row_major(b, {20, 31})), row_major(c, {9, 31}));
  return {c, std::string(name(active_target())), std::string(name(available_targets().front())),
          &machine_caches(), impl::kernel_tables<tessera::detail::kGemmFamily>().data()};
}
#endif

}  // namespace tessera::test

#endif  // TESSERA_TEST_ODR_TEST_H_
