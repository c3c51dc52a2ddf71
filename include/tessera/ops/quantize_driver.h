// SPDX-License-Identifier: Apache-2.0
// What quantize.h does: checks, and blocks shared by the threads.
#ifndef TESSERA_OPS_QUANTIZE_DRIVER_H_
#define TESSERA_OPS_QUANTIZE_DRIVER_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <type_traits>

#include "tessera/core/block_formats.h"
#include "tessera/core/check.h"
#include "tessera/core/context.h"
#include "tessera/core/view.h"
#include "tessera/dispatch/dispatch.h"
#include "tessera/ops/gemm_checks.h"
#include "tessera/ops/quantize.h"
#include "tessera/ref/block_formats.h"

namespace tessera::inline TESSERA_ABI::impl {

template <class T>
MemoryView memory_of(const View<T, 2>& v) {
  return {v.data, DType::kF32, v.extents, v.strides};
}

// The addresses of a matrix of blocks; none if it is empty.
template <class Byte>
AddressRange check_blocks(const char* function, const char* argument,
                          const BasicBlockView<Byte>& v) {
  const std::string name = argument;
  const BlockFormatInfo format = info(v.format);
  if (format.bytes == 0) {
    fail(function, name + ".format", "a BlockFormat", std::to_string(static_cast<int>(v.format)));
  }
  if (v.rows < 0 || v.cols < 0) {
    fail(function, argument, "extents of at least 0",
         to_string(std::array<index_t, 2>{v.rows, v.cols}));
  }
  if (v.cols % format.block != 0) {
    std::string expected = "a multiple of ";
    expected.append(std::to_string(format.block)).append(" (a block of ");
    expected.append(format.name).append(")");
    fail(function, name + ".cols", expected, std::to_string(v.cols));
  }
  if (v.format == BlockFormat::kNVFP4 && !(v.tensor_scale > 0 && v.tensor_scale <= 3.4e38f)) {
    fail(function, name + ".tensor_scale", "a positive, finite number",
         std::to_string(v.tensor_scale));
  }
  if (v.rows == 0 || v.cols == 0) return {};
  const index_t bytes = row_bytes(v.format, v.cols), pitch = v.row_bytes;
  if (!std::is_const_v<Byte> && v.rows > 1 && pitch < bytes && pitch > -bytes) {
    fail(function, name + ".row_bytes",
         "at least " + std::to_string(bytes) + ", the bytes of a row", std::to_string(pitch));
  }
  if (v.data == nullptr) {
    fail(function, argument,
         "data for extents " + to_string(std::array<index_t, 2>{v.rows, v.cols}), "a null pointer");
  }
  index_t reach = 0, elements = 0;
  AddressRange range;
  const auto address = reinterpret_cast<std::uintptr_t>(v.data);
  if (__builtin_mul_overflow(v.rows - 1, pitch, &reach) ||
      __builtin_mul_overflow(v.rows, v.cols, &elements) ||
      __builtin_add_overflow(address, std::min(reach, index_t{0}), &range.begin) ||
      __builtin_add_overflow(address, std::max(reach, index_t{0}), &range.end) ||
      __builtin_add_overflow(range.end, bytes, &range.end)) {
    fail(function, argument, "sizes within the address space",
         std::to_string(v.rows) + " rows of " + std::to_string(v.cols) + " columns, " +
             std::to_string(pitch) + " bytes apart");
  }
  return range;
}

// Kernels read and write the scales of their blocks as a whole.
inline bool is_even(const std::byte* address) {
  return reinterpret_cast<std::uintptr_t>(address) % 2 == 0;
}

// f(row, first block, last block + 1) for all blocks of a matrix, by the threads of the context.
template <class F>
void for_all_blocks(index_t rows, index_t blocks_per_row, index_t block, Context* context, F f) {
  constexpr index_t kLeast = 16 * 1024;  // elements per task: a few microseconds
  const index_t count = rows * blocks_per_row;
  const Executor executor = context != nullptr ? context->executor : Executor();
  const index_t most = executor.concurrency() == 1 ? 1 : 4 * executor.concurrency();
  const index_t tasks = std::clamp(count / std::max<index_t>(1, kLeast / block), index_t{1}, most);
  const index_t each = count / tasks, longer = count % tasks;  // the first `longer` have one more
  executor.parallel_for(tasks, [&](index_t task) {
    index_t i = task * each + std::min(task, longer);
    const index_t end = i + each + (task < longer ? 1 : 0);
    while (i < end) {
      const index_t row = i / blocks_per_row, first = i % blocks_per_row;
      const index_t last = std::min(blocks_per_row, first + end - i);
      f(row, first, last);
      i += last - first;
    }
  });
}

TESSERA_LIBRARY_FUNCTION void checked_quantize(const View<const float, 2>& src,
                                               const BlockView& dst,
                                               const QuantizeOptions& options) {
  constexpr const char* kName = "quantize";
  const QuantizeBlocks kernel =
      kernels_for<kBlocksFamily>(kName, options.context).blocks.quantize(dst.format);
  const AddressRange src_range = check_memory(kName, "src", memory_of(src));
  const AddressRange dst_range = check_blocks(kName, "dst", dst);
  const std::array<index_t, 2> extents{dst.rows, dst.cols};
  if (extents != src.extents) {
    fail(kName, "dst", "extents " + to_string(src.extents) + ", those of src", to_string(extents));
  }
  if (src_range.meets(dst_range)) {
    fail(kName, "dst", "memory that does not overlap src", "an overlapping view");
  }
  const auto columns = static_cast<std::size_t>(dst.cols);
  if (!options.importance.empty() && options.importance.size() != columns) {
    fail(kName, "options.importance",
         "none, or " + std::to_string(columns) + " numbers, one per column",
         std::to_string(options.importance.size()));
  }
  if (dst.rows == 0 || dst.cols == 0) return;

  const BlockFormatInfo format = info(dst.format);
  const float* importance = options.importance.empty() ? nullptr : options.importance.data();
  // Rows without gaps between them are one, so that short ones don't call the kernel for a few blocks each.
  const bool dense = importance == nullptr && src.strides[0] == dst.cols && src.strides[1] == 1 &&
                     dst.row_bytes == row_bytes(dst.format, dst.cols);
  const index_t blocks = dst.cols / format.block;
  for_all_blocks(
      dense ? 1 : dst.rows, dense ? dst.rows * blocks : blocks, format.block, options.context,
      [&](index_t row, index_t first, index_t last) {
        const float* x = src.data + row * src.strides[0];
        for (index_t i = first; i < last; ++i) {
          const index_t column = i * format.block;
          const float* from = x + column * src.strides[1];
          std::byte* to = dst.row(row) + i * format.bytes;
          std::array<float, 256> gathered;
          if (src.strides[1] != 1) {
            for (index_t j = 0; j < format.block; ++j) gathered[j] = from[j * src.strides[1]];
            from = gathered.data();
          } else if (kernel != nullptr && is_even(to)) {
            const index_t done = kernel(from, to, last - i);
            if (done > 0) {  // block i + done, if it is one of these, is not for the kernel
              i += done - 1;
              continue;
            }
          }
          ref::quantize_block(dst.format, from, to,
                              importance == nullptr ? nullptr : importance + column,
                              dst.tensor_scale);
        }
      });
}

TESSERA_LIBRARY_FUNCTION void checked_dequantize(const ConstBlockView& src,
                                                 const View<float, 2>& dst,
                                                 const DequantizeOptions& options) {
  constexpr const char* kName = "dequantize";
  const DequantizeBlocks kernel =
      kernels_for<kBlocksFamily>(kName, options.context).blocks.dequantize(src.format);
  const AddressRange src_range = check_blocks(kName, "src", src);
  const AddressRange dst_range = check_memory(kName, "dst", memory_of(dst));
  const std::array<index_t, 2> extents{src.rows, src.cols};
  if (extents != dst.extents) {
    fail(kName, "dst", "extents " + to_string(extents) + ", those of src", to_string(dst.extents));
  }
  if (src.rows == 0 || src.cols == 0) return;
  if (overlaps_itself(memory_of(dst))) {
    fail(kName, "dst", "strides that visit each element once", to_string(dst.strides));
  }
  if (src_range.meets(dst_range)) {
    fail(kName, "dst", "memory that does not overlap src", "an overlapping view");
  }

  const BlockFormatInfo format = info(src.format);
  for_all_blocks(src.rows, src.cols / format.block, format.block, options.context,
                 [&](index_t row, index_t first, index_t last) {
                   float* x = dst.data + row * dst.strides[0];
                   const std::byte* blocks = src.row(row) + first * format.bytes;
                   if (kernel != nullptr && dst.strides[1] == 1 && is_even(blocks)) {
                     return kernel(blocks, x + first * format.block, last - first);
                   }
                   for (index_t i = first; i < last; ++i) {
                     std::array<float, 256> dense;
                     float* to = x + i * format.block * dst.strides[1];
                     const std::byte* block = src.row(row) + i * format.bytes;
                     if (dst.strides[1] == 1) {
                       ref::dequantize_block(src.format, block, to, src.tensor_scale);
                     } else {
                       ref::dequantize_block(src.format, block, dense.data(), src.tensor_scale);
                       for (index_t j = 0; j < format.block; ++j) to[j * dst.strides[1]] = dense[j];
                     }
                   }
                 });
}

}  // namespace tessera::inline TESSERA_ABI::impl

#endif  // TESSERA_OPS_QUANTIZE_DRIVER_H_
