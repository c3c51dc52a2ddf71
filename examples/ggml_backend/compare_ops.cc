// SPDX-License-Identifier: Apache-2.0
// Operations on this backend beside ggml's CPU backend, on one thread each, in turns.
//
//   compare_ops DIRECTORY-OF-CPU-BACKENDS LIBGGML-TESSERA.SO [PART-OF-A-NAME] [count]
//
// Prints microseconds of the CPU backend, of Tessera, and how many times as fast Tessera is: medians. With `count` each runs once
// between the markers of bench/count/region.h, which bench/count/count_plugin.c counts under qemu: the CPU first.
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpp.h>
#include <ggml.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bench/count/region.h"

namespace {

using Extents = std::vector<std::int64_t>;

// Makes the tensors of a case. Those of weights are in a buffer that says so.
class Maker {
 public:
  Maker(ggml_context* tensors, ggml_context* weights) : tensors_(tensors), weights_(weights) {}
  ggml_context* context() const { return tensors_; }

  ggml_tensor* input(const Extents& ne, ggml_type type = GGML_TYPE_F32) {
    return remember(tensor(tensors_, type, ne), 0);
  }
  ggml_tensor* weight(const Extents& ne, ggml_type type = GGML_TYPE_F32) {
    return remember(tensor(weights_, type, ne), 0);
  }
  // Integers below `limit` in a random order, all of them before one comes again.
  ggml_tensor* indices(const Extents& ne, int limit, ggml_type type = GGML_TYPE_I32) {
    return remember(tensor(tensors_, type, ne), limit);
  }

  struct Leaf {
    ggml_tensor* tensor;
    int limit;
  };
  const std::vector<Leaf>& leaves() const { return leaves_; }

 private:
  static ggml_tensor* tensor(ggml_context* c, ggml_type type, const Extents& ne) {
    return ggml_new_tensor(c, type, static_cast<int>(ne.size()), ne.data());
  }
  ggml_tensor* remember(ggml_tensor* t, int limit) {
    leaves_.push_back({t, limit});
    return t;
  }

  ggml_context *tensors_, *weights_;
  std::vector<Leaf> leaves_{};
};

using Build = std::function<std::function<ggml_tensor*()>(Maker&)>;
struct Case {
  std::string name;
  Build build;
};

std::vector<std::byte> random_bytes(const Maker::Leaf& leaf) {
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> number(-1, 1);
  ggml_tensor* const t = leaf.tensor;
  const auto count = static_cast<std::size_t>(ggml_nelements(t));
  std::vector<std::byte> data(ggml_nbytes(t));
  if (leaf.limit > 0) {
    std::vector<std::int64_t> all(static_cast<std::size_t>(leaf.limit));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
    std::shuffle(all.begin(), all.end(), generator);
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t id = all[i % all.size()];
      std::memcpy(&data[i * ggml_type_size(t->type)], &id, ggml_type_size(t->type));
    }
    return data;
  }
  std::vector<float> x(count), importance(static_cast<std::size_t>(t->ne[0]), 1.0f);
  for (float& v : x) v = number(generator);
  if (t->type == GGML_TYPE_F32) {
    std::memcpy(data.data(), x.data(), data.size());
  } else {
    ggml_quantize_chunk(t->type, x.data(), data.data(), 0, ggml_nrows(t), t->ne[0],
                        importance.data());
  }
  return data;
}

// A case on one backend: a graph of several such operations, as one alone would measure what a graph costs.
class Contender {
 public:
  Contender(ggml_backend_t backend, const Case& c, int nodes)
      : backend_(backend), tensors_(context()), weights_(context()) {
    Maker maker(tensors_.get(), weights_.get());
    const auto op = c.build(maker);
    graph_ = ggml_new_graph(tensors_.get());
    for (int i = 0; i < nodes; ++i) {
      last_ = op();
      ggml_build_forward_expand(graph_, last_);
    }
    for (ggml_context* const at : {weights_.get(), tensors_.get()}) {
      if (ggml_get_first_tensor(at) == nullptr) continue;
      buffers_.emplace_back(ggml_backend_alloc_ctx_tensors(at, backend));
      if (at == weights_.get())
        ggml_backend_buffer_set_usage(buffers_.back().get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    }
    for (const Maker::Leaf& leaf : maker.leaves()) {
      const auto data = random_bytes(leaf);
      ggml_backend_tensor_set(leaf.tensor, data.data(), 0, data.size());
    }
  }
  bool is_supported() const { return ggml_backend_supports_op(backend_, last_); }
  std::int64_t elements() const { return ggml_nelements(last_); }
  void run() { ggml_backend_graph_compute(backend_, graph_); }

 private:
  static ggml_context_ptr context() {
    return ggml_context_ptr(
        ggml_init({ggml_tensor_overhead() * 512 + ggml_graph_overhead(), nullptr, true}));
  }

  ggml_backend_t backend_;
  ggml_context_ptr tensors_, weights_;
  std::vector<ggml_backend_buffer_ptr> buffers_{};
  ggml_cgraph* graph_ = nullptr;
  ggml_tensor* last_ = nullptr;
};

double microseconds(Contender& c, int times) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) c.run();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
             .count() /
         times;
}

