// SPDX-License-Identifier: Apache-2.0
// Model files of TensorFlow.js: a manifest in JSON beside shards of bytes, in which the tensors lie one after the other
// as floats, or as integers of 8 or 16 bits with a scale and a minimum.
#ifndef TESSERA_EXAMPLES_TFJS_MODEL_H_
#define TESSERA_EXAMPLES_TFJS_MODEL_H_

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "tessera/core/dtype.h"

namespace tfjs {

// A value of JSON, with what a manifest needs: no surrogate pairs, no number beyond a double.
struct Json {
  enum class Kind : std::uint8_t { kNull, kBool, kNumber, kString, kArray, kObject };
  static constexpr const char* kNames[] = {"null",     "a bool",   "a number",
                                           "a string", "an array", "an object"};

  Kind kind = Kind::kNull;
  double number = 0;  // a bool is 0 or 1
  std::string text{};
  std::vector<Json> items{};        // of an array, or the values of an object
  std::vector<std::string> keys{};  // of an object

  const Json* find(std::string_view key) const {
    const auto at = std::find(keys.begin(), keys.end(), key);
    return at == keys.end() ? nullptr : &items[static_cast<std::size_t>(at - keys.begin())];
  }
  const Json& as(Kind expected, std::string_view what) const {
    if (kind == expected) return *this;
    throw std::runtime_error(std::string(what) + ": expected " +
                             kNames[static_cast<int>(expected)] + ", got " +
                             kNames[static_cast<int>(kind)]);
  }
  // A member that must be there, and of that kind.
  const Json& at(std::string_view key, Kind expected) const {
    const Json* const value = find(key);
    if (value == nullptr) throw std::runtime_error("an object lacks \"" + std::string(key) + "\"");
    return value->as(expected, key);
  }
};

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

  Json read() {
    Json json = value(0);
    peek();
    if (at_ < text_.size()) fail("nothing more");
    return json;
  }

 private:
  static constexpr int kMostDepth = 64;

