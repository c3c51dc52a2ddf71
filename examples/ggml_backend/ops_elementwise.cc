// SPDX-License-Identifier: Apache-2.0
#include <optional>

#include "ops.h"
#include "run.h"
#include "tensors.h"
#include "tessera/ops/elementwise.h"

namespace ggml_port {
namespace {

ts::View<const float, 4> one_number(const float& value) {
  return {&value, {1, 1, 1, 1}, {0, 0, 0, 0}};
}

// y = a op b, b broadcast.
void combine(Run& run, ts::BinaryOp which, const ggml_tensor& a, const ggml_tensor& b,
             const ggml_tensor& y) {
  with_float(y.type, [&]<class Y>(Y*) {
    with_float(b.type, [&]<class B>(B*) {
      ts::elementwise(which, view4<const Y>(a), view4<const B>(b), view4<Y>(y),
                      {.context = run.context()});
    });
  });
}

bool supports_binary(const ggml_tensor& op) {
  const ggml_tensor &a = *op.src[0], &b = *op.src[1];
  return is_float(a.type) && is_float(b.type) && op.type == a.type && broadcasts_to(b, a);
}

void binary(Run& run, const ggml_tensor& op) {
  using enum ts::BinaryOp;
  const ts::BinaryOp which = op.op == GGML_OP_ADD   ? kAdd
                             : op.op == GGML_OP_SUB ? kSub
                             : op.op == GGML_OP_MUL ? kMul
                                                    : kDiv;
  combine(run, which, *op.src[0], *op.src[1], op);
}

bool supports_add_id(const ggml_tensor& op) {
  return is_f32(op.src[0]) && is_f32(op.src[1]) && is_f32(&op) && is_i32(op.src[2]) &&
         has_rows(*op.src[1]);
}

// y[t, i] = x[t, i] + rows[ids[t, i]]
void add_id(Run&, const ggml_tensor& op) {
  const ggml_tensor &rows = *op.src[1], &ids = *op.src[2];
  for (index_t t = 0; t < extent(op, 2); ++t) {
    for (index_t i = 0; i < extent(op, 1); ++i) {
      const std::int32_t id = row<const std::int32_t>(ids, t)(i);
      if (id < 0 || id >= rows.ne[1]) {
        throw ts::Error("ADD_ID", "ids", "rows below " + std::to_string(rows.ne[1]),
                        std::to_string(id));
      }
      ts::elementwise(ts::BinaryOp::kAdd, row<const float>(*op.src[0], i, t),
                      row<const float>(rows, id), row<float>(op, i, t));
    }
  }
}

bool supports_floats(const ggml_tensor& op) {
  return is_float(op.src[0]) && op.type == op.src[0]->type;
}
bool supports_f32(const ggml_tensor& op) { return is_f32(op.src[0]) && is_f32(&op); }

// y = scale x + shift
void scale(Run& run, const ggml_tensor& op) {
  const float factor = param<float>(op, 0), shift = param<float>(op, 1);
  const auto y = view4<float>(op);
  const ts::ElementwiseOptions options{.context = run.context()};
  ts::elementwise(ts::BinaryOp::kMul, view4<const float>(*op.src[0]), one_number(factor), y,
                  options);
  if (shift != 0) ts::elementwise(ts::BinaryOp::kAdd, y, one_number(shift), y, options);
}

void clamp(Run& run, const ggml_tensor& op) {
  const float low = param<float>(op, 0), high = param<float>(op, 1);
  with_float(op.type, [&]<class T>(T*) {
    const auto y = view4<T>(op);
    const ts::ElementwiseOptions options{.context = run.context()};
    ts::elementwise(ts::BinaryOp::kMax, view4<const T>(*op.src[0]), one_number(low), y, options);
    ts::elementwise(ts::BinaryOp::kMin, y, one_number(high), y, options);
  });
}

std::optional<ts::UnaryOp> unary_op(const ggml_tensor& op) {
  using enum ts::UnaryOp;
  switch (op.op) {
    case GGML_OP_SQR:
      return kSquare;
    case GGML_OP_SQRT:
      return kSqrt;
    case GGML_OP_LOG:
      return kLog;
    case GGML_OP_SIN:
      return kSin;
    case GGML_OP_COS:
      return kCos;
    default:
      break;
  }
  switch (param<std::int32_t>(op, 0)) {
    case GGML_UNARY_OP_ABS:
      return kAbs;
    case GGML_UNARY_OP_NEG:
      return kNeg;
    case GGML_UNARY_OP_TANH:
      return kTanh;
    case GGML_UNARY_OP_RELU:
      return kRelu;
    case GGML_UNARY_OP_SIGMOID:
      return kSigmoid;
    case GGML_UNARY_OP_GELU:
      return kGeluTanh;
    case GGML_UNARY_OP_GELU_ERF:
      return kGelu;
    case GGML_UNARY_OP_SILU:
      return kSilu;
    case GGML_UNARY_OP_HARDSWISH:
      return kHardSwish;
    case GGML_UNARY_OP_EXP:
      return kExp;
    default:
      return std::nullopt;
  }
}

bool supports_unary(const ggml_tensor& op) {
  return supports_floats(op) && unary_op(op).has_value();
}

void unary(Run& run, const ggml_tensor& op) {
  with_float(op.type, [&]<class T>(T*) {
    ts::elementwise(*unary_op(op), view4<const T>(*op.src[0]), view4<T>(op),
                    {.context = run.context()});
  });
}

std::optional<ts::UnaryOp> glu_op(const ggml_tensor& op) {
  using enum ts::UnaryOp;
  switch (param<std::int32_t>(op, 0)) {
    case GGML_GLU_OP_REGLU:
      return kRelu;
    case GGML_GLU_OP_GEGLU:
      return kGeluTanh;
    case GGML_GLU_OP_SWIGLU:
      return kSilu;
    case GGML_GLU_OP_GEGLU_ERF:
      return kGelu;
    default:
      return std::nullopt;
  }
}

bool supports_glu(const ggml_tensor& op) {
  return supports_floats(op) && (op.src[1] == nullptr || op.src[1]->type == op.type) &&
         glu_op(op).has_value();
}

// Gates and what they are multiplied with: two tensors, or halves of rows.
void glu(Run& run, const ggml_tensor& op) {
  with_float(op.type, [&]<class T>(T*) {
    auto gate = view4<const T>(*op.src[0]);
    auto up = op.src[1] != nullptr ? view4<const T>(*op.src[1]) : gate;
    if (op.src[1] == nullptr) {
      const bool swapped = param<std::int32_t>(op, 1) != 0;
      gate.extents[3] = up.extents[3] = extent(op, 0);
      (swapped ? gate : up).data += extent(op, 0) * gate.strides[3];
    }
    ts::gated(*glu_op(op), gate, up, view4<T>(op),
              ts::ElementwiseOptions{.context = run.context()});
  });
}

}  // namespace

const Op kBinary = {supports_binary, binary};
const Op kAddId = {supports_add_id, add_id};
const Op kScale = {supports_f32, scale};
const Op kClamp = {supports_floats, clamp};
const Op kUnary = {supports_unary, unary};
const Op kGlu = {supports_glu, glu};

}  // namespace ggml_port
