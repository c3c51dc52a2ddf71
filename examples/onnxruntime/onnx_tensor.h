// SPDX-License-Identifier: Apache-2.0
// Tensors from files of protocol buffers, the messages TensorProto of ONNX.
#ifndef TESSERA_EXAMPLES_ONNXRUNTIME_ONNX_TENSOR_H_
#define TESSERA_EXAMPLES_ONNXRUNTIME_ONNX_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace tessera::ort {

struct OnnxTensor {
  std::vector<std::int64_t> shape;
  int type = 0;  // of TensorProto.DataType, which ONNX Runtime shares
  std::vector<std::byte> bytes;

  std::size_t count() const {
    std::size_t product = 1;
    for (const std::int64_t extent : shape) product *= static_cast<std::size_t>(extent);
    return product;
  }
};

// The fields of a message, one after the other.
class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  struct Field {
    int number = 0;
    std::uint64_t value = 0;           // of numbers
    std::span<const std::byte> bytes;  // of strings, messages and packed numbers
  };

  // None at the end, and where the bytes are no message.
  std::optional<Field> next() {
    if (bytes_.empty()) return {};
    const std::uint64_t key = varint();
    Field field{static_cast<int>(key >> 3), 0, {}};
    switch (key & 7) {
      case 0:
        field.value = varint();
        return field;
      case 1:
        return fixed(field, 8);
      case 2:
        field.bytes = take(static_cast<std::size_t>(varint()));
        return field;
      case 5:
        return fixed(field, 4);
      default:
        return {};
    }
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64 && !bytes_.empty(); shift += 7) {
      const auto byte = static_cast<std::uint64_t>(bytes_[0]);
      bytes_ = bytes_.subspan(1);
      value |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    return value;
  }
  bool is_at_end() const { return bytes_.empty(); }

 private:
  std::span<const std::byte> take(std::size_t count) {
    const auto taken = bytes_.first(count < bytes_.size() ? count : bytes_.size());
    bytes_ = bytes_.subspan(taken.size());
    return taken;
  }
  Field fixed(Field field, std::size_t count) {
    const auto taken = take(count);
    std::memcpy(&field.value, taken.data(), taken.size());
    return field;
  }

  std::span<const std::byte> bytes_;
};

namespace detail {

template <class T>
void append(std::vector<std::byte>& to, T value) {
  const std::size_t at = to.size();
  to.resize(at + sizeof value);
  std::memcpy(to.data() + at, &value, sizeof value);
}

// A number of int32_data or int64_data as an element.
inline void append_integer(std::vector<std::byte>& to, int type, std::uint64_t value) {
  switch (type) {
    case 2:  // u8
    case 3:  // s8
    case 9:  // bool
      return append(to, static_cast<std::uint8_t>(value));
    case 4:   // u16
    case 5:   // s16
    case 10:  // f16
    case 16:  // bf16
      return append(to, static_cast<std::uint16_t>(value));
    case 7:  // s64
      return append(to, value);
    default:
      return append(to, static_cast<std::uint32_t>(value));
  }
}

}  // namespace detail

inline std::optional<OnnxTensor> read_onnx_tensor(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return {};
  const std::vector<char> memory(std::istreambuf_iterator<char>(file), {});
  const auto message = std::as_bytes(std::span(memory));
  OnnxTensor tensor;
  // The type first: it says how numbers are stored.
  for (WireReader reader(message); const auto field = reader.next();) {
    if (field->number == 2) tensor.type = static_cast<int>(field->value);
  }
  for (WireReader reader(message); const auto field = reader.next();) {
    if (field->number == 1) {  // dims
      if (field->bytes.empty()) tensor.shape.push_back(static_cast<std::int64_t>(field->value));
      for (WireReader dims(field->bytes); !dims.is_at_end();) {
        tensor.shape.push_back(static_cast<std::int64_t>(dims.varint()));
      }
    } else if (field->number == 9 || field->number == 4) {  // raw_data, float_data
      tensor.bytes.insert(tensor.bytes.end(), field->bytes.begin(), field->bytes.end());
    } else if (field->number == 5 || field->number == 7) {  // int32_data, int64_data
      for (WireReader values(field->bytes); !values.is_at_end();) {
        detail::append_integer(tensor.bytes, tensor.type, values.varint());
      }
    }
  }
  if (tensor.type == 0) return {};
  return tensor;
}

}  // namespace tessera::ort

#endif  // TESSERA_EXAMPLES_ONNXRUNTIME_ONNX_TENSOR_H_
