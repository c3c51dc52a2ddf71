// SPDX-License-Identifier: Apache-2.0
// What ggml's own test of operations does not do: weights that a model keeps, two sessions, two threads, a fork, errors,
// another version of ggml, and the library loaded twice.
//
//   ggml_tessera_test DIRECTORY-OF-CPU-BACKENDS LIBGGML-TESSERA.SO [emulated]
//
// Emulated: few types of weights, whose quantization takes long, and no fork, which qemu 7.2 can't do with threads.
#include <dlfcn.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpp.h>
#include <ggml.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "test/is_mapped.h"
#include "test/stderr_of.h"

namespace {

const char* pretended_version = nullptr;  // null: that of the library

}  // namespace

// Found before ggml's own by all libraries of this program.
extern "C" const char* ggml_version() {
  if (pretended_version != nullptr) return pretended_version;
  return reinterpret_cast<const char* (*)()>(dlsym(RTLD_NEXT, "ggml_version"))();
}

namespace {

using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

constexpr std::int64_t kInputs = 512, kOutputs = 37, kMatrices = 3;

#define EXPECT(condition)                                                           \
  do {                                                                              \
    if (!(condition)) {                                                             \
      std::fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                 \
    }                                                                               \
  } while (false)

Floats random_floats(std::int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Floats x(static_cast<std::size_t>(count));
  for (float& v : x) v = normal(generator);
  return x;
}

// Random weights as bytes of a type.
Bytes random_weights(ggml_type type, unsigned seed) {
  const std::int64_t rows = kOutputs * kMatrices;
  const Floats x = random_floats(rows * kInputs, seed), importance(kInputs, 1.0f);
  Bytes data(static_cast<std::size_t>(rows) * ggml_row_size(type, kInputs));
  ggml_quantize_chunk(type, x.data(), data.data(), 0, rows, kInputs, importance.data());
  return data;
}

double distance(const Floats& a, const Floats& b) {
  double difference = 0, length = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    length += std::pow(static_cast<double>(b[i]), 2);
  }
  return difference / length;
}

// A tensor of a model, in memory of a device.
struct Model {
  Model(ggml_backend_dev_t device, ggml_type type, unsigned seed)
      : context(ggml_init({ggml_tensor_overhead() * 2, nullptr, true})),
        weights(ggml_new_tensor_3d(context.get(), type, kInputs, kOutputs, kMatrices)),
        buffer(ggml_backend_alloc_ctx_tensors_from_buft(context.get(),
                                                        ggml_backend_dev_buffer_type(device))) {
    EXPECT(buffer != nullptr);
    ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    set(seed);
  }
  void set(unsigned seed) {
    const Bytes data = random_weights(weights->type, seed);
    ggml_backend_tensor_set(weights, data.data(), 0, data.size());
  }

  ggml_context_ptr context;
  ggml_tensor* weights;
  ggml_backend_buffer_ptr buffer;
};

struct Input {
  ggml_tensor* tensor;
  const void* data;
};

// Runs a graph on a backend, which supports it or not. `result` gets what it computes.
ggml_status run(ggml_backend_t backend,
                const std::function<ggml_tensor*(ggml_context*, std::vector<Input>&)>& build,
                Floats* result, bool is_supported = true) {
  const ggml_context_ptr context(
      ggml_init({ggml_tensor_overhead() * 32 + ggml_graph_overhead(), nullptr, true}));
  std::vector<Input> inputs;
  ggml_tensor* const y = build(context.get(), inputs);
  EXPECT(ggml_backend_supports_op(backend, y) == is_supported);
  ggml_cgraph* const graph = ggml_new_graph(context.get());
  ggml_build_forward_expand(graph, y);
  const ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors(context.get(), backend));
  ggml_backend_buffer_clear(buffer.get(), 0xff);
  for (const Input& i : inputs) ggml_backend_tensor_set(i.tensor, i.data, 0, ggml_nbytes(i.tensor));
  const ggml_status status = ggml_backend_graph_compute(backend, graph);
  result->resize(static_cast<std::size_t>(ggml_nelements(y)));
  ggml_backend_tensor_get(y, result->data(), 0, ggml_nbytes(y));
  return status;
}

Floats product(ggml_backend_t backend, const Model& model, std::int64_t rows) {
  const Floats x = random_floats(kInputs * rows, 7);
  Floats y;
  EXPECT(run(
             backend,
             [&](ggml_context* c, std::vector<Input>& inputs) {
               ggml_tensor* const t = ggml_new_tensor_2d(c, GGML_TYPE_F32, kInputs, rows);
               inputs.push_back({t, x.data()});
               return ggml_mul_mat(c,
                                   ggml_view_2d(c, model.weights, kInputs, kOutputs,
                                                model.weights->nb[1], model.weights->nb[2]),
                                   t);
             },
             &y) == GGML_STATUS_SUCCESS);
  return y;
}