double median(std::vector<double> x) {
  std::nth_element(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2), x.end());
  return x[x.size() / 2];
}

template <class F>
void between_markers(F&& f) {
#ifdef __riscv
  tessera::bench::count_region(f);
#else
  f();
#endif
}

void compare(const Case& c, ggml_backend_t cpu, ggml_backend_t ours, bool counts) {
  const int nodes = counts || Contender(cpu, c, 1).elements() > 1 << 17 ? 1 : 16;
  Contender peer(cpu, c, nodes), tessera(ours, c, nodes);
  if (!tessera.is_supported()) {
    std::printf("%-44s not supported\n", c.name.c_str());
    return;
  }
  peer.run();
  tessera.run();
  if (counts) {
    for (Contender* const who : {&peer, &tessera}) {
      std::fprintf(stderr, "%s %s: ", c.name.c_str(), who == &peer ? "cpu" : "tessera");
      between_markers([&] { who->run(); });
    }
    return;
  }
  const int times = std::max(1, static_cast<int>(5000 / microseconds(peer, 1)));
  std::vector<double> theirs, mine, ratios;
  for (int round = 0; round < 15; ++round) {
    theirs.push_back(microseconds(peer, times) / nodes);
    mine.push_back(microseconds(tessera, times) / nodes);
    ratios.push_back(theirs.back() / mine.back());
  }
  std::printf("%-44s %10.2f %10.2f %7.2f\n", c.name.c_str(), median(theirs), median(mine),
              median(ratios));
  std::fflush(stdout);
}

// ---- The cases.

std::string text(const char* name, const Extents& ne, ggml_type type = GGML_TYPE_F32) {
  std::string s = name;
  s += ' ';
  s += ggml_type_name(type);
  for (const std::int64_t n : ne) s += ' ' + std::to_string(n);
  return s;
}

