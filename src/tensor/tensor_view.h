#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace mla {

/// A weight as its file holds it: dense, row-major, outermost dimension first (PyTorch's order; the loader turns GGUF's
/// reversed order round). A matrix that maps n_in values to n_out values is [n_out, n_in]. Does not own its bytes.
struct TensorView {
  std::string name;            ///< as in the file, for messages
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  ///< outermost first; a scalar has rank 0
  const std::byte* data = nullptr;

  /// FP8 only: one f32 factor per block of `scale_block` x `scale_block` elements of each matrix,
  /// [ceil(n_out / scale_block), ceil(n_in / scale_block)] (DeepSeek-V3's `weight_scale_inv`).
  const float* block_scale = nullptr;
  int64_t scale_block = 0;

  int64_t rank() const { return static_cast<int64_t>(shape.size()); }
  int64_t n_elements() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
  /// Innermost dimension (elements of a row); 1 for a scalar.
  int64_t n_in() const { return shape.empty() ? 1 : shape.back(); }
  /// Product of all dimensions but the innermost.
  int64_t n_rows() const { return n_in() == 0 ? 0 : n_elements() / n_in(); }
  int64_t row_bytes() const { return dtype_bytes(dtype, n_in()); }
  int64_t n_bytes() const { return row_bytes() * n_rows(); }
  const std::byte* row(int64_t i) const { return data + i * row_bytes(); }
};

/// "[2, 3, 4]" for messages.
std::string shape_string(const std::vector<int64_t>& shape);

/// Row `i` of the view (counting over all outer dimensions) as f32, FP8 block scales applied. `out` holds n_in() values.
void dequantize_row(const TensorView& view, int64_t i, float* out);

}  // namespace mla
