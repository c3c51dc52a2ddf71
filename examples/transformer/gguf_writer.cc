// SPDX-License-Identifier: Apache-2.0
#include "gguf_writer.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <utility>

namespace transformer {
namespace {

constexpr std::size_t kAlignment = 32;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

template <class T>
void put(std::string& to, T x) {
  to.append(reinterpret_cast<const char*>(&x), sizeof(x));  // little-endian, as all our targets
}
void put_text(std::string& to, std::string_view text) {
  put(to, std::uint64_t{text.size()});
  to.append(text);
}

}  // namespace

void GgufWriter::start(const std::string& key, GgufType type) {
  ++count_;
  put_text(values_, key);
  put(values_, static_cast<std::uint32_t>(type));
}

void GgufWriter::start_array(const std::string& key, GgufType type, std::size_t length) {
  start(key, GgufType::kArray);
  put(values_, static_cast<std::uint32_t>(type));
  put(values_, std::uint64_t{length});
}

void GgufWriter::add(const std::string& key, std::uint32_t value) {
  start(key, GgufType::kU32);
  put(values_, value);
}
void GgufWriter::add(const std::string& key, float value) {
  start(key, GgufType::kF32);
  put(values_, value);
}
void GgufWriter::add(const std::string& key, bool value) {
  start(key, GgufType::kBool);
  put(values_, static_cast<std::uint8_t>(value));
}
void GgufWriter::add(const std::string& key, std::string_view value) {
  start(key, GgufType::kString);
  put_text(values_, value);
}
void GgufWriter::add(const std::string& key, std::span<const std::string> values) {
  start_array(key, GgufType::kString, values.size());
  for (const std::string& value : values) put_text(values_, value);
}
void GgufWriter::add(const std::string& key, std::span<const float> values) {
  start_array(key, GgufType::kF32, values.size());
  for (const float value : values) put(values_, value);
}
void GgufWriter::add(const std::string& key, std::span<const std::int32_t> values) {
  start_array(key, GgufType::kS32, values.size());
  for (const std::int32_t value : values) put(values_, value);
}

void GgufWriter::add_tensor(const std::string& name, const TensorType& type,
                            std::vector<index_t> extents, Fill fill) {
  index_t rows = 1;
  for (std::size_t axis = 0; axis + 1 < extents.size(); ++axis) rows *= extents[axis];
  const index_t bytes = rows * bytes_of_row(type, extents.back()).value();
  tensors_.push_back({name, {type, std::move(extents), nullptr, bytes}, std::move(fill)});
}

void GgufWriter::write(const std::filesystem::path& path,
                       const std::function<void(const std::string&)>& progress) const {
  std::string header = "GGUF";
  put(header, kGgufVersion);
  put(header, std::uint64_t{tensors_.size()});
  put(header, count_);
  header += values_;
  std::uint64_t offset = 0;
  for (const Entry& entry : tensors_) {
    put_text(header, entry.name);
    const std::vector<index_t>& extents = entry.tensor.extents;
    put(header, static_cast<std::uint32_t>(extents.size()));
    for (auto e = extents.rbegin(); e != extents.rend(); ++e)
      put(header, static_cast<std::uint64_t>(*e));
    put(header, number_in_gguf(entry.tensor.type));
    put(header, offset);
    offset += aligned(static_cast<std::size_t>(entry.tensor.bytes));
  }
  header.resize(aligned(header.size()));

  std::ofstream file(path, std::ios::binary);
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  std::vector<std::byte> bytes;
  for (const Entry& entry : tensors_) {
    progress(entry.name);
    bytes.assign(aligned(static_cast<std::size_t>(entry.tensor.bytes)), std::byte{});
    entry.fill(bytes.data());
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  file.close();
  if (!file) throw std::runtime_error(path.string() + ": " + std::strerror(errno));
}

}  // namespace transformer
