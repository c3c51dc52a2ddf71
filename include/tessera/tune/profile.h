// SPDX-License-Identifier: Apache-2.0
// A tuning profile: register tiles and cache blocks that were measured on one machine, as lines of text.
// bench/tune writes it; ops/gemm_profile.h reads the one that the environment variable TESSERA_PROFILE names.
//
//   tessera-profile 1
//   version 0.1.0
//   cpu AMD EPYC 9654 96-Core Processor, family 25 model 17
//   targets avx2
//   # target, type of B, shapes, tile (rows x vectors x lmul), lanes of a vector, mc, kc, nc (0: by formula)
//   gemm avx2 f32 large 6x2x1 8 0 320 0
//   checksum 0123456789abcdef
//
// It is used whole or not at all: one that was made for something else is stale, one that can't be read is
// damaged. Lines that are empty or start with # are skipped. The checksum is FNV-1a, 64 bits, of all before its line;
// after an edit the refusal says which one is expected.
//
// Parsing allocates nothing and throws nothing.
#ifndef TESSERA_TUNE_PROFILE_H_
#define TESSERA_TUNE_PROFILE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "tessera/config.h"
#include "tessera/core/dtype.h"
#include "tessera/core/isa.h"
#include "tessera/core/view.h"
#include "tessera/tune/generic.h"

namespace tessera::detail {

// ---- What a profile holds

// Products that want the same tile and blocks, by what limits them.
enum class ShapeClass : std::uint8_t {
  kRow,     // reading B once
  kSkinny,  // reading or packing B, which serves a few row panels only
  kSmall,   // the edges of tiles, and packing that hardly pays
  kLarge,  // the multiply-adds, if blocks are right. Packed operands are packed for these, whatever they meet.
};
inline constexpr std::array<std::string_view, 4> kShapeClassNames = {"row", "skinny", "small",
                                                                     "large"};

constexpr std::string_view name(ShapeClass c) {
  return kShapeClassNames[static_cast<std::size_t>(c)];
}

// C[m, n] with k steps, rows of C contiguous.
constexpr ShapeClass shape_class(index_t m, index_t n, index_t k) {
  if (m <= 2) return ShapeClass::kRow;
  if (m <= 32) return ShapeClass::kSkinny;
  constexpr double kSmall = 384.0 * 384 * 384;
  const double steps = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  return steps <= kSmall ? ShapeClass::kSmall : ShapeClass::kLarge;
}

// The families of kernels, by the type of B: KernelTable::gemm() has the same.
inline constexpr std::array<DType, 4> kGemmFamilies = {DType::kF32, DType::kF64, DType::kS8,
                                                       DType::kU8};

constexpr std::size_t family_index(DType b) {
  for (std::size_t i = 1; i < kGemmFamilies.size(); ++i) {
    if (kGemmFamilies[i] == b) return i;
  }
  return 0;  // f32, bf16, f16
}

constexpr std::string_view family_name(DType b) {
  constexpr std::array<std::string_view, 4> kNames = {"f32", "f64", "s8", "u8"};
  return kNames[family_index(b)];
}

// One line.
struct ProfileRow {
  Target target{};
  DType family{};
  ShapeClass shapes{};
  TileShape
      tile{};  // rows, vectors and lmul: a tile keeps its name when the order of tiles changes
  index_t lanes = 0;               // of a vector group of the tile, where this was measured
  index_t mc = 0, kc = 0, nc = 0;  // as in GemmTuning; 0: by formula
};

// What gemm needs of it.
struct TunedBlocks {
  std::int32_t tile = -1;  // index into the target's tiles; -1: no row
  std::int32_t mc = 0, kc = 0, nc = 0;
};

class GemmProfile {
 public:
  // Null where the profile has no row.
  const TunedBlocks* find(Target target, DType b, ShapeClass shapes) const {
    if (size_ == 0) return nullptr;
    const TunedBlocks& blocks = blocks_[index(target, b, shapes)];
    return blocks.tile < 0 ? nullptr : &blocks;
  }
  // False if there is one already.
  bool add(const ProfileRow& row, int tile) {
    TunedBlocks& blocks = blocks_[index(row.target, row.family, row.shapes)];
    if (blocks.tile >= 0) return false;
    blocks = {tile, static_cast<std::int32_t>(row.mc), static_cast<std::int32_t>(row.kc),
              static_cast<std::int32_t>(row.nc)};
    ++size_;
    return true;
  }
  int size() const { return size_; }