// Two experts for each token.
ggml_status product_of(ggml_backend_t backend, const Model& model,
                       const std::vector<std::int32_t>& experts, Floats* y) {
  const auto tokens = static_cast<std::int64_t>(experts.size() / 2);
  const Floats x = random_floats(kInputs * tokens, 8);
  return run(
      backend,
      [&](ggml_context* c, std::vector<Input>& inputs) {
        ggml_tensor* const t = ggml_new_tensor_3d(c, GGML_TYPE_F32, kInputs, 1, tokens);
        ggml_tensor* const chosen = ggml_new_tensor_2d(c, GGML_TYPE_I32, 2, tokens);
        inputs = {{t, x.data()}, {chosen, experts.data()}};
        return ggml_mul_mat_id(c, model.weights, t, chosen);
      },
      y);
}

Floats product_of_experts(ggml_backend_t backend, const Model& model, std::int64_t tokens) {
  std::vector<std::int32_t> ids;
  for (std::int64_t t = 0; t < tokens; ++t)
    ids.insert(ids.end(), {static_cast<int>(t % kMatrices), static_cast<int>((t + 1) % kMatrices)});
  Floats y;
  EXPECT(product_of(backend, model, ids, &y) == GGML_STATUS_SUCCESS);
  return y;
}

ggml_status rows_of(ggml_backend_t backend, const Model& model, std::int32_t last, Floats* y) {
  const std::int32_t ids[] = {5, last};
  return run(
      backend,
      [&](ggml_context* c, std::vector<Input>& inputs) {
        ggml_tensor* const t = ggml_new_tensor_1d(c, GGML_TYPE_I32, 2);
        inputs.push_back({t, ids});
        return ggml_get_rows(
            c, ggml_view_2d(c, model.weights, kInputs, kOutputs, model.weights->nb[1], 0), t);
      },
      y);
}

// The square of the relative difference. Activations of blocks are rounded as the CPU backend does, and what is left is the order of
// sums; but it also rounds sums of activations to F16 for Q4_1 and Q5_1, and activations to the type of F16 and BF16.
double most_distance(ggml_type type) {
  switch (type) {
    case GGML_TYPE_Q4_1:
    case GGML_TYPE_Q5_1:
    case GGML_TYPE_F16:
      return 1e-6;
    case GGML_TYPE_BF16:
      return 1e-5;
    default:
#ifdef __x86_64__
      return 1e-12;
#else
      return 1e-6;  // elsewhere it may compute the codes another way: few differ, by one
#endif
  }
}

void test_weights(ggml_backend_t ours, ggml_backend_t cpu, ggml_type type) {
  const double most = most_distance(type);
  ggml_backend_dev_t const device = ggml_backend_get_device(ours);
  Model model(device, type, 1), peer(ggml_backend_get_device(cpu), type, 1);
  for (const unsigned seed : {1u, 2u}) {  // the second time other values in the same memory
    model.set(seed);
    peer.set(seed);
    for (const std::int64_t rows : {1, 3, 40}) {
      EXPECT(distance(product(ours, model, rows), product(cpu, peer, rows)) < most);
      EXPECT(distance(product_of_experts(ours, model, rows), product_of_experts(cpu, peer, rows)) <
             most);
    }
    Floats a, b;
    EXPECT(rows_of(ours, model, 36, &a) == GGML_STATUS_SUCCESS);
    EXPECT(rows_of(cpu, peer, 36, &b) == GGML_STATUS_SUCCESS);
    EXPECT(a == b);
    Bytes data(ggml_nbytes(model.weights));
    ggml_backend_tensor_get(model.weights, data.data(), 0, data.size());
    EXPECT(data == random_weights(type, seed));
  }
  EXPECT(distance(product(ours, model, 3), product(ours, Model(device, type, 1), 3)) > 0.1);
}

// Any bytes are the same floats, such scales included as ggml's quantizer does not write. (But for one: nvfp4.h.)
void test_any_nvfp4(ggml_backend_t ours, ggml_backend_t cpu) {
  Model model(ggml_backend_get_device(ours), GGML_TYPE_NVFP4, 1),
      peer(ggml_backend_get_device(cpu), GGML_TYPE_NVFP4, 1);
  std::mt19937 generator(6);
  Bytes data(ggml_nbytes(model.weights));
  for (std::byte& b : data) b = static_cast<std::byte>(generator() % 255);
  ggml_backend_tensor_set(model.weights, data.data(), 0, data.size());
  ggml_backend_tensor_set(peer.weights, data.data(), 0, data.size());
  Floats a, b;
  for (std::int32_t row = 0; row < kOutputs; ++row) {
    EXPECT(rows_of(ours, model, row, &a) == GGML_STATUS_SUCCESS);
    EXPECT(rows_of(cpu, peer, row, &b) == GGML_STATUS_SUCCESS);
    EXPECT(a == b);
  }
  EXPECT(rows_of(ours, model, kOutputs, &a) == GGML_STATUS_FAILED);
  EXPECT(rows_of(ours, model, -1, &a) == GGML_STATUS_FAILED);
}

