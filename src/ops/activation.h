#pragma once

#include <cstdint>

namespace mla {

/// Activations: a row-major f32 matrix in a backend's memory, one row per token. A view: copying it copies no data.
/// Heads lie side by side in a row, so [n_tokens, n_heads, d_head] is a matrix with n_heads * d_head columns, and a
/// slice of the columns (the rope part of a latent row, say) is a view with the same stride.
struct Activation {
  float* data = nullptr;
  int64_t n_rows = 0;
  int64_t n_cols = 0;
  int64_t stride = 0;  ///< elements from one row to the next; >= n_cols

  float* row(int64_t i) const { return data + i * stride; }
  Activation columns(int64_t begin, int64_t n) const { return {data + begin, n_rows, n, stride}; }
  Activation rows(int64_t begin, int64_t n) const { return {data + begin * stride, n, n_cols, stride}; }
  bool contiguous() const { return stride == n_cols; }
};

}  // namespace mla
