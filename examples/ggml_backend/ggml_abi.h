// SPDX-License-Identifier: Apache-2.0
// What a dynamic backend of ggml 0.27 is made of: tables of functions that ggml calls through, in the order in which it has
// them. ggml's installed headers declare these types without saying what is in them. Another version may have other tables,
// hence is_known_ggml().
#ifndef TESSERA_EXAMPLES_GGML_BACKEND_GGML_ABI_H_
#define TESSERA_EXAMPLES_GGML_BACKEND_GGML_ABI_H_

#include <ggml-backend.h>
#include <ggml.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ggml_port {

inline constexpr int kBackendApiVersion = 3;
inline constexpr std::string_view kGgmlVersion = "0.27.";

inline bool is_known_ggml() { return std::string_view(ggml_version()).starts_with(kGgmlVersion); }

}  // namespace ggml_port

// Kinds of buffers. Null where "optional" is said: ggml does what is said there.
struct BufferTypeTable {
  const char* (*get_name)(ggml_backend_buffer_type_t);
  ggml_backend_buffer_t (*alloc_buffer)(ggml_backend_buffer_type_t, std::size_t size);
  ggml_backend_buffer_t (*alloc_buffer_n)(ggml_backend_buffer_type_t, ggml_tensor**,
                                          int n);  // optional
  std::size_t (*get_alignment)(ggml_backend_buffer_type_t);
  std::size_t (*get_max_size)(ggml_backend_buffer_type_t);  // optional: any
  std::size_t (*get_alloc_size)(ggml_backend_buffer_type_t,
                                const ggml_tensor*);  // optional: ggml_nbytes
  std::size_t (*get_alloc_size_n)(ggml_backend_buffer_type_t, ggml_tensor**, int n);  // optional
  bool (*is_host)(
      ggml_backend_buffer_type_t);  // optional: no. Whether the CPU may read it as any tensor
};

struct ggml_backend_buffer_type {
  BufferTypeTable table;
  ggml_backend_dev_t device;
  void* context;
};

struct BufferTable {
  void (*free_buffer)(ggml_backend_buffer_t);
  void* (*get_base)(ggml_backend_buffer_t);
  ggml_status (*init_tensor)(ggml_backend_buffer_t, ggml_tensor*);  // optional
  void (*memset_tensor)(ggml_backend_buffer_t, ggml_tensor*, std::uint8_t value, std::size_t offset,
                        std::size_t size);
  void (*set_tensor)(ggml_backend_buffer_t, ggml_tensor*, const void*, std::size_t offset,
                     std::size_t size);
  void (*get_tensor)(ggml_backend_buffer_t, const ggml_tensor*, void*, std::size_t offset,
                     std::size_t size);
  // Optional: several pieces, each so many bytes behind the one before.
  void (*set_tensor_2d)(ggml_backend_buffer_t, ggml_tensor*, const void*, std::size_t offset,
                        std::size_t size, std::size_t pieces, std::size_t tensor_step,
                        std::size_t data_step);
  void (*get_tensor_2d)(ggml_backend_buffer_t, const ggml_tensor*, void*, std::size_t offset,
                        std::size_t size, std::size_t pieces, std::size_t tensor_step,
                        std::size_t data_step);
  bool (*cpy_tensor)(ggml_backend_buffer_t, const ggml_tensor* from, ggml_tensor* to);  // optional
  void (*clear)(ggml_backend_buffer_t, std::uint8_t value);
  void (*reset)(ggml_backend_buffer_t);  // optional
};

struct ggml_backend_buffer {
  BufferTable table;
  ggml_backend_buffer_type_t type;
  void* context;
  std::size_t size;
  ggml_backend_buffer_usage usage;
};

extern "C" ggml_backend_buffer_t ggml_backend_buffer_init(ggml_backend_buffer_type_t type,
                                                          BufferTable table, void* context,
                                                          std::size_t size);

