// SPDX-License-Identifier: Apache-2.0
#include "ops.h"
#include "run.h"
#include "tensors.h"
#include "tessera/ops/permute.h"
#include "tessera/ops/rope.h"

namespace ggml_port {
namespace {

bool supports(const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  const int dims = param<int>(op, 1), mode = param<int>(op, 2), first = param<int>(op, 15);
  return (x.type == GGML_TYPE_F32 || x.type == GGML_TYPE_F16) && op.type == x.type &&
         is_i32(op.src[1]) && (op.src[2] == nullptr || is_f32(op.src[2])) && dims > 0 &&
         dims % 2 == 0 &&
         (mode == GGML_ROPE_TYPE_VISION ? 2 * dims == x.ne[0] : first + dims <= x.ne[0]);
}

// x [batch, tokens, heads, head size]. Elements before the rotated ones, too, are copied.
void compute(Run& run, const ggml_tensor& op) {
  const ggml_tensor& x = *op.src[0];
  const RopeTable table = run.rope_tables().get(op, run.context());
  const bool interleaved = param<int>(op, 2) == GGML_ROPE_TYPE_NORMAL;
  const index_t first = param<int>(op, 15), heads = extent(x, 0);
  with_float(x.type, [&]<class T>(T*) {
    auto from = view4<const T>(x);
    auto to = view4<T>(op);
    if (first > 0) {
      const auto part = [&](const auto& v, index_t at, index_t count) {
        auto result = v;
        result.data += at * v.strides[3];
        result.extents[3] = count;
        return result;
      };
      if (x.data != op.data)
        ts::copy(part(from, 0, first), part(to, 0, first), {.context = run.context()});
      from = part(from, first, heads - first);
      to = part(to, first, heads - first);
    }
    ts::rope(from, table.cosines, table.sines, to,
             {.interleaved = interleaved, .context = run.context()});
  });
}

}  // namespace

const Op kRope = {supports, compute};

}  // namespace ggml_port