  [[noreturn]] void fail(const std::string& expected) const {
    const auto line =
        1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n');
    throw std::runtime_error("line " + std::to_string(line) + ": expected " + expected);
  }
  // The next character that is no white space, 0 at the end.
  char peek() {
    at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size());
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    const bool is = peek() == c;
    at_ += is ? 1 : 0;
    return is;
  }
  void need(char c) {
    if (!take(c)) fail(std::string("\"") + c + "\"");
  }

  Json value(int depth) {
    if (depth > kMostDepth) fail("fewer levels");
    const char c = peek();
    Json json;
    if (c == '"') {
      json.kind = Json::Kind::kString;
      json.text = string();
    } else if (c == '{' || c == '[') {
      const bool object = c == '{';
      const char close = object ? '}' : ']';
      json.kind = object ? Json::Kind::kObject : Json::Kind::kArray;
      ++at_;
      if (take(close)) return json;
      do {
        if (object) {
          json.keys.push_back(string());
          need(':');
        }
        json.items.push_back(value(depth + 1));
      } while (take(','));
      need(close);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
      json.kind = Json::Kind::kNumber;
      const char* const end = text_.data() + text_.size();
      const auto [stop, error] = std::from_chars(text_.data() + at_, end, json.number);
      if (error != std::errc() || !std::isfinite(json.number)) fail("a number");
      at_ = static_cast<std::size_t>(stop - text_.data());
    } else if (word("true") || word("false")) {
      json.kind = Json::Kind::kBool;
      json.number = c == 't';
    } else if (!word("null")) {
      fail("a value");
    }
    return json;
  }

  bool word(std::string_view w) {
    const bool is = text_.substr(at_).starts_with(w);
    at_ += is ? w.size() : 0;
    return is;
  }

  std::string string() {
    need('"');
    std::string s;
    while (at_ < text_.size() && text_[at_] != '"') {
      const char c = text_[at_++];
      if (c != '\\') {
        s += c;
        continue;
      }
      constexpr std::string_view kEscapes = "\"\\/bfnrt", kMeaning = "\"\\/\b\f\n\r\t";
      const char escape = at_ < text_.size() ? text_[at_++] : '\0';
      if (const std::size_t i = kEscapes.find(escape); i < kEscapes.size()) {
        s += kMeaning[i];
      } else if (escape == 'u') {
        append_utf8(s);
      } else {
        fail("an escape sequence");
      }
    }
    if (at_ == text_.size()) fail("the end of a string");
    ++at_;
    return s;
  }

  void append_utf8(std::string& s) {
    unsigned code = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [stop, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (error != std::errc() || stop != digits.data() + 4 || (code >= 0xd800 && code < 0xe000)) {
      fail("four hexadecimal digits, no surrogate");
    }
    at_ += 4;
    if (code < 0x80) {
      s += static_cast<char>(code);
      return;
    }
    if (code < 0x800) {
      s += static_cast<char>(0xc0 | code >> 6);
    } else {
      s += static_cast<char>(0xe0 | code >> 12);
      s += static_cast<char>(0x80 | (code >> 6 & 63));
    }
    s += static_cast<char>(0x80 | (code & 63));
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

using Bytes = std::vector<std::uint8_t>;

inline Bytes read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path)) {
    throw std::runtime_error("cannot read " + path.string());
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::uint32_t little_endian(const std::uint8_t* bytes, int count) {
  std::uint32_t word = 0;
  for (int i = 0; i < count; ++i) word |= std::uint32_t{bytes[i]} << 8 * i;
  return word;
}

// A tensor, the last axis the fastest. Integers that are not quantized come as numbers, too.
struct Tensor {
  std::string name, dtype;
  std::vector<std::ptrdiff_t> shape{};
  bool is_affine = false;  // stored as integers with a scale and a minimum
  std::vector<float> values{};
};

// How a tensor lies in its shards.
struct Stored {
  std::size_t bytes = 4;
  bool is_f16 = false, is_affine = false, is_integer = false;
  double scale = 1, min = 0;

  float value(const std::uint8_t* from) const {
    const std::uint32_t bits = little_endian(from, static_cast<int>(bytes));
    if (is_f16) {
      return static_cast<float>(tessera::f16::from_bits(static_cast<std::uint16_t>(bits)));
    }
    if (is_affine) return static_cast<float>(std::fma(scale, bits, min));
    return is_integer ? static_cast<float>(static_cast<std::int32_t>(bits))
                      : std::bit_cast<float>(bits);
  }
};

inline Stored storage(const Json& weight) {
  const std::string& dtype = weight.at("dtype", Json::Kind::kString).text;
  const Json* const quantization = weight.find("quantization");
  if (quantization == nullptr) {
    if (dtype == "float32") return {};
    if (dtype == "int32") return {.is_integer = true};
    if (dtype == "bool" || dtype == "uint8") return {.bytes = 1, .is_integer = true};
    throw std::runtime_error("dtype \"" + dtype + "\" is not supported");
  }
  const std::string& code = quantization->at("dtype", Json::Kind::kString).text;
  if (code == "float16") return {.bytes = 2, .is_f16 = true};
  if (code != "uint8" && code != "uint16") {
    throw std::runtime_error("quantization \"" + code + "\" is not supported");
  }
  return {.bytes = code == "uint8" ? 1u : 2u,
          .is_affine = true,
          .scale = quantization->at("scale", Json::Kind::kNumber).number,
          .min = quantization->at("min", Json::Kind::kNumber).number};
}

// All tensors of a manifest, in its order.
inline std::vector<Tensor> read_model(const std::filesystem::path& path) {
  const Bytes bytes = read_file(path);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<Tensor> tensors;
  try {
    const Json manifest = JsonReader(text).read();
    for (const Json& group : manifest.as(Json::Kind::kArray, "a manifest").items) {
      Bytes data;
      for (const Json& shard :
           group.as(Json::Kind::kObject, "a group").at("paths", Json::Kind::kArray).items) {
        const Bytes part =
            read_file(path.parent_path() / shard.as(Json::Kind::kString, "a path").text);
        data.insert(data.end(), part.begin(), part.end());
      }
      std::size_t at = 0;
      for (const Json& weight : group.at("weights", Json::Kind::kArray).items) {
        Tensor tensor{
            .name = weight.as(Json::Kind::kObject, "a weight").at("name", Json::Kind::kString).text,
            .dtype = weight.at("dtype", Json::Kind::kString).text};
        const Stored stored = storage(weight);
        tensor.is_affine = stored.is_affine;
        double count = 1;
        for (const Json& extent : weight.at("shape", Json::Kind::kArray).items) {
          const double e = extent.as(Json::Kind::kNumber, tensor.name + ": an extent").number;
          if (e < 0 || e != std::floor(e)) {
            throw std::runtime_error(tensor.name + ": an extent is no whole number");
          }
          count *= e;
          tensor.shape.push_back(static_cast<std::ptrdiff_t>(std::min(e, 1e15)));
        }
        if (count * static_cast<double>(stored.bytes) > static_cast<double>(data.size() - at)) {
          throw std::runtime_error("the shards end within " + tensor.name);
        }
        tensor.values.resize(static_cast<std::size_t>(count));
        for (float& value : tensor.values) {
          value = stored.value(data.data() + at);
          at += stored.bytes;
        }
        tensors.push_back(std::move(tensor));
      }
      if (at != data.size()) {
        throw std::runtime_error("the shards have " + std::to_string(data.size() - at) +
                                 " bytes too many");
      }
    }
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(path.string() + ": " + error.what());
  }
  return tensors;
}

}  // namespace tfjs

#endif  // TESSERA_EXAMPLES_TFJS_MODEL_H_
