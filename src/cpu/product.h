#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/backend.h"
#include "cpu/interleaved.h"
#include "cpu/kernels.h"

namespace mla::cpu {

/// Whether so few tokens are multiplied that decoding weights in registers beats decoding them to the cache.
inline bool is_thin(int64_t n_tokens) {
  return n_tokens <= kThinTokens;
}

/// Most weight rows of one task.
inline constexpr int64_t kMostTaskRows = 256;

/// Weight rows of one task: when thin, a stream long enough for prefetching to pay, but several tasks for each thread; one
/// panel otherwise. Always whole groups of 16: a task may take the same rows of another matrix too, which may be interleaved
/// where this one is not.
inline int64_t rows_per_task(const WeightMatrix& weight, int64_t n_tokens, int n_threads) {
  if (!is_thin(n_tokens)) return kPanelRows;
  constexpr int64_t kLeastBytes = 16 << 10, kMostBytes = 128 << 10;
  const int64_t bytes = std::clamp(weight.n_out * weight.row_bytes / (4 * n_threads), kLeastBytes, kMostBytes);
  return std::clamp(bytes / std::max<int64_t>(1, weight.row_bytes), kGroupRows, kMostTaskRows) / kGroupRows * kGroupRows;
}
static_assert(kPanelRows % kGroupRows == 0 && kPanelRows <= kMostTaskRows);

/// Multiply-adds, or bytes if there are more.
inline double product_work(const WeightMatrix& weight, int64_t n_rows, int64_t n_tokens) {
  const double bytes = static_cast<double>(n_rows) * static_cast<double>(weight.row_bytes);
  const double multiply_adds =
      static_cast<double>(n_rows) * static_cast<double>(weight.n_in) * static_cast<double>(n_tokens) / 16.0;
  return std::max(bytes, multiply_adds);
}

/// Whether a product of so many tokens runs on the matrix unit.
inline bool on_matrix_unit(const Kernels& kernels, const WeightMatrix& weight, int64_t n_tokens) {
  return !is_thin(n_tokens) && kernels.matrix_product[static_cast<size_t>(weight.dtype)] != nullptr &&
         (weight.block_scale == nullptr || kPanelDepth % weight.scale_block == 0);
}

/// Rows x[0 ... n) of n_in elements as products of a matrix want them.
struct ProductRows {
  const float* const* x = nullptr;
  const FixedBlock** fixed = nullptr;  ///< interleaved matrices
  const uint16_t* bf16 = nullptr;      ///< products on the matrix unit
  int64_t bf16_stride = 0;

  /// Those from row `first` on.
  void set(ProductArgs& args, const Kernels& kernels, int64_t first, int64_t n_tokens) const {
    args.x = x + first;
    args.n_tokens = n_tokens;
    if (fixed != nullptr) args.fixed = fixed + first;
    if (bf16 != nullptr && on_matrix_unit(kernels, args.weight, n_tokens)) {
      args.bf16 = bf16 + first * bf16_stride;
      args.bf16_stride = bf16_stride;
    }
  }
};

/// The rows as an interleaved matrix wants them; null for other matrices, which take x itself.
inline const FixedBlock** fixed_rows(CpuBackend& backend, const WeightMatrix& weight, const float* const* x, int64_t n) {
  if (!weight.interleaved) return nullptr;
  const int64_t n_blocks = weight.n_in / kFixedElements;
  auto* blocks = backend.work<FixedBlock>(n * n_blocks);
  auto** rows = backend.work<const FixedBlock*>(n);
  backend.for_tasks(n, static_cast<double>(n * weight.n_in), [&](int64_t i, int) {
    rows[i] = blocks + i * n_blocks;
    backend.kernels().fix(x[i], weight.n_in, blocks + i * n_blocks);
  });
  return rows;
}

/// Gives the rows to the matrix unit too.
inline void add_bf16_rows(CpuBackend& backend, const WeightMatrix& weight, int64_t n, ProductRows& rows) {
  rows.bf16_stride = 2 * pad_depth(weight.n_in);
  auto* bf16 = backend.work<uint16_t>(n * rows.bf16_stride);
  backend.for_tasks(n, static_cast<double>(n * weight.n_in), [&](int64_t i, int) {
    backend.kernels().split(rows.x[i], weight.n_in, bf16 + i * rows.bf16_stride);
  });
  rows.bf16 = bf16;
}

/// One task of a product.
inline void run_product(const Kernels& kernels, const ProductArgs& args) {
  const auto type = static_cast<size_t>(args.weight.dtype);
  if (args.bf16 != nullptr) return kernels.matrix_product[type](kernels, args);
  if (args.weight.interleaved) return kernels.interleaved_product[type](args);
  (is_thin(args.n_tokens) ? kernels.thin_product : kernels.panel_product)[type](args);
}

}  // namespace mla::cpu
