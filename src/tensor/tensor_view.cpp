#include "tensor/tensor_view.h"

#include <algorithm>

#include "tensor/dequantize.h"

namespace mla {

std::string shape_string(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

void dequantize_row(const TensorView& view, int64_t i, float* out) {
  const int64_t n_in = view.n_in();
  dequantize(view.dtype, view.row(i), out, n_in);
  if (view.block_scale == nullptr) return;

  // A stack of matrices has its factors stacked the same way: [n_matrices, ceil(n_out / block), ceil(n_in /
  // block)].
  const int64_t block = view.scale_block;
  const int64_t n_out = view.rank() < 2 ? 1 : view.shape[view.shape.size() - 2];
  const int64_t block_rows = (n_out + block - 1) / block;
  const int64_t block_cols = (n_in + block - 1) / block;
  const int64_t scale_row = i / n_out * block_rows + i % n_out / block;
  const float* scales = view.block_scale + scale_row * block_cols;
  for (int64_t c = 0; c < block_cols; ++c) {
    const int64_t end = std::min(n_in, (c + 1) * block);
    for (int64_t j = c * block; j < end; ++j) out[j] *= scales[c];
  }
}

}  // namespace mla
