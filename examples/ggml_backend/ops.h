// SPDX-License-Identifier: Apache-2.0
// The operations: which calls of each are taken, and what they do. Each file ops_*.cc has both side by side.
#ifndef TESSERA_EXAMPLES_GGML_BACKEND_OPS_H_
#define TESSERA_EXAMPLES_GGML_BACKEND_OPS_H_

#include <ggml.h>

namespace ggml_port {

class Run;

struct Op {
  // Types and shapes only: a tensor may not have memory yet. False is what would be slower than ggml, or wrong.
  bool (*supports)(const ggml_tensor& op);
  void (*compute)(Run& run, const ggml_tensor& op);  // null: nothing to do
};

// Null if no call of it is taken.
const Op* find_op(ggml_op op);

extern const Op kMulMat, kMulMatId;                             // ops_matmul.cc
extern const Op kBinary, kAddId, kScale, kClamp, kUnary, kGlu;  // ops_elementwise.cc
extern const Op kNorm, kRmsNorm, kL2Norm, kSoftMax, kSumRows;   // ops_rows.cc
extern const Op kArgsort, kArgmax, kTopK;
extern const Op kCopy, kGetRows, kSetRows, kConcat, kRepeat, kIm2Col;  // ops_copy.cc
extern const Op kConv2d, kConv2dDw, kConv3d;                           // ops_image.cc
extern const Op kConvTranspose1d, kConvTranspose2d;
extern const Op kPool1d, kPool2d, kGroupNorm, kUpscale, kPad;
extern const Op kGatedDeltaNet, kSsmConv;  // ops_sequence.cc
extern const Op kRope;                     // ops_rope.cc
extern const Op kFlashAttention;           // ops_attention.cc

}  // namespace ggml_port

#endif  // TESSERA_EXAMPLES_GGML_BACKEND_OPS_H_
