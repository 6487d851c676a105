#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "tensor/tensor_view.h"

namespace mla {

/// A tensor that exists in no file, with its bytes.
struct OwnedTensor {
  TensorView view;
  std::shared_ptr<std::byte[]> bytes;
};

/// Rows [first, first + n) of a tensor (rows counted over all outer dimensions) as a matrix [n, n_in] in
/// place. Nothing when the tensor is FP8 and the first row is not the first of a block of scales.
std::optional<TensorView> row_slice(const TensorView& view, int64_t first, int64_t n);

/// Picks rows out of a matrix that is made of `n_blocks` blocks of `block_rows` rows: from each block, rows
/// [first, first + n).
struct RowBlocks {
  int64_t n_blocks = 1;
  int64_t block_rows = 0;
  int64_t first = 0;
  int64_t n = 0;
};

/// The picked rows as a stack [n_blocks, n, n_in]. The result is BF16 or F16 where that holds every value,
/// else F32: the copy is exact whatever the source's type.
OwnedTensor copy_rows(const TensorView& view, const RowBlocks& rows);

/// The same, each matrix transposed: [n_blocks, n_in, n].
OwnedTensor transpose_rows(const TensorView& view, const RowBlocks& rows);

}  // namespace mla