void add_rows(std::vector<Case>& cases) {
  for (const Extents& ne : {Extents{64, 1}, Extents{1024, 1}, Extents{4096, 1}, Extents{128, 32},
                            Extents{1024, 128}, Extents{4096, 128}}) {
    const auto one = [&](const char* name, auto f) {
      cases.push_back({text(name, ne), [=](Maker& m) {
                         ggml_tensor* const x = m.input(ne);
                         return [=, c = m.context()] { return f(c, x); };
                       }});
    };
    one("RMS_NORM", [](ggml_context* c, ggml_tensor* x) { return ggml_rms_norm(c, x, 1e-6f); });
    one("NORM", [](ggml_context* c, ggml_tensor* x) { return ggml_norm(c, x, 1e-6f); });
    one("L2_NORM", [](ggml_context* c, ggml_tensor* x) { return ggml_l2_norm(c, x, 1e-6f); });
    one("SOFT_MAX", [](ggml_context* c, ggml_tensor* x) { return ggml_soft_max(c, x); });
    one("SUM_ROWS", [](ggml_context* c, ggml_tensor* x) { return ggml_sum_rows(c, x); });
    one("ARGSORT",
        [](ggml_context* c, ggml_tensor* x) { return ggml_argsort(c, x, GGML_SORT_ORDER_DESC); });
    one("ARGMAX", [](ggml_context* c, ggml_tensor* x) { return ggml_argmax(c, x); });
    one("TOP_K 8", [](ggml_context* c, ggml_tensor* x) { return ggml_top_k(c, x, 8); });
    one("SILU", [](ggml_context* c, ggml_tensor* x) { return ggml_silu(c, x); });
    one("GELU", [](ggml_context* c, ggml_tensor* x) { return ggml_gelu(c, x); });
    one("RELU", [](ggml_context* c, ggml_tensor* x) { return ggml_relu(c, x); });
    one("SIGMOID", [](ggml_context* c, ggml_tensor* x) { return ggml_sigmoid(c, x); });
    one("TANH", [](ggml_context* c, ggml_tensor* x) { return ggml_tanh(c, x); });
    one("EXP", [](ggml_context* c, ggml_tensor* x) { return ggml_exp(c, x); });
    one("SQR", [](ggml_context* c, ggml_tensor* x) { return ggml_sqr(c, x); });
    one("SIN", [](ggml_context* c, ggml_tensor* x) { return ggml_sin(c, x); });
    one("SCALE", [](ggml_context* c, ggml_tensor* x) { return ggml_scale(c, x, 0.5f); });
    one("CLAMP", [](ggml_context* c, ggml_tensor* x) { return ggml_clamp(c, x, -0.5f, 0.5f); });
    one("SWIGLU halves", [](ggml_context* c, ggml_tensor* x) { return ggml_swiglu(c, x); });
    one("ADD", [](ggml_context* c, ggml_tensor* x) { return ggml_add(c, x, x); });
    one("CONT transposed",
        [](ggml_context* c, ggml_tensor* x) { return ggml_cont(c, ggml_transpose(c, x)); });
    one("CPY f16", [](ggml_context* c, ggml_tensor* x) { return ggml_cast(c, x, GGML_TYPE_F16); });
    one("CONCAT 0", [](ggml_context* c, ggml_tensor* x) { return ggml_concat(c, x, x, 0); });
    one("CONCAT 1", [](ggml_context* c, ggml_tensor* x) { return ggml_concat(c, x, x, 1); });
    one("REPEAT 0", [=](ggml_context* c, ggml_tensor* x) {
      return ggml_repeat_4d(c, x, ne[0] * 2, ne[1], 1, 1);
    });
    one("REPEAT 1",
        [=](ggml_context* c, ggml_tensor* x) { return ggml_repeat_4d(c, x, ne[0], ne[1], 4, 1); });
    cases.push_back({text("MUL row", ne), [=](Maker& m) {
                       ggml_tensor *const x = m.input(ne), *const w = m.weight({ne[0]});
                       return [=, c = m.context()] { return ggml_mul(c, x, w); };
                     }});
    cases.push_back({text("CONT columns", ne), [=](Maker& m) {
                       ggml_tensor* const x = m.input({ne[0], 4, ne[1]});
                       return [=, c = m.context()] {
                         return ggml_cont(c, ggml_permute(c, x, 0, 2, 1, 3));
                       };
                     }});
  }
  for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0}) {
    for (const std::int64_t n : {std::int64_t{1}, std::int64_t{64}}) {
      cases.push_back(
          {text("GET_ROWS", {1024, n}, type), [=](Maker& m) {
             ggml_tensor *const x = m.weight({1024, 4096}, type), *const ids = m.indices({n}, 4096);
             return [=, c = m.context()] { return ggml_get_rows(c, x, ids); };
           }});
      cases.push_back(
          {text("SET_ROWS", {1024, n}, type), [=](Maker& m) {
             ggml_tensor *const to = m.input({1024, 256}, type), *const x = m.input({1024, n}),
                                *const ids = m.indices({n}, 256, GGML_TYPE_I64);
             return [=, c = m.context()] { return ggml_set_rows(c, to, x, ids); };
           }});
    }
  }
  for (const std::int64_t tokens : {std::int64_t{1}, std::int64_t{128}}) {
    for (const int mode : {GGML_ROPE_TYPE_NORMAL, GGML_ROPE_TYPE_NEOX}) {
      cases.push_back(
          {text(mode == 0 ? "ROPE normal" : "ROPE neox", {128, 16, tokens}), [=](Maker& m) {
             ggml_tensor *const x = m.input({128, 16, tokens}), *const at =
                                                                    m.indices({tokens}, 4096);
             return [=, c = m.context()] {
               return ggml_rope_ext(c, x, at, nullptr, 128, mode, 4096, 1e4f, 1, 0, 1, 32, 1);
             };
           }});
    }
    cases.push_back(
        {text("SOFT_MAX mask", {256, tokens, 8}), [=](Maker& m) {
           ggml_tensor *const x = m.input({256, tokens, 8}), *const mask = m.input({256, tokens},
                                                                                   GGML_TYPE_F16);
           return [=, c = m.context()] { return ggml_soft_max_ext(c, x, mask, 0.1f, 0); };
         }});
    cases.push_back({text("SWIGLU", {3072, tokens}), [=](Maker& m) {
                       ggml_tensor *const x = m.input({3072, tokens}), *const g =
                                                                           m.input({3072, tokens});
                       return [=, c = m.context()] { return ggml_swiglu_split(c, g, x); };
                     }});
    for (const std::int64_t size : {std::int64_t{64}, std::int64_t{128}}) {
      cases.push_back(
          {text("GATED_DELTA_NET", {size, 16, tokens}), [=](Maker& m) {
             const Extents ne = {size, 16, tokens, 1};
             ggml_tensor *const q = m.input(ne), *const k = m.input(ne), *const v = m.input(ne),
                                *const g = m.input({1, 16, tokens, 1}),
                                *const b = m.input({1, 16, tokens, 1}),
                                *const s = m.input({size * size * 16, 1});
             return [=, c = m.context()] {
               return ggml_gated_delta_net(c, q, k, v, g, b,
                                           ggml_reshape_4d(c, s, size, size, 16, 1), 1);
             };
           }});
    }
    cases.push_back({text("SSM_CONV", {4, 2048, tokens}), [=](Maker& m) {
                       ggml_tensor *const x = m.input({3 + tokens, 2048, 1}), *const w = m.weight(
                                                                                  {4, 2048});
                       return [=, c = m.context()] { return ggml_ssm_conv(c, x, w); };
                     }});
  }
}

