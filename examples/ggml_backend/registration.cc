// SPDX-License-Identifier: Apache-2.0
// The library as ggml sees it: a registration with one device, beside the CPU's and before it.
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <exception>

#include "buffer.h"
#include "ggml_abi.h"
#include "ops.h"
#include "run.h"
#include "tessera/core/isa.h"
#include "tessera/dispatch/dispatch.h"

namespace ggml_port {
namespace {

ggml_backend_reg* registration();
ggml_backend_device* device();

Run& run_of(ggml_backend_t backend) { return *static_cast<Run*>(backend->context); }

const char* name() { return "Tessera"; }

ggml_guid_t guid() {
  static ggml_guid id = {0x74, 0x65, 0x73, 0x73, 0x65, 0x72, 0x61, 0x2d,
                         0x67, 0x67, 0x6d, 0x6c, 0x2d, 0x30, 0x32, 0x37};
  return &id;
}

const BackendTable kBackendTable = {
    .get_name = [](ggml_backend_t) { return name(); },
    .free =
        [](ggml_backend_t b) {
          delete &run_of(b);
          delete b;
        },
    .set_tensor_async = nullptr,
    .get_tensor_async = nullptr,
    .set_tensor_2d_async = nullptr,
    .get_tensor_2d_async = nullptr,
    .cpy_tensor_async = nullptr,
    .synchronize = nullptr,
    .graph_plan_create = nullptr,
    .graph_plan_free = nullptr,
    .graph_plan_update = nullptr,
    .graph_plan_compute = nullptr,
    .graph_compute = [](ggml_backend_t b, ggml_cgraph* graph) { return run_of(b).compute(graph); },
    .event_record = nullptr,
    .event_wait = nullptr,
    .graph_optimize = nullptr,
};

ggml_backend_t new_backend(ggml_backend_dev_t of, const char*) {
  try {
    auto run = std::make_unique<Run>();
    auto* const backend = new ggml_backend{guid(), kBackendTable, of, run.get()};
    static_cast<void>(run.release());
    return backend;
  } catch (const std::exception&) {
    return nullptr;
  }
}

// All is free, as ggml's CPU has it: what the system needs of it is its own affair.
void memory_of_machine(std::size_t* free, std::size_t* total) {
  *free = *total = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) *
                   static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

void properties(ggml_backend_dev_t, ggml_backend_dev_props* p) {
  *p = {};
  p->name = name();
  p->description = "Tessera's kernels";
  p->type = GGML_BACKEND_DEVICE_TYPE_IGPU;
  memory_of_machine(&p->memory_free, &p->memory_total);
  p->caps.buffer_from_host_ptr = true;
  p->caps.mmap_support = true;
}

bool supports(ggml_backend_dev_t, const ggml_tensor* t) {
  const Op* const op = find_op(t->op);
  return op != nullptr && op->supports(*t);
}

ggml_backend_device* device() {
  static ggml_backend_device d = {
      .table = {.get_name = [](ggml_backend_dev_t) { return name(); },
                .get_description = [](ggml_backend_dev_t) { return "Tessera's kernels"; },
                .get_memory = [](ggml_backend_dev_t, std::size_t* free,
                                 std::size_t* total) { memory_of_machine(free, total); },
                .get_type = [](ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_IGPU; },
                .get_props = properties,
                .init_backend = new_backend,
                .get_buffer_type = [](ggml_backend_dev_t dev) { return buffer_type(dev); },
                .get_host_buffer_type = nullptr,
                .buffer_from_host_ptr = [](ggml_backend_dev_t dev, void* memory, std::size_t size,
                                           std::size_t) { return buffer_of(dev, memory, size); },
                .supports_op = supports,
                .supports_buft =
                    [](ggml_backend_dev_t, ggml_backend_buffer_type_t type) {
                      return ggml_backend_buft_is_host(type);
                    },
                .offload_op = nullptr,
                .event_new = nullptr,
                .event_free = nullptr,
                .event_synchronize = nullptr},
      .reg = registration(),
      .context = nullptr};
  return &d;
}

bool is_ours(ggml_backend_t backend) {
  return backend != nullptr && backend->table.graph_compute == kBackendTable.graph_compute;
}

// Functions that ggml's programs ask for by name.
void set_n_threads(ggml_backend_t backend, int threads) {
  if (is_ours(backend)) run_of(backend).set_threads(threads);
}
void set_abort_callback(ggml_backend_t backend, ggml_abort_callback callback, void* data) {
  if (is_ours(backend)) run_of(backend).set_abort(callback, data);
}

void* find_function(ggml_backend_reg_t, const char* wanted) {
  if (std::strcmp(wanted, "ggml_backend_set_n_threads") == 0)
    return reinterpret_cast<void*>(&set_n_threads);
  if (std::strcmp(wanted, "ggml_backend_set_abort_callback") == 0)
    return reinterpret_cast<void*>(&set_abort_callback);
  return nullptr;
}

ggml_backend_reg* registration() {
  static ggml_backend_reg r = {
      .api_version = kBackendApiVersion,
      .table = {.get_name = [](ggml_backend_reg_t) { return name(); },
                .get_device_count = [](ggml_backend_reg_t) -> std::size_t { return 1; },
                .get_device = [](ggml_backend_reg_t,
                                 std::size_t i) { return i == 0 ? device() : nullptr; },
                .get_proc_address = find_function},
      .context = nullptr};
  return &r;
}

}  // namespace
}  // namespace ggml_port

namespace {

bool is_usable() {
  if (ggml_port::is_known_ggml()) return true;
  std::fprintf(stderr, "ggml-tessera: expected ggml %sx, got %s\n", ggml_port::kGgmlVersion.data(),
               ggml_version());
  return false;
}

}  // namespace

extern "C" {

// How good the library is for this machine, among those of one name. 0: not at all.
__attribute__((visibility("default"))) int ggml_backend_score() { return is_usable() ? 1000 : 0; }

__attribute__((visibility("default"))) ggml_backend_reg_t ggml_backend_init() {
  return is_usable() ? ggml_port::registration() : nullptr;
}

}  // extern "C"