 private:
  static std::size_t index(Target target, DType b, ShapeClass shapes) {
    return (static_cast<std::size_t>(target) * kGemmFamilies.size() + family_index(b)) *
               kShapeClassNames.size() +
           static_cast<std::size_t>(shapes);
  }

  int size_ = 0;
  std::array<TunedBlocks, kTargetNames.size() * kGemmFamilies.size() * kShapeClassNames.size()>
      blocks_{};
};

// What a profile is compared with.
struct ProfileTile {
  bool has_target = false;  // in this build, on this machine
  int index = -1;           // of the tile; -1: the target has no such tile
  index_t lanes = 0;        // of a vector group
};
struct ProfileMachine {
  std::string_view version, cpu;
  ProfileTile (*tile)(Target target, DType family, const TileShape& shape);
};

// ---- The machine

inline constexpr std::string_view kProfileFormat = "1";

#define TESSERA_TEXT_(x) #x
#define TESSERA_TEXT(x) TESSERA_TEXT_(x)
inline constexpr std::string_view kVersion = TESSERA_TEXT(TESSERA_VERSION_MAJOR) "." TESSERA_TEXT(
    TESSERA_VERSION_MINOR) "." TESSERA_TEXT(TESSERA_VERSION_PATCH);
#undef TESSERA_TEXT
#undef TESSERA_TEXT_

// Text in a place of its own: what does not fit is cut off, control characters become question marks.
template <std::size_t kSize>
class FixedText {
 public:
  void add(std::string_view text) {
    for (const char c : text) {
      if (size_ == kSize) return;
      text_[size_++] = static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? '?' : c;
    }
  }
  void add(index_t number) {
    char digits[24];
    std::snprintf(digits, sizeof digits, "%td", number);
    add(digits);
  }
  std::string_view text() const { return {text_, size_}; }

 private:
  char text_[kSize] = {};
  std::size_t size_ = 0;
};

using CpuName = FixedText<512>;

constexpr std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  while (!text.empty() && kBlank.find(text.front()) != std::string_view::npos) {
    text.remove_prefix(1);
  }
  while (!text.empty() && kBlank.find(text.back()) != std::string_view::npos) text.remove_suffix(1);
  return text;
}

// Of the first processor in /proc/cpuinfo, the values of these keys that it has.
inline void add_cpuinfo(CpuName& cpu, std::initializer_list<std::string_view> keys) {
  std::FILE* f = std::fopen("/proc/cpuinfo", "r");
  if (f == nullptr) return;
  char line[1024];
  while (std::fgets(line, sizeof line, f) != nullptr) {
    const std::string_view text = line;
    if (trimmed(text).empty() && !cpu.text().empty()) break;  // the next processor
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) continue;
    for (const std::string_view key : keys) {
      if (trimmed(text.substr(0, colon)) != key) continue;
      if (!cpu.text().empty()) cpu.add(" ");
      cpu.add(trimmed(text.substr(colon + 1)));
    }
  }
  std::fclose(f);
}

// What this core is called. Hypervisors give many cores one name, hence also their numbers.
inline CpuName cpu_name() {
  CpuName cpu;
#if defined(__x86_64__) || defined(__i386__)
  unsigned words[12] = {};
  bool named = true;
  for (unsigned leaf = 0; leaf < 3; ++leaf) {
    unsigned* const w = words + 4 * leaf;
    named = named && __get_cpuid(0x80000002u + leaf, w, w + 1, w + 2, w + 3);
  }
  char brand[sizeof words + 1] = {};
  if (named) std::memcpy(brand, words, sizeof words);
  cpu.add(trimmed(brand));
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
    const unsigned family = (eax >> 8) & 15, more = (eax >> 20) & 255;
    const unsigned model = ((eax >> 4) & 15) + ((eax >> 12) & 0xf0);
    cpu.add(", family ");
    cpu.add(static_cast<index_t>(family == 15 ? family + more : family));
    cpu.add(" model ");
    cpu.add(static_cast<index_t>(model));
  }
