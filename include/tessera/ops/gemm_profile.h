// SPDX-License-Identifier: Apache-2.0
// The tuning profile of this process: what the environment variable TESSERA_PROFILE names, read once, by the
// first call that plans a GEMM. Unset or empty: there is none, and nothing is read.
#ifndef TESSERA_OPS_GEMM_PROFILE_H_
#define TESSERA_OPS_GEMM_PROFILE_H_

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "tessera/config.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/tune/profile.h"

namespace tessera::detail {
// A program may hold several modes of the library, each with a profile of its own: one complaint is enough.
inline std::atomic<bool> profile_was_refused{false};
}  // namespace tessera::detail

namespace tessera::inline TESSERA_ABI::impl {

using namespace tessera::detail;  // NOLINT: this is the implementation's own namespace

inline ProfileTile profile_tile(Target target, DType family, const TileShape& shape) {
  const KernelTable* table = find_table<kGemmFamily>(target);
  if (table == nullptr) return {};
  const GemmKernels& kernels = table->gemm(family);
  for (int i = 0; i < kernels.tile_count; ++i) {
    const TileShape& t = kernels.tiles[i].shape;
    if (t.rows == shape.rows && t.vectors == shape.vectors && t.lmul == shape.lmul) {
      return {true, i, kernels.tiles[i].lanes()};
    }
  }
  return {true, -1, 0};
}

inline bool read_profile(const char* path, GemmProfile& profile, ProfileRefusal& refusal) {
  constexpr std::size_t kMostBytes = 1 << 16;
  const std::unique_ptr<char[]> buffer(new (std::nothrow) char[kMostBytes + 1]);
  if (buffer == nullptr) return refusal.damaged({"memory to read it"}, "none");
  errno = 0;
  std::FILE* f = std::fopen(path, "rb");
  std::size_t size = 0;
  bool good = f != nullptr;
  if (f != nullptr) {
    size = std::fread(buffer.get(), 1, kMostBytes + 1, f);
    good = std::ferror(f) == 0;  // of a directory, for one
  }
  const int error = errno;
  if (f != nullptr) std::fclose(f);
  if (!good) return refusal.because("unreadable", 0, {"a file"}, std::strerror(error));
  if (size > kMostBytes) return refusal.damaged({"at most 65536 bytes"}, "more");
  const CpuName cpu = cpu_name();
  return parse_profile({buffer.get(), size}, {kVersion, cpu.text(), &profile_tile}, profile,
                       refusal);
}

// A profile is advice: without it the program goes on with the tiles of tune/.
inline GemmProfile load_machine_profile() noexcept {
  GemmProfile profile;
  const char* path = std::getenv("TESSERA_PROFILE");
  if (path == nullptr || *path == '\0') return profile;
  ProfileRefusal refusal;
  if (!read_profile(path, profile, refusal) && !profile_was_refused.exchange(true)) {
    std::fprintf(stderr, "tessera: TESSERA_PROFILE: %s: %.*s; it is ignored\n", path,
                 static_cast<int>(refusal.text().size()), refusal.text().data());
  }
  return profile;
}

inline const GemmProfile& machine_profile() {
  static const GemmProfile profile = load_machine_profile();
  return profile;
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_GEMM_PROFILE_H_
