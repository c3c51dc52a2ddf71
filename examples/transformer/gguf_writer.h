// SPDX-License-Identifier: Apache-2.0
// Writes files of GGUF.
#ifndef TESSERA_EXAMPLES_TRANSFORMER_GGUF_WRITER_H_
#define TESSERA_EXAMPLES_TRANSFORMER_GGUF_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf.h"

namespace transformer {

class GgufWriter {
 public:
  void add(const std::string& key, std::uint32_t value);
  void add(const std::string& key, float value);
  void add(const std::string& key, bool value);
  void add(const std::string& key, std::string_view value);
  void add(const std::string& key, std::span<const std::string> values);
  void add(const std::string& key, std::span<const float> values);
  void add(const std::string& key, std::span<const std::int32_t> values);

  // `fill` is called by write(), for one tensor at a time, with the memory of it.
  using Fill = std::function<void(std::byte* data)>;
  void add_tensor(const std::string& name, const TensorType& type, std::vector<index_t> extents,
                  Fill fill);

  // Calls `progress` with the name of each tensor before it is filled. Throws std::runtime_error.
  void write(const std::filesystem::path& path,
             const std::function<void(const std::string&)>& progress) const;

  std::size_t tensors() const { return tensors_.size(); }

 private:
  struct Entry {
    std::string name;
    Tensor tensor;
    Fill fill;
  };

  void start(const std::string& key, GgufType type);
  void start_array(const std::string& key, GgufType type, std::size_t length);

  std::string values_{};
  std::uint64_t count_ = 0;
  std::vector<Entry> tensors_{};
};

}  // namespace transformer

#endif  // TESSERA_EXAMPLES_TRANSFORMER_GGUF_WRITER_H_