#elif defined(__aarch64__)
  if (std::FILE* f = std::fopen("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1", "r")) {
    char line[64];
    if (std::fgets(line, sizeof line, f) != nullptr) {
      cpu.add("MIDR ");
      cpu.add(trimmed(line));
    }
    std::fclose(f);
  }
  if (cpu.text().empty()) {
    add_cpuinfo(cpu, {"model name", "CPU implementer", "CPU variant", "CPU part"});
  }
#else
  add_cpuinfo(cpu, {"model name", "Model Name", "uarch", "mvendorid", "marchid", "isa"});
#endif
  if (cpu.text().empty()) cpu.add("unknown");
  return cpu;
}

// ---- Text

constexpr std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

inline FixedText<16> checksum_of(std::string_view text) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(fnv1a(text)));
  FixedText<16> result;
  result.add(digits);
  return result;
}

// Why a profile was refused: "stale: expected version 0.2.0, got 0.1.0".
class ProfileRefusal {
 public:
  // Always false, which is what the parser then returns.
  bool because(std::string_view state, int line, std::initializer_list<std::string_view> expected,
               std::string_view got) {
    text_ = {};
    text_.add(state);
    if (line > 0) {
      text_.add(": line ");
      text_.add(static_cast<index_t>(line));
    }
    text_.add(": expected ");
    for (const std::string_view part : expected) text_.add(part);
    text_.add(", got ");
    text_.add(got.empty() ? "nothing" : got.substr(0, kMostGot));
    return false;
  }
  bool stale(std::initializer_list<std::string_view> expected, std::string_view got, int line = 0) {
    return because("stale", line, expected, got);
  }
  bool damaged(std::initializer_list<std::string_view> expected, std::string_view got,
               int line = 0) {
    return because("damaged", line, expected, got);
  }
  std::string_view text() const { return text_.text(); }

 private:
  static constexpr std::size_t kMostGot = 300;
  FixedText<1200> text_;
};

class ProfileParser {
 public:
  ProfileParser(std::string_view text, const ProfileMachine& here, ProfileRefusal& refusal)
      : text_(text), here_(here), refusal_(refusal) {}

  bool parse(GemmProfile& profile) {
    GemmProfile result;
    if (!check_format() || !check_checksum()) return false;
    while (!rest_.empty()) {
      std::string_view line = take_line();
      if (line.empty() || line[0] == '#') continue;
      const std::string_view whole = line, key = take_word(line);
      const bool good = key == "gemm"      ? parse_row(line, whole, result)
                        : key == "version" ? check_version(trimmed(line))
                        : key == "cpu"     ? check_cpu(trimmed(line))
                        : key == "targets" ? parse_targets(line)
                                           : unexpected(whole);
      if (!good) return false;
    }
    if (!has_version_ || !has_cpu_ || !has_targets_) {
      return refusal_.damaged({"lines version, cpu and targets"}, "not all of them");
    }
    profile = result;
    return true;
  }

 private:
  static constexpr std::string_view kFirstWord = "tessera-profile", kLastWord = "checksum";

  std::string_view take_line() {
    const std::size_t end = rest_.find('\n');
    const std::string_view line = trimmed(rest_.substr(0, end));
    rest_ = end == std::string_view::npos ? std::string_view() : rest_.substr(end + 1);
    ++line_;
    return line;
  }

  static std::string_view take_word(std::string_view& line) {
    line = trimmed(line);
    const std::size_t end = line.find(' ');
    const std::string_view word = line.substr(0, end);
    line = end == std::string_view::npos ? std::string_view() : line.substr(end + 1);
    return word;
  }

