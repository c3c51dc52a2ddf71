// SPDX-License-Identifier: Apache-2.0
#include "buffer.h"

#include <cstdlib>
#include <cstring>
#include <exception>

#include "ggml_abi.h"
#include "weights.h"

namespace ggml_port {
namespace {

constexpr std::size_t kAlignment = 64;

struct Memory {
  std::byte* data;
  bool owned;
  WeightStore weights{};

  ~Memory() {
    if (owned) std::free(data);
  }
};

Memory& memory(ggml_backend_buffer_t buffer) { return *static_cast<Memory*>(buffer->context); }
std::byte* place(const ggml_tensor* t, std::size_t offset) { return bytes(*t) + offset; }

bool copy_tensor(ggml_backend_buffer_t buffer, const ggml_tensor* from, ggml_tensor* to) {
  const ggml_backend_buffer_t source =
      from->view_src != nullptr ? from->view_src->buffer : from->buffer;
  if (!ggml_backend_buffer_is_host(source)) return false;
  memory(buffer).weights.forget(bytes(*to), ggml_nbytes(to));
  std::memcpy(to->data, from->data, ggml_nbytes(from));
  return true;
}

const BufferTable kBufferTable = {
    .free_buffer = [](ggml_backend_buffer_t b) { delete &memory(b); },
    .get_base = [](ggml_backend_buffer_t b) -> void* { return memory(b).data; },
    .init_tensor = nullptr,
    .memset_tensor =
        [](ggml_backend_buffer_t b, ggml_tensor* t, std::uint8_t value, std::size_t offset,
           std::size_t size) {
          memory(b).weights.forget(place(t, offset), size);
          std::memset(place(t, offset), value, size);
        },
    .set_tensor =
        [](ggml_backend_buffer_t b, ggml_tensor* t, const void* data, std::size_t offset,
           std::size_t size) {
          memory(b).weights.forget(place(t, offset), size);
          std::memcpy(place(t, offset), data, size);
        },
    .get_tensor = [](ggml_backend_buffer_t, const ggml_tensor* t, void* data, std::size_t offset,
                     std::size_t size) { std::memcpy(data, place(t, offset), size); },
    .set_tensor_2d = nullptr,
    .get_tensor_2d = nullptr,
    .cpy_tensor = copy_tensor,
    .clear =
        [](ggml_backend_buffer_t b, std::uint8_t value) {
          memory(b).weights.forget(memory(b).data, b->size);
          std::memset(memory(b).data, value, b->size);
        },
    .reset = [](ggml_backend_buffer_t b) { memory(b).weights.forget(memory(b).data, b->size); },
};

ggml_backend_buffer_t new_buffer(ggml_backend_buffer_type_t type, void* data, std::size_t size,
                                 bool owned) {
  if (data == nullptr) return nullptr;
  try {
    return ggml_backend_buffer_init(type, kBufferTable,
                                    new Memory{static_cast<std::byte*>(data), owned}, size);
  } catch (const std::exception&) {
    if (owned) std::free(data);
    return nullptr;
  }
}

ggml_backend_buffer_t allocate(ggml_backend_buffer_type_t type, std::size_t size) {
  if (size > SIZE_MAX - kAlignment) return nullptr;
  return new_buffer(type,
                    std::aligned_alloc(kAlignment, (size + kAlignment) / kAlignment * kAlignment),
                    size, true);
}

}  // namespace

ggml_backend_buffer_type_t buffer_type(ggml_backend_dev_t device) {
  static ggml_backend_buffer_type type = {
      .table = {.get_name = [](ggml_backend_buffer_type_t) { return "Tessera"; },
                .alloc_buffer = allocate,
                .alloc_buffer_n = nullptr,
                .get_alignment = [](ggml_backend_buffer_type_t) { return kAlignment; },
                .get_max_size = nullptr,
                .get_alloc_size = nullptr,
                .get_alloc_size_n = nullptr,
                .is_host = [](ggml_backend_buffer_type_t) { return true; }},
      .device = device,
      .context = nullptr};
  return &type;
}

ggml_backend_buffer_t buffer_of(ggml_backend_dev_t device, void* data, std::size_t size) {
  return new_buffer(buffer_type(device), data, size, false);
}

WeightStore* weight_store(const ggml_tensor& tensor) {
  const ggml_tensor& whole = tensor.view_src != nullptr ? *tensor.view_src : tensor;
  const ggml_backend_buffer_t buffer = whole.buffer;
  if (buffer == nullptr || whole.op != GGML_OP_NONE ||
      buffer->usage != GGML_BACKEND_BUFFER_USAGE_WEIGHTS)
    return nullptr;
  if (buffer->table.set_tensor != kBufferTable.set_tensor) return nullptr;
  return &memory(buffer).weights;
}

}  // namespace ggml_port