// What runs graphs. All but the name, free and graph_compute are optional.
struct BackendTable {
  const char* (*get_name)(ggml_backend_t);
  void (*free)(ggml_backend_t);
  void (*set_tensor_async)(ggml_backend_t, ggml_tensor*, const void*, std::size_t offset,
                           std::size_t size);
  void (*get_tensor_async)(ggml_backend_t, const ggml_tensor*, void*, std::size_t offset,
                           std::size_t size);
  void (*set_tensor_2d_async)(ggml_backend_t, ggml_tensor*, const void*, std::size_t, std::size_t,
                              std::size_t, std::size_t, std::size_t);
  void (*get_tensor_2d_async)(ggml_backend_t, const ggml_tensor*, void*, std::size_t, std::size_t,
                              std::size_t, std::size_t, std::size_t);
  bool (*cpy_tensor_async)(ggml_backend_t from, ggml_backend_t to, const ggml_tensor*,
                           ggml_tensor*);
  void (*synchronize)(ggml_backend_t);
  ggml_backend_graph_plan_t (*graph_plan_create)(ggml_backend_t, const ggml_cgraph*);
  void (*graph_plan_free)(ggml_backend_t, ggml_backend_graph_plan_t);
  void (*graph_plan_update)(ggml_backend_t, ggml_backend_graph_plan_t, const ggml_cgraph*);
  ggml_status (*graph_plan_compute)(ggml_backend_t, ggml_backend_graph_plan_t);
  ggml_status (*graph_compute)(ggml_backend_t, ggml_cgraph*);
  void (*event_record)(ggml_backend_t, ggml_backend_event_t);
  void (*event_wait)(ggml_backend_t, ggml_backend_event_t);
  void (*graph_optimize)(ggml_backend_t, ggml_cgraph*);
};

struct ggml_backend {
  ggml_guid_t guid;
  BackendTable table;
  ggml_backend_dev_t device;
  void* context;
};

struct DeviceTable {
  const char* (*get_name)(ggml_backend_dev_t);
  const char* (*get_description)(ggml_backend_dev_t);
  void (*get_memory)(ggml_backend_dev_t, std::size_t* free, std::size_t* total);
  enum ggml_backend_dev_type (*get_type)(ggml_backend_dev_t);
  void (*get_props)(ggml_backend_dev_t, ggml_backend_dev_props*);
  ggml_backend_t (*init_backend)(ggml_backend_dev_t, const char* params);
  ggml_backend_buffer_type_t (*get_buffer_type)(ggml_backend_dev_t);
  ggml_backend_buffer_type_t (*get_host_buffer_type)(ggml_backend_dev_t);  // optional
  ggml_backend_buffer_t (*buffer_from_host_ptr)(ggml_backend_dev_t, void*, std::size_t size,
                                                std::size_t max_tensor_size);
  bool (*supports_op)(ggml_backend_dev_t, const ggml_tensor*);
  bool (*supports_buft)(ggml_backend_dev_t, ggml_backend_buffer_type_t);
  bool (*offload_op)(ggml_backend_dev_t, const ggml_tensor*);  // optional: no
  ggml_backend_event_t (*event_new)(ggml_backend_dev_t);       // optional, as the next two
  void (*event_free)(ggml_backend_dev_t, ggml_backend_event_t);
  void (*event_synchronize)(ggml_backend_dev_t, ggml_backend_event_t);
};

struct ggml_backend_device {
  DeviceTable table;
  ggml_backend_reg_t reg;
  void* context;
};

// What the library hands over when it is loaded.
struct RegTable {
  const char* (*get_name)(ggml_backend_reg_t);
  std::size_t (*get_device_count)(ggml_backend_reg_t);
  ggml_backend_dev_t (*get_device)(ggml_backend_reg_t, std::size_t index);
  void* (*get_proc_address)(ggml_backend_reg_t, const char* name);
};

struct ggml_backend_reg {
  int api_version;
  RegTable table;
  void* context;
};

static_assert(sizeof(BufferTypeTable) == 8 * sizeof(void*) &&
              sizeof(BufferTable) == 11 * sizeof(void*));
static_assert(sizeof(BackendTable) == 16 * sizeof(void*) &&
              sizeof(DeviceTable) == 15 * sizeof(void*));

#endif  // TESSERA_EXAMPLES_GGML_BACKEND_GGML_ABI_H_
