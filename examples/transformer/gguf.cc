// SPDX-License-Identifier: Apache-2.0
#include "gguf.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

namespace transformer {
namespace {

// NVFP4 of GGUF has another layout than that of core/block_formats.h.
constexpr std::pair<std::uint32_t, ts::BlockFormat> kBlockNumbers[] = {
    {2, ts::BlockFormat::kQ4_0},   {3, ts::BlockFormat::kQ4_1},    {6, ts::BlockFormat::kQ5_0},
    {7, ts::BlockFormat::kQ5_1},   {8, ts::BlockFormat::kQ8_0},    {10, ts::BlockFormat::kQ2_K},
    {11, ts::BlockFormat::kQ3_K},  {12, ts::BlockFormat::kQ4_K},   {13, ts::BlockFormat::kQ5_K},
    {14, ts::BlockFormat::kQ6_K},  {20, ts::BlockFormat::kIQ4_NL}, {23, ts::BlockFormat::kIQ4_XS},
    {34, ts::BlockFormat::kTQ1_0}, {35, ts::BlockFormat::kTQ2_0},  {39, ts::BlockFormat::kMXFP4}};
struct FloatNumber {
  std::uint32_t number;
  Float type;
  std::string_view name;
  index_t bytes;
};
constexpr FloatNumber kFloatNumbers[] = {
    {0, Float::kF32, "F32", 4}, {1, Float::kF16, "F16", 2}, {30, Float::kBF16, "BF16", 2}};

const FloatNumber& number_of(Float type) { return kFloatNumbers[static_cast<int>(type)]; }

std::optional<TensorType> type_of_number(std::uint32_t number) {
  for (const FloatNumber& f : kFloatNumbers) {
    if (f.number == number) return f.type;
  }
  for (const auto& [n, format] : kBlockNumbers) {
    if (n == number) return format;
  }
  return std::nullopt;
}

constexpr index_t kMostRank = 4;

}  // namespace

std::string_view name(const TensorType& type) {
  if (const auto* f = std::get_if<Float>(&type)) return number_of(*f).name;
  return info(std::get<ts::BlockFormat>(type)).name;
}

std::optional<TensorType> tensor_type(std::string_view wanted) {
  const auto is_wanted = [&](std::string_view name) {
    return std::equal(
        name.begin(), name.end(), wanted.begin(), wanted.end(),
        [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
  };
  for (const FloatNumber& f : kFloatNumbers) {
    if (is_wanted(f.name)) return f.type;
  }
  for (const auto& [n, format] : kBlockNumbers) {
    if (is_wanted(info(format).name)) return format;
  }
  return std::nullopt;
}

std::uint32_t number_in_gguf(const TensorType& type) {
  if (const auto* f = std::get_if<Float>(&type)) return number_of(*f).number;
  for (const auto& [n, format] : kBlockNumbers) {
    if (format == std::get<ts::BlockFormat>(type)) return n;
  }
  throw std::runtime_error("GGUF has no " + std::string(name(type)));
}

std::optional<index_t> bytes_of_row(const TensorType& type, index_t cols) {
  if (const auto* f = std::get_if<Float>(&type)) return cols * number_of(*f).bytes;
  const ts::BlockFormatInfo block = info(std::get<ts::BlockFormat>(type));
  if (cols % block.block != 0) return std::nullopt;
  return cols / block.block * block.bytes;
}

std::string Tensor::shape() const {
  std::string text;
  for (const index_t e : extents) text += (text.empty() ? "" : " x ") + std::to_string(e);
  return text;
}

// Numbers and strings of the file, one after the other.
class Gguf::Reader {
 public:
  Reader(const Gguf& file, std::span<const std::byte> bytes) : file_(file), bytes_(bytes) {}

  template <class T>
  T number() {
    T x;
    std::memcpy(&x, take(sizeof(T)).data(), sizeof(T));  // little-endian, as all our targets
    return x;
  }
  std::string_view text() {
    const auto length = number<std::uint64_t>();
    const auto bytes = take(length);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // A count of what takes at least `least` bytes each: more than the file has is refused before memory is taken.
  std::size_t count(std::size_t least) {
    const auto n = number<std::uint64_t>();
    if (n > bytes_.size() / least) cut_off();
    return n;
  }
  Value value(std::uint32_t type) {
    if (type != static_cast<std::uint32_t>(GgufType::kArray)) return scalar(type);
    const auto inner = number<std::uint32_t>();
    if (inner == static_cast<std::uint32_t>(GgufType::kArray)) {
      file_.fail("an array of arrays, which is not supported");
    }
    Array array;
    const std::size_t length = count(1);
    for (std::size_t i = 0; i < length; ++i) {
      const Value v = scalar(inner);
      if (const auto* s = std::get_if<std::string_view>(&v)) {
        array.texts.push_back(*s);
      } else if (const auto* b = std::get_if<bool>(&v)) {
        array.numbers.push_back(*b ? 1 : 0);
      } else if (const auto* n = std::get_if<index_t>(&v)) {
        array.numbers.push_back(static_cast<double>(*n));
      } else {
        array.numbers.push_back(std::get<double>(v));
      }
    }
    return array;
  }
  std::size_t position() const { return position_; }

 private:
  Value scalar(std::uint32_t type) {
    switch (static_cast<GgufType>(type)) {
      case GgufType::kU8:
        return index_t{number<std::uint8_t>()};
      case GgufType::kS8:
        return index_t{number<std::int8_t>()};
      case GgufType::kU16:
        return index_t{number<std::uint16_t>()};
      case GgufType::kS16:
        return index_t{number<std::int16_t>()};
      case GgufType::kU32:
        return index_t{number<std::uint32_t>()};
      case GgufType::kS32:
        return index_t{number<std::int32_t>()};
      case GgufType::kU64:
        return static_cast<index_t>(number<std::uint64_t>());
      case GgufType::kS64:
        return index_t{number<std::int64_t>()};
      case GgufType::kF32:
        return static_cast<double>(number<float>());
      case GgufType::kF64:
        return number<double>();
      case GgufType::kBool:
        return number<std::uint8_t>() != 0;
      case GgufType::kString:
        return text();
      default:
        file_.fail("a value of type " + std::to_string(type) + ", which GGUF does not have");
    }
  }
  std::span<const std::byte> take(std::size_t bytes) {
    if (bytes > bytes_.size() - position_) cut_off();
    position_ += bytes;
    return bytes_.subspan(position_ - bytes, bytes);
  }
  [[noreturn]] void cut_off() const {
    file_.fail("cut off: " + std::to_string(bytes_.size()) + " bytes are not all of its header");
  }

  const Gguf& file_;
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

Gguf::Gguf(const std::filesystem::path& path) : path_(path.string()) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(std::strerror(errno));
  struct stat status{};
  const bool regular = fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  const auto bytes = static_cast<std::size_t>(status.st_size);
  if (regular && bytes > 0) map_ = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
  const int error = errno;
  close(file);
  if (!regular) fail("not a file");
  if (bytes == 0) fail("empty");
  if (map_ == MAP_FAILED) {
    map_ = nullptr;
    fail(std::strerror(error));
  }
  map_bytes_ = bytes;
  try {
    read({static_cast<const std::byte*>(map_), bytes});
  } catch (...) {
    munmap(map_, map_bytes_);
    throw;
  }
}

Gguf::~Gguf() { munmap(map_, map_bytes_); }

void Gguf::read(std::span<const std::byte> file) {
  Reader reader(*this, file);
  if (file.size() < 4 || std::memcmp(file.data(), "GGUF", 4) != 0) {
    fail("no file of GGUF: it does not start with these letters");
  }
  reader.number<std::uint32_t>();
  const auto version = reader.number<std::uint32_t>();
  if (version != kGgufVersion) {
    fail("expected version 3 of GGUF, got " + std::to_string(version));
  }
  const std::size_t tensors = reader.count(24), values = reader.count(13);
  for (std::size_t i = 0; i < values; ++i) {
    const std::string key(reader.text());
    const auto type = reader.number<std::uint32_t>();
    values_.insert_or_assign(key, reader.value(type));
  }
  std::vector<std::pair<Tensor*, std::uint64_t>> offsets;
  for (std::size_t i = 0; i < tensors; ++i) {
    const std::string name(reader.text());
    Tensor tensor;
    const auto rank = reader.number<std::uint32_t>();
    if (rank < 1 || rank > kMostRank) {
      fail(name + ": expected 1 to 4 axes, got " + std::to_string(rank));
    }
    index_t elements = 1;
    for (std::uint32_t axis = 0; axis < rank; ++axis) {
      const auto extent = reader.number<std::uint64_t>();
      if (extent > std::uint64_t{1} << 40 ||
          __builtin_mul_overflow(elements, static_cast<index_t>(extent), &elements) ||
          elements > index_t{1} << 56) {
        fail(name + ": extents that overflow");
      }
      tensor.extents.insert(tensor.extents.begin(), static_cast<index_t>(extent));
    }
    const auto number = reader.number<std::uint32_t>();
    const std::optional<TensorType> type = type_of_number(number);
    if (!type) fail(name + ": type " + std::to_string(number) + ", which Tessera does not have");
    tensor.type = *type;
    const std::optional<index_t> row = bytes_of_row(*type, tensor.extents.back());
    if (!row) {
      fail(name + ": rows of " + std::to_string(tensor.extents.back()) +
           " elements, which are no whole blocks of " + std::string(transformer::name(*type)));
    }
    tensor.bytes = tensor.extents.back() == 0 ? 0 : elements / tensor.extents.back() * *row;
    const auto offset = reader.number<std::uint64_t>();
    const auto [at, is_new] = tensors_.emplace(name, tensor);
    if (!is_new) fail(name + ": twice");
    offsets.emplace_back(&at->second, offset);
  }
  const index_t alignment = integer("general.alignment", 32);
  if (alignment < 8 || alignment > 1 << 20 || alignment % 8 != 0) {
    fail("general.alignment: expected a multiple of 8, got " + std::to_string(alignment));
  }
  const std::size_t unit = static_cast<std::size_t>(alignment);
  const std::size_t start = (reader.position() + unit - 1) / unit * unit;
  data_ = file.subspan(std::min(start, file.size()));
  for (const auto& [tensor, offset] : offsets) {
    if (offset % unit != 0) fail("a tensor at an offset that is not aligned");
    if (offset > data_.size() || static_cast<std::size_t>(tensor->bytes) > data_.size() - offset) {
      fail("cut off: " + std::to_string(file.size()) + " bytes are not all of its tensors");
    }
    tensor->data = data_.data() + offset;
  }
}

void Gguf::fail(const std::string& what) const { throw std::runtime_error(path_ + ": " + what); }

const Gguf::Value& Gguf::value(const std::string& key) const {
  const auto at = values_.find(key);
  if (at == values_.end()) fail("no key " + key);
  return at->second;
}

template <class T>
const T& Gguf::value_of(const std::string& key, const char* kind) const {
  const T* const v = std::get_if<T>(&value(key));
  if (v == nullptr) fail(key + ": expected " + kind);
  return *v;
}

index_t Gguf::integer(const std::string& key) const { return value_of<index_t>(key, "an integer"); }
index_t Gguf::integer(const std::string& key, index_t otherwise) const {
  return has(key) ? integer(key) : otherwise;
}
double Gguf::number(const std::string& key) const {
  if (const auto* i = std::get_if<index_t>(&value(key))) return static_cast<double>(*i);
  return value_of<double>(key, "a number");
}
double Gguf::number(const std::string& key, double otherwise) const {
  return has(key) ? number(key) : otherwise;
}
bool Gguf::flag(const std::string& key, bool otherwise) const {
  return has(key) ? value_of<bool>(key, "a bool") : otherwise;
}
std::string_view Gguf::text(const std::string& key) const {
  return value_of<std::string_view>(key, "a string");
}
std::string_view Gguf::text(const std::string& key, std::string_view otherwise) const {
  return has(key) ? text(key) : otherwise;
}
std::vector<std::string_view> Gguf::texts(const std::string& key) const {
  return value_of<Array>(key, "an array").texts;
}
std::vector<double> Gguf::numbers(const std::string& key) const {
  return value_of<Array>(key, "an array").numbers;
}

const Tensor* Gguf::find(const std::string& name) const {
  const auto at = tensors_.find(name);
  return at == tensors_.end() ? nullptr : &at->second;
}

const Tensor& Gguf::tensor(const std::string& name, std::span<const index_t> extents) const {
  const Tensor* const tensor = find(name);
  if (tensor == nullptr) fail("no tensor " + name);
  const Tensor expected{{}, {extents.begin(), extents.end()}, nullptr, 0};
  if (tensor->extents != expected.extents) {
    fail(name + ": expected " + expected.shape() + ", got " + tensor->shape());
  }
  return *tensor;
}

}  // namespace transformer