  // Before the checksum: another format may have another one.
  bool check_format() {
    rest_ = text_;
    std::string_view line = take_line();
    const std::string_view whole = line;
    if (take_word(line) != kFirstWord) {
      return refusal_.damaged({"a first line \"", kFirstWord, " ", kProfileFormat, "\""}, whole, 1);
    }
    if (line != kProfileFormat) return refusal_.stale({"format ", kProfileFormat}, line);
    return true;
  }

  // Takes the line of the checksum, which is the last one and complete, off the text.
  bool check_checksum() {
    constexpr std::string_view kExpected = "a last line \"checksum\" with 16 digits";
    const std::size_t end = text_.empty() ? 0 : text_.size() - 1;
    const std::size_t before = text_.find_last_of('\n', end == 0 ? 0 : end - 1);
    const std::size_t start = before == std::string_view::npos ? 0 : before + 1;
    std::string_view line = trimmed(text_.substr(start));
    const std::string_view whole = line;
    if (take_word(line) != kLastWord || text_.back() != '\n' || line.size() != 16) {
      return refusal_.damaged({kExpected}, whole);
    }
    const std::string_view covered = text_.substr(0, start);
    const auto checksum = checksum_of(covered);
    if (line != checksum.text()) {
      return refusal_.damaged({"checksum ", checksum.text()}, line);
    }
    rest_ = rest_.substr(0, rest_.size() - (text_.size() - start));
    return true;
  }

  bool check_version(std::string_view got) {
    has_version_ = true;
    return got == here_.version || refusal_.stale({"version ", here_.version}, got);
  }
  bool check_cpu(std::string_view got) {
    has_cpu_ = true;
    return got == here_.cpu || refusal_.stale({"cpu ", here_.cpu}, got);
  }

  bool parse_targets(std::string_view line) {
    has_targets_ = true;
    while (!trimmed(line).empty()) {
      const std::string_view word = take_word(line);
      const auto target = parse_target(word);
      if (!target) return refusal_.damaged({"names of targets"}, word, line_);
      listed_[static_cast<std::size_t>(*target)] = true;
    }
    return true;
  }

  bool unexpected(std::string_view line) {
    return refusal_.damaged({"version, cpu, targets or gemm"}, line, line_);
  }

  // Decimal digits only, up to `most`.
  static std::optional<index_t> number(std::string_view word, index_t most) {
    if (word.empty() || word.size() > 12) return std::nullopt;
    index_t value = 0;
    for (const char c : word) {
      if (c < '0' || c > '9') return std::nullopt;
      value = 10 * value + (c - '0');
    }
    if (value > most) return std::nullopt;
    return value;
  }

  // "8x3x1"
  static std::optional<TileShape> tile(std::string_view word) {
    int sizes[3] = {};
    for (int i = 0; i < 3; ++i) {
      const std::size_t end = i < 2 ? word.find('x') : word.size();
      if (end == std::string_view::npos) return std::nullopt;
      const auto size = number(word.substr(0, end), 64);
      if (!size || *size == 0) return std::nullopt;
      sizes[i] = static_cast<int>(*size);
      word.remove_prefix(i < 2 ? end + 1 : end);
    }
    return TileShape{sizes[0], sizes[1], sizes[2]};
  }