void add_images(std::vector<Case>& cases) {
  struct Conv {
    Extents image, kernel;
    int stride, padding;
  };
  const Conv convs[] = {
      {{56, 56, 64, 1}, {3, 3, 64, 64}, 1, 1},     {{56, 56, 64, 1}, {1, 1, 64, 256}, 1, 0},
      {{224, 224, 3, 1}, {7, 7, 3, 64}, 2, 3},     {{14, 14, 256, 1}, {3, 3, 256, 256}, 1, 1},
      {{224, 224, 3, 1}, {14, 14, 3, 768}, 14, 0}, {{7, 7, 512, 1}, {3, 3, 512, 512}, 1, 1},
      {{8, 8, 4, 1}, {3, 3, 4, 8}, 1, 1},          {{64, 64, 4, 1}, {3, 3, 4, 320}, 1, 1}};
  for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_F16}) {
    for (const Conv& conv : convs) {
      Extents ne = conv.image;
      ne.insert(ne.end(), conv.kernel.begin(), conv.kernel.end());
      cases.push_back({text("CONV_2D", ne, type), [=](Maker& m) {
                         ggml_tensor *const x = m.input(conv.image), *const w = m.weight(
                                                                         conv.kernel, type);
                         return [=, c = m.context()] {
                           return ggml_conv_2d_direct(c, w, x, conv.stride, conv.stride,
                                                      conv.padding, conv.padding, 1, 1);
                         };
                       }});
    }
    cases.push_back(
        {text("CONV_3D", {28, 28, 8, 16, 3, 3, 3, 16}, type), [=](Maker& m) {
           ggml_tensor *const x = m.input({28, 28, 8, 16}), *const w =
                                                                m.weight({3, 3, 3, 16 * 16}, type);
           return [=, c = m.context()] {
             return ggml_conv_3d_direct(c, w, x, 1, 1, 1, 1, 1, 1, 1, 1, 1, 16, 1, 16);
           };
         }});
    for (const Extents& ne : {Extents{50, 256}, Extents{200, 64}, Extents{2, 32}}) {
      cases.push_back(
          {text("CONV_TRANSPOSE_1D", ne, type), [=](Maker& m) {
             ggml_tensor *const x = m.input(ne), *const w = m.weight({16, ne[1] / 2, ne[1]}, type);
             return [=, c = m.context()] { return ggml_conv_transpose_1d(c, w, x, 8, 0, 1); };
           }});
    }
    for (const std::int64_t n : {std::int64_t{16}, std::int64_t{64}}) {
      cases.push_back(
          {text("CONV_TRANSPOSE_2D", {n, n, 64, 32}, type), [=](Maker& m) {
             ggml_tensor *const x = m.input({n, n, 64, 1}), *const w = m.weight({2, 2, 32, 64},
                                                                                GGML_TYPE_F16);
             return [=, c = m.context()] { return ggml_conv_transpose_2d_p0(c, w, x, 2); };
           }});
    }
  }
  for (const Extents& ne :
       {Extents{112, 112, 32, 1}, Extents{14, 14, 672, 1}, Extents{16, 16, 8, 1}}) {
    for (const bool channels_first : {false, true}) {
      cases.push_back(
          {text(channels_first ? "CONV_2D_DW whcn" : "CONV_2D_DW cwhn", ne), [=](Maker& m) {
             ggml_tensor *const x = m.input(channels_first ? ne : Extents{ne[2], ne[0], ne[1], 1}),
                                *const w = m.weight(channels_first ? Extents{3, 3, 1, ne[2]}
                                                                   : Extents{ne[2], 1, 3, 3});
             return [=, c = m.context()] {
               if (channels_first) return ggml_conv_2d_dw_direct(c, w, x, 1, 1, 1, 1, 1, 1);
               return ggml_conv_2d_dw_direct(c, ggml_permute(c, w, 3, 2, 0, 1),
                                             ggml_permute(c, x, 2, 0, 1, 3), 1, 1, 1, 1, 1, 1);
             };
           }});
    }
  }
  for (const Extents& ne :
       {Extents{56, 56, 64, 1}, Extents{8, 8, 16, 1}, Extents{64, 64, 320, 1}}) {
    const auto one = [&](const char* name, auto f) {
      cases.push_back({text(name, ne), [=](Maker& m) {
                         ggml_tensor* const x = m.input(ne);
                         return [=, c = m.context()] { return f(c, x); };
                       }});
    };
    one("POOL_2D max 2", [](ggml_context* c, ggml_tensor* x) {
      return ggml_pool_2d(c, x, GGML_OP_POOL_MAX, 2, 2, 2, 2, 0, 0);
    });
    one("POOL_2D avg 2", [](ggml_context* c, ggml_tensor* x) {
      return ggml_pool_2d(c, x, GGML_OP_POOL_AVG, 2, 2, 2, 2, 0, 0);
    });
    one("POOL_2D max 3", [](ggml_context* c, ggml_tensor* x) {
      return ggml_pool_2d(c, x, GGML_OP_POOL_MAX, 3, 3, 1, 1, 1, 1);
    });
    one("POOL_2D avg all", [=](ggml_context* c, ggml_tensor* x) {
      const int n = static_cast<int>(ne[0]);
      return ggml_pool_2d(c, x, GGML_OP_POOL_AVG, n, n, n, n, 0, 0);
    });
    one("POOL_1D max 2", [=](ggml_context* c, ggml_tensor* x) {
      return ggml_pool_1d(c, ggml_reshape_2d(c, x, ne[0], ne[1] * ne[2]), GGML_OP_POOL_MAX, 2, 2,
                          0);
    });
    one("POOL_1D avg 4", [=](ggml_context* c, ggml_tensor* x) {
      return ggml_pool_1d(c, ggml_reshape_2d(c, x, ne[0], ne[1] * ne[2]), GGML_OP_POOL_AVG, 4, 4,
                          0);
    });
    one("GROUP_NORM 8",
        [](ggml_context* c, ggml_tensor* x) { return ggml_group_norm(c, x, 8, 1e-6f); });
    one("UPSCALE nearest 2", [](ggml_context* c, ggml_tensor* x) {
      return ggml_upscale(c, x, 2, GGML_SCALE_MODE_NEAREST);
    });
    one("UPSCALE bilinear 2", [](ggml_context* c, ggml_tensor* x) {
      return ggml_upscale(c, x, 2, GGML_SCALE_MODE_BILINEAR);
    });
    one("PAD 1",
        [](ggml_context* c, ggml_tensor* x) { return ggml_pad_ext(c, x, 1, 1, 1, 1, 0, 0, 0, 0); });
    one("PAD end", [](ggml_context* c, ggml_tensor* x) { return ggml_pad(c, x, 1, 1, 0, 0); });
    one("IM2COL 3", [=](ggml_context* c, ggml_tensor* x) {
      return ggml_im2col(c, ggml_new_tensor_4d(c, GGML_TYPE_F16, 3, 3, ne[2], 8), x, 1, 1, 1, 1, 1,
                         1, true, GGML_TYPE_F16);
    });
  }
}

ggml_backend_t device(const char* library) {
  ggml_backend_reg_t const reg = ggml_backend_load(library);
  return reg == nullptr ? nullptr
                        : ggml_backend_dev_init(ggml_backend_reg_dev_get(reg, 0), nullptr);
}

void use_one_thread(ggml_backend_t backend) {
  ggml_backend_reg_t const reg = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
  const auto set = reinterpret_cast<ggml_backend_set_n_threads_t>(
      ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads"));
  set(backend, 1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: compare_ops DIRECTORY-OF-CPU-BACKENDS LIBGGML-TESSERA.SO [PART] [count]\n",
               stderr);
    return 1;
  }
  ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  ggml_backend_load_all_from_path(argv[1]);
  const ggml_backend_ptr cpu(ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr));
  const ggml_backend_ptr ours(device(argv[2]));
  if (cpu == nullptr || ours == nullptr) return 1;
  for (const auto& backend : {cpu.get(), ours.get()}) use_one_thread(backend);
  const std::string part = argc > 3 ? argv[3] : "";
  std::vector<Case> cases;
  add_rows(cases);
  add_images(cases);
  for (const Case& c : cases) {
    if (c.name.find(part) != std::string::npos) compare(c, cpu.get(), ours.get(), argc > 4);
  }
}