void set_threads(ggml_backend_t backend, int threads) {
  ggml_backend_reg_t const reg = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
  const auto set = reinterpret_cast<ggml_backend_set_n_threads_t>(
      ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads"));
  EXPECT(set != nullptr);
  set(backend, threads);
}

void test_sessions(ggml_backend_dev_t device, bool forks) {
  const ggml_backend_ptr first(ggml_backend_dev_init(device, nullptr)),
      second(ggml_backend_dev_init(device, nullptr));
  const Model model(device, GGML_TYPE_Q4_K, 3);
  set_threads(first.get(), 2);
  set_threads(second.get(), 3);
  const Floats expected = product(second.get(), Model(device, GGML_TYPE_Q4_K, 3), 40);
  const auto work = [&](ggml_backend_t backend) {
    for (int i = 0; i < 20; ++i) EXPECT(product(backend, model, 40) == expected);
  };
  std::thread other(work, second.get());
  work(first.get());
  other.join();
  if (!forks) return;
  const pid_t child = fork();
  if (child == 0) {
    work(first.get());
    _exit(0);
  }
  int status = -1;
  EXPECT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  work(first.get());
}

void test_errors(ggml_backend_t ours) {
  const Model model(ggml_backend_get_device(ours), GGML_TYPE_F32, 4);
  Floats y;
  EXPECT(rows_of(ours, model, 37, &y) == GGML_STATUS_FAILED);
  EXPECT(rows_of(ours, model, -1, &y) == GGML_STATUS_FAILED);
  EXPECT(rows_of(ours, model, 0, &y) == GGML_STATUS_SUCCESS);
  EXPECT(product_of(ours, model, {0, 1, 2, kMatrices}, &y) == GGML_STATUS_FAILED);
  const Floats x = random_floats(kInputs, 5);
  const auto sums = [&](ggml_context* c, std::vector<Input>& inputs) {
    ggml_tensor* const t = ggml_new_tensor_1d(c, GGML_TYPE_F32, kInputs);
    inputs.push_back({t, x.data()});
    return ggml_cumsum(c, t);
  };
  EXPECT(run(ours, sums, &y, false) == GGML_STATUS_FAILED);
  EXPECT(ggml_backend_buft_alloc_buffer(ggml_backend_get_default_buffer_type(ours), SIZE_MAX / 2) ==
         nullptr);
}

// Of another version nothing is taken for granted: one line, and no backend.
void test_versions(const char* library) {
  ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);  // ggml adds lines of its own
  for (const std::string version : {"0.26.9", "0.270.0", "0.28.0", "1.0.0"}) {
    pretended_version = version.c_str();
    ggml_backend_reg_t reg = nullptr;
    const std::string errors = tessera::test::stderr_of([&] { reg = ggml_backend_load(library); });
    EXPECT(reg == nullptr);
    EXPECT(errors == "ggml-tessera: expected ggml 0.27.x, got " + version + "\n");
  }
  pretended_version = nullptr;
  ggml_log_set(nullptr, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  const bool is_emulated = argc == 4 && std::string(argv[3]) == "emulated";
  EXPECT(argc == 3 || is_emulated);
  std::vector<ggml_type> types = {
      GGML_TYPE_F32,   GGML_TYPE_F16,   GGML_TYPE_Q8_0,  GGML_TYPE_Q4_K,   GGML_TYPE_BF16,
      GGML_TYPE_Q4_0,  GGML_TYPE_Q4_1,  GGML_TYPE_Q5_0,  GGML_TYPE_Q5_1,   GGML_TYPE_Q2_K,
      GGML_TYPE_Q3_K,  GGML_TYPE_Q5_K,  GGML_TYPE_Q6_K,  GGML_TYPE_IQ4_NL, GGML_TYPE_IQ4_XS,
      GGML_TYPE_TQ1_0, GGML_TYPE_TQ2_0, GGML_TYPE_MXFP4, GGML_TYPE_NVFP4};
  if (is_emulated) types.resize(4);
  ggml_backend_load_all_from_path(argv[1]);
  const ggml_backend_ptr cpu(ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr));
  EXPECT(cpu != nullptr);
  test_versions(argv[2]);
  for (int time = 0; time < 2; ++time) {
    ggml_backend_reg_t const reg = ggml_backend_load(argv[2]);
    EXPECT(reg != nullptr && ggml_backend_reg_dev_count(reg) == 1);
    ggml_backend_dev_t const device = ggml_backend_reg_dev_get(reg, 0);
    {
      const ggml_backend_ptr ours(ggml_backend_dev_init(device, nullptr));
      for (const ggml_type type : types) {
        if (time == 0) test_weights(ours.get(), cpu.get(), type);
      }
      test_any_nvfp4(ours.get(), cpu.get());
      test_errors(ours.get());
      test_sessions(device, !is_emulated);
    }
    ggml_backend_unload(reg);
    EXPECT(!tessera::test::is_mapped(argv[2]));
  }
  std::puts("all passed");
}