  bool parse_row(std::string_view line, std::string_view whole, GemmProfile& profile) {
    constexpr index_t kMostLanes = 1 << 14, kMostBlock = 1 << 24;
    ProfileRow row;
    const std::string_view target = take_word(line), family = take_word(line),
                           shapes = take_word(line), shape = take_word(line);
    const auto known = parse_target(target);
    if (!known || !listed_[static_cast<std::size_t>(*known)]) {
      return refusal_.damaged({"a target of the line targets"}, target, line_);
    }
    row.target = *known;
    bool has_family = false, has_shapes = false;
    for (const DType f : kGemmFamilies) {
      if (family == family_name(f)) row.family = f, has_family = true;
    }
    if (!has_family) return refusal_.damaged({"f32, f64, s8 or u8"}, family, line_);
    for (std::size_t i = 0; i < kShapeClassNames.size(); ++i) {
      if (shapes == kShapeClassNames[i]) row.shapes = ShapeClass(i), has_shapes = true;
    }
    if (!has_shapes) return refusal_.damaged({"row, skinny, small or large"}, shapes, line_);
    const auto parsed = tile(shape);
    if (!parsed) return refusal_.damaged({"a tile as 8x3x1"}, shape, line_);
    row.tile = *parsed;
    const std::string_view lanes_word = take_word(line);
    const auto lanes = number(lanes_word, kMostLanes);
    if (!lanes || *lanes == 0)
      return refusal_.damaged({"lanes from 1 to 16384"}, lanes_word, line_);
    row.lanes = *lanes;
    for (index_t* const block : {&row.mc, &row.kc, &row.nc}) {
      const std::string_view word = take_word(line);
      const auto value = number(word, kMostBlock);
      if (!value) return refusal_.damaged({"mc, kc and nc from 0 to 16777216"}, word, line_);
      *block = *value;
    }
    if (!trimmed(line).empty()) {
      return refusal_.damaged({"the end of the row"}, trimmed(line), line_);
    }

    // One file may serve builds with other targets.
    const ProfileTile here = here_.tile(row.target, row.family, row.tile);
    if (!here.has_target) return true;
    if (here.index < 0) {
      return refusal_.damaged({"a tile that ", target, " has for ", family}, shape, line_);
    }
    if (here.lanes != row.lanes) {
      FixedText<24> text;
      text.add(here.lanes);
      return refusal_.stale({"vectors of ", text.text(), " lanes"}, lanes_word, line_);
    }
    return profile.add(row, here.index) ||
           refusal_.damaged({"one row for each target, type and class"}, whole, line_);
  }

  std::string_view text_, rest_{};
  const ProfileMachine& here_;
  ProfileRefusal& refusal_;
  int line_ = 0;
  bool has_version_ = false, has_cpu_ = false, has_targets_ = false;
  std::array<bool, kTargetNames.size()> listed_{};
};

// Fills `profile` from `text`. False if it is refused: then `refusal` says why, and `profile` is as it was.
inline bool parse_profile(std::string_view text, const ProfileMachine& here, GemmProfile& profile,
                          ProfileRefusal& refusal) {
  return ProfileParser(text, here, refusal).parse(profile);
}

// The same text with its last line.
inline std::string with_checksum(std::string text) {
  const auto checksum = checksum_of(text);
  return text.append("checksum ").append(checksum.text()).append("\n");
}

// What parse_profile() reads.
inline std::string profile_text(std::string_view version, std::string_view cpu,
                                std::span<const ProfileRow> rows) {
  std::string text = "tessera-profile ", targets = "targets", lines;
  std::array<bool, kTargetNames.size()> listed{};
  for (const ProfileRow& row : rows) {
    bool& seen = listed[static_cast<std::size_t>(row.target)];
    if (!seen) targets.append(" ").append(tessera::name(row.target));
    seen = true;
    lines.append("gemm ").append(tessera::name(row.target)).append(" ");
    lines.append(family_name(row.family)).append(" ").append(name(row.shapes)).append(" ");
    lines.append(std::to_string(row.tile.rows)).append("x");
    lines.append(std::to_string(row.tile.vectors)).append("x");
    lines.append(std::to_string(row.tile.lmul));
    for (const index_t number : {row.lanes, row.mc, row.kc, row.nc}) {
      lines.append(" ").append(std::to_string(number));
    }
    lines.append("\n");
  }
  text.append(kProfileFormat).append("\nversion ").append(version).append("\ncpu ").append(cpu);
  text.append("\n").append(targets).append("\n");
  text.append("# target, type of B, shapes, tile (rows x vectors x lmul), lanes of a vector, ")
      .append("mc, kc, nc (0: by formula)\n");
  return with_checksum(text.append(lines));
}

}  // namespace tessera::detail

#endif  // TESSERA_TUNE_PROFILE_H_
