// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>

#include "alibi.h"
#include "ops.h"
#include "run.h"
#include "tensors.h"
#include "tessera/core/kv_cache.h"
#include "tessera/ops/attention.h"
#include "tessera/ops/elementwise.h"

namespace ggml_port {
namespace {

// Caches are read in place, which those of NVFP4 can't be.
bool is_key_type(const ggml_tensor& t) {
  const bool has_blocks = block_format(t.type).has_value() && t.type != GGML_TYPE_NVFP4;
  return has_rows(t) && (is_float(t.type) || has_blocks);
}

bool supports(const ggml_tensor& op) {
  const ggml_tensor &q = *op.src[0], &k = *op.src[1], &v = *op.src[2];
  const ggml_tensor *const mask = op.src[3], *const sinks = op.src[4];
  const auto fits = [](std::int64_t few, std::int64_t many) { return few == 1 || few == many; };
  return is_float(q.type) && is_key_type(k) && is_key_type(v) && is_f32(&op) &&
         q.ne[2] % k.ne[2] == 0 && k.ne[2] == v.ne[2] && fits(k.ne[3], q.ne[3]) &&
         fits(v.ne[3], q.ne[3]) && (sinks == nullptr || is_f32(sinks)) &&
         (mask == nullptr ||
          (is_float(mask->type) && fits(mask->ne[2], q.ne[2]) && fits(mask->ne[3], q.ne[3])));
}

struct Keys {
  index_t first, count;
};

// Keys from the first to the last that a token may look at, at least one: caches have room for more.
Keys keys_in_use(const ggml_tensor& k, const ggml_tensor* mask, index_t tokens) {
  if (mask == nullptr) return {0, extent(k, 1)};
  index_t first = extent(*mask, 0), last = -1;
  with_float(mask->type, [&]<class T>(T*) {
    for_each_matrix(*mask, [&](index_t i2, index_t i3) {
      const auto rows = matrix<const T>(*mask, i2, i3);
      const auto hides = [&](index_t i, index_t key) {
        return static_cast<float>(rows(i, key)) == -std::numeric_limits<float>::infinity();
      };
      for (index_t i = 0; i < tokens; ++i) {
        index_t key = 0;
        while (key < first && hides(i, key)) ++key;
        first = std::min(first, key);
        for (key = rows.extent(1) - 1; key > last && hides(i, key);) --key;
        last = std::max(last, key);
      }
    });
  });
  return last < 0 ? Keys{0, 1} : Keys{first, last - first + 1};
}

// f(keys or values), [batch, heads, tokens, dim], those of one sequence repeated for `batch`.
template <class F>
void with_keys(const ggml_tensor& t, index_t batch, const Keys& keys, F&& f) {
  const index_t batch_step = t.ne[3] == batch ? step(t, 3) : 0;
  const std::byte* const data = bytes(t) + keys.first * step(t, 1);
  if (const auto format = block_format(t.type)) {
    return f(ts::ConstBlockCacheView{data,
                                     *format,
                                     {batch, extent(t, 2), keys.count, extent(t, 0)},
                                     {batch_step, step(t, 2), step(t, 1)}});
  }
  with_float(t.type, [&]<class T>(T*) {
    auto view = view4<const T>(t);
    view.data = reinterpret_cast<const T*>(data);
    view.extents = {batch, extent(t, 2), keys.count, extent(t, 0)};
    view.strides[0] = batch_step / static_cast<index_t>(sizeof(T));
    f(view);
  });
}

// The columns of the mask that are of these keys.
template <class T>
ts::View<const T, 4> mask_of(const ggml_tensor& mask, index_t tokens, const Keys& keys) {
  auto view = view4<const T>(mask);
  view.data += keys.first * view.strides[3];
  view.extents[2] = tokens;  // masks may have more rows, as padding
  view.extents[3] = keys.count;
  return view;
}

// The mask times the slope of each head: [batch, heads, tokens, keys].
ts::View<const float, 4> sloped_mask(Run& run, const ggml_tensor& mask, float max_bias,
                                     index_t heads, index_t tokens, const Keys& of) {
  const index_t batch = extent(mask, 3), keys = of.count, given = extent(mask, 2);
  float* const memory =
      run.scratch<float>(0, static_cast<std::size_t>(batch * heads * tokens * keys));
  const auto result = ts::row_major(memory, {batch, heads, tokens, keys});
  with_float(mask.type, [&]<class T>(T*) {
    const auto from = mask_of<T>(mask, tokens, of);
    for (index_t h = 0; h < heads; ++h) {
      const float factor = alibi_slope(max_bias, h, heads);
      const auto head = ts::slice(from, {index_t{0}, h % given, index_t{0}, index_t{0}},
                                  {batch, index_t{1}, tokens, keys});
      ts::elementwise(ts::BinaryOp::kMul, head,
                      ts::View<const float, 4>(&factor, {1, 1, 1, 1}, {0, 0, 0, 0}),
                      ts::slice(result, {index_t{0}, h, index_t{0}, index_t{0}},
                                {batch, index_t{1}, tokens, keys}),
                      {.context = run.context()});
    }
  });
  return result;
}

void compute(Run& run, const ggml_tensor& op) {
  const ggml_tensor& q = *op.src[0];
  const ggml_tensor *const mask = op.src[3], *const sinks = op.src[4];
  const index_t batch = extent(q, 3), heads = extent(q, 2), tokens = extent(q, 1);
  const float scale = param<float>(op, 0), max_bias = param<float>(op, 1);
  const Keys keys = keys_in_use(*op.src[1], mask, tokens);
  ts::AttentionOptions options{
      .scale = scale, .softcap = param<float>(op, 2), .context = run.context()};
  if (mask != nullptr && max_bias > 0) {
    options.mask = sloped_mask(run, *mask, max_bias, heads, tokens, keys);
  } else if (mask != nullptr) {
    with_float(mask->type, [&]<class T>(T*) { options.mask = mask_of<T>(*mask, tokens, keys); });
  }
  if (sinks != nullptr)
    options.sinks = ts::row_major(static_cast<const float*>(sinks->data), {heads});
  // The result is [batch, tokens, heads, dim] in memory.
  const auto memory = view4<float>(op);
  const ts::View<float, 4> out(
      memory.data, {memory.extents[0], memory.extents[2], memory.extents[1], memory.extents[3]},
      {memory.strides[0], memory.strides[2], memory.strides[1], memory.strides[3]});
  with_float(q.type, [&]<class Q>(Q*) {
    with_keys(*op.src[1], batch, keys, [&](const auto& k) {
      with_keys(*op.src[2], batch, keys,
                [&](const auto& v) { ts::attention(view4<const Q>(q), k, v, out, options); });
    });
  });
}

}  // namespace

const Op kFlashAttention = {supports, compute};

}  // namespace ggml_port
