// SPDX-License-Identifier: Apache-2.0
// Files of GGUF, version 3: key-value pairs and tensors, read where they lie in memory.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#ifndef TESSERA_EXAMPLES_TRANSFORMER_GGUF_H_
#define TESSERA_EXAMPLES_TRANSFORMER_GGUF_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tessera/core/block_formats.h"
#include "tessera/core/view.h"

namespace transformer {

namespace ts = tessera;
using ts::index_t;

// Numbers of value types in files.
enum class GgufType : std::uint32_t {
  kU8,
  kS8,
  kU16,
  kS16,
  kU32,
  kS32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kS64,
  kF64,
};
inline constexpr std::uint32_t kGgufVersion = 3;

// What the elements of a tensor are: floats, or blocks.
enum class Float : std::uint8_t { kF32, kF16, kBF16 };
using TensorType = std::variant<Float, ts::BlockFormat>;

std::string_view name(const TensorType& type);                 // as in GGUF: "F32", "Q4_K"
std::optional<TensorType> tensor_type(std::string_view name);  // upper or lower case
std::uint32_t number_in_gguf(const TensorType& type);
// Of a row of so many elements; nothing if they are no whole blocks.
std::optional<index_t> bytes_of_row(const TensorType& type, index_t cols);

// Memory of the file. `extents` in the order of views, the last one contiguous (files have the reverse).
struct Tensor {
  TensorType type{};
  std::vector<index_t> extents{};
  const std::byte* data = nullptr;
  index_t bytes = 0;

  std::string shape() const;  // "256 x 512"
};

class Gguf {
 public:
  // Maps the file. Throws std::runtime_error that says what is wrong: a file that is not there, is cut off, is none of GGUF.
  explicit Gguf(const std::filesystem::path& path);
  ~Gguf();
  Gguf(const Gguf&) = delete;
  Gguf& operator=(const Gguf&) = delete;

  bool has(const std::string& key) const { return values_.contains(key); }
  // Values of a key that must be there, of any integer or float type, or that has a default. Throw std::runtime_error.
  index_t integer(const std::string& key) const;
  index_t integer(const std::string& key, index_t otherwise) const;
  double number(const std::string& key) const;
  double number(const std::string& key, double otherwise) const;
  bool flag(const std::string& key, bool otherwise) const;
  std::string_view text(const std::string& key) const;
  std::string_view text(const std::string& key, std::string_view otherwise) const;
  std::vector<std::string_view> texts(const std::string& key) const;
  std::vector<double> numbers(const std::string& key) const;

  // Null if there is none of that name.
  const Tensor* find(const std::string& name) const;
  // Throws if there is none, or it has other extents.
  const Tensor& tensor(const std::string& name, std::span<const index_t> extents) const;

  // Of all tensors.
  std::span<const std::byte> data() const { return data_; }

 private:
  struct Array {
    std::vector<double> numbers{};
    std::vector<std::string_view> texts{};
  };
  using Value = std::variant<index_t, double, bool, std::string_view, Array>;

  class Reader;
  const Value& value(const std::string& key) const;
  template <class T>
  const T& value_of(const std::string& key, const char* kind) const;
  void read(std::span<const std::byte> file);
  [[noreturn]] void fail(const std::string& what) const;

  std::string path_{};
  void* map_ = nullptr;
  std::size_t map_bytes_ = 0;
  std::map<std::string, Value> values_{};
  std::map<std::string, Tensor> tensors_{};
  std::span<const std::byte> data_{};
};

}  // namespace transformer

#endif  // TESSERA_EXAMPLES_TRANSFORMER_GGUF_H_
