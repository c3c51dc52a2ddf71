// SPDX-License-Identifier: Apache-2.0
#include "ops.h"

namespace ggml_port {
namespace {

const Op kNothing = {[](const ggml_tensor&) { return true; }, nullptr};

}  // namespace

const Op* find_op(ggml_op op) {
  switch (op) {
    case GGML_OP_NONE:
    case GGML_OP_RESHAPE:
    case GGML_OP_VIEW:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
      return &kNothing;
    case GGML_OP_MUL_MAT:
      return &kMulMat;
    case GGML_OP_MUL_MAT_ID:
      return &kMulMatId;
    case GGML_OP_ADD:
    case GGML_OP_SUB:
    case GGML_OP_MUL:
    case GGML_OP_DIV:
      return &kBinary;
    case GGML_OP_ADD_ID:
      return &kAddId;
    case GGML_OP_SCALE:
      return &kScale;
    case GGML_OP_CLAMP:
      return &kClamp;
    case GGML_OP_SQR:
    case GGML_OP_SQRT:
    case GGML_OP_LOG:
    case GGML_OP_SIN:
    case GGML_OP_COS:
    case GGML_OP_UNARY:
      return &kUnary;
    case GGML_OP_GLU:
      return &kGlu;
    case GGML_OP_NORM:
      return &kNorm;
    case GGML_OP_RMS_NORM:
      return &kRmsNorm;
    case GGML_OP_L2_NORM:
      return &kL2Norm;
    case GGML_OP_SOFT_MAX:
      return &kSoftMax;
    case GGML_OP_SUM_ROWS:
    case GGML_OP_MEAN:
      return &kSumRows;
    case GGML_OP_ARGSORT:
      return &kArgsort;
    case GGML_OP_ARGMAX:
      return &kArgmax;
    case GGML_OP_TOP_K:
      return &kTopK;
    case GGML_OP_DUP:
    case GGML_OP_CPY:
    case GGML_OP_CONT:
      return &kCopy;
    case GGML_OP_GET_ROWS:
      return &kGetRows;
    case GGML_OP_SET_ROWS:
      return &kSetRows;
    case GGML_OP_CONCAT:
      return &kConcat;
    case GGML_OP_REPEAT:
      return &kRepeat;
    case GGML_OP_IM2COL:
      return &kIm2Col;
    case GGML_OP_CONV_2D:
      return &kConv2d;
    case GGML_OP_CONV_2D_DW:
      return &kConv2dDw;
    case GGML_OP_CONV_3D:
      return &kConv3d;
    case GGML_OP_CONV_TRANSPOSE_1D:
      return &kConvTranspose1d;
    case GGML_OP_CONV_TRANSPOSE_2D:
      return &kConvTranspose2d;
    case GGML_OP_POOL_1D:
      return &kPool1d;
    case GGML_OP_POOL_2D:
      return &kPool2d;
    case GGML_OP_GROUP_NORM:
      return &kGroupNorm;
    case GGML_OP_UPSCALE:
      return &kUpscale;
    case GGML_OP_PAD:
      return &kPad;
    case GGML_OP_GATED_DELTA_NET:
      return &kGatedDeltaNet;
    case GGML_OP_SSM_CONV:
      return &kSsmConv;
    case GGML_OP_ROPE:
      return &kRope;
    case GGML_OP_FLASH_ATTN_EXT:
      return &kFlashAttention;
    default:
      return nullptr;
  }
}

}  // namespace ggml_port
