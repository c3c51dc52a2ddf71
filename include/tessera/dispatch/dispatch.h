// SPDX-License-Identifier: Apache-2.0
// Which kernels this translation unit has, and which of them run here. The project's only
// foreach_target: each TU may expand it once, hence one list of all kernels (kernels/all-inl.h).
//
// Header-only (the default): the kernels of every target are compiled into this TU, of the families that its calls name.
// TESSERA_COMPILED: they are in the library tessera::compiled, and this header only declares them. The
// library's own translation units compile the kernels of some targets each: target_kernels-inl.h.
// TESSERA_STATIC, TESSERA_XSIMD: static.h, the kernels of the compile flags' own target.
#ifndef TESSERA_DISPATCH_DISPATCH_H_
#define TESSERA_DISPATCH_DISPATCH_H_

#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/config.h"
#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/isa.h"
#include "tessera/kernels/kernel_table.h"

namespace tessera::inline TESSERA_ABI::impl {

// The kernels that this machine can run, of some families, the slowest target first. Never empty.
template <tessera::detail::Families kFamilies>
std::span<const tessera::detail::KernelTable> kernel_tables();

// In the library: those of all families; and those of one target, whether this machine can run them or not.
std::span<const tessera::detail::KernelTable> all_kernel_tables();
template <Target>
tessera::detail::KernelTable all_kernels_of();

// Those of one target and some families, specialised where they are compiled.
template <Target kTarget>
struct TargetKernels {
  template <tessera::detail::Families>
  static tessera::detail::KernelTable table() {
    return all_kernels_of<kTarget>();
  }
};

}  // namespace tessera::inline TESSERA_ABI::impl

#if TESSERA_STATIC
#include "tessera/dispatch/static.h"
#elif !TESSERA_COMPILED
#include "tessera/dispatch/dynamic.h"
#endif

namespace tessera::inline TESSERA_ABI {

#if TESSERA_COMPILED || TESSERA_COMPILED_SOURCE
// Nothing of other families here either: a call that does not name one that it uses fails in all modes.
template <tessera::detail::Families kFamilies>
std::span<const tessera::detail::KernelTable> impl::kernel_tables() {
  static const auto tables = [] {
    std::vector<tessera::detail::KernelTable> list;
    for (const auto& table : all_kernel_tables()) list.push_back(table.only(kFamilies));
    return list;
  }();
  return tables;
}
#endif

// The targets that have kernels here and run on this machine, the slowest first.
inline std::vector<Target> available_targets() {
  std::vector<Target> targets;
  for (const auto& table : impl::kernel_tables<0>()) targets.push_back(table.target);
  return targets;
}

namespace impl {

template <tessera::detail::Families kFamilies>
const tessera::detail::KernelTable* find_table(Target target) {
  for (const auto& table : kernel_tables<kFamilies>()) {
    if (table.target == target) return &table;
  }
  return nullptr;
}

[[noreturn]] inline void fail_target(const char* function, const char* argument,
                                     std::string_view got) {
  std::string valid = "one of";
  // append, not +: g++ 12 warns of overlapping memory in string operators that it inlines.
  for (const Target t : available_targets()) valid.append(" ").append(name(t));
  tessera::detail::fail(function, argument, valid, std::string("\"").append(got).append("\""));
}

// The odd-tile targets exist for tests and are never the default.
inline Target best_target() {
  const auto tables = kernel_tables<0>();
  for (std::size_t i = tables.size(); i-- > 0;) {
    const Target t = tables[i].target;
    if (t != Target::kScalar3 && t != Target::kScalar5) return t;
  }
  return tables[0].target;
}

}  // namespace impl

// Chooses the target of all later calls in this program that name none in their Context. Throws
// Error on an unknown name, or one that this machine or build does not have, listing those it has;
// "" goes back to the default. Thread-safe; calls under way keep their target.
inline void set_active_target(std::string_view target_name) {
  if (target_name.empty()) {
    tessera::detail::requested_target = -1;
    return;
  }
  const auto target = parse_target(target_name);
  if (!target || impl::find_table<detail::kNoFamily>(*target) == nullptr) {
    impl::fail_target("set_active_target", "name", target_name);
  }
  tessera::detail::requested_target = static_cast<int>(*target);
}

// What set_active_target() chose; else the environment variable TESSERA_TARGET; else the best that
// this machine has.
inline Target active_target() {
  if (const int requested = tessera::detail::requested_target; requested >= 0) {
    const auto target = static_cast<Target>(requested);
    // Static translation units have one target, whatever another one asked for.
    return impl::find_table<detail::kNoFamily>(target) ? target : impl::best_target();
  }
  static const Target initial = [] {
    const char* text = std::getenv("TESSERA_TARGET");
    if (text == nullptr || *text == '\0') return impl::best_target();
    const auto target = parse_target(text);
    if (!target || impl::find_table<detail::kNoFamily>(*target) == nullptr) {
      impl::fail_target("environment", "TESSERA_TARGET", text);
    }
    return *target;
  }();
  return initial;
}

namespace impl {

// Those of some families and of the target that a call asks for, else the active one.
template <tessera::detail::Families kFamilies>
const tessera::detail::KernelTable& kernels_for(const char* function,
                                                std::optional<Target> target) {
  const Target wanted = target ? *target : active_target();
  const auto* table = find_table<kFamilies>(wanted);
  if (table == nullptr) fail_target(function, "context.target", name(wanted));
  return *table;
}
template <tessera::detail::Families kFamilies>
const tessera::detail::KernelTable& kernels_for(const char* function, const Context* context) {
  return kernels_for<kFamilies>(function, context != nullptr ? context->target : std::nullopt);
}

}  // namespace impl
}  // namespace tessera::inline TESSERA_ABI

#endif  // TESSERA_DISPATCH_DISPATCH_H_
