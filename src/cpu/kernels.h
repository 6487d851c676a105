#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu_features.h"
#include "tensor/dtype.h"

// What differs per instruction set, as one table of function pointers. The algorithms are written once, in
// isa/*-inl.h, over the vector primitives of isa/simd_*.h; isa/{scalar,avx2,avx512}/*.cpp compile them. Only products of
// quantised matrices have kernels of their own where the 8-bit dot products of VNNI exist (isa/avx512vnni).
// Kernels run on one thread, check nothing and never throw: cpu_backend and its helpers plan the work and
// split it.

namespace mla {
struct RowSegment;
}

namespace mla::cpu {

/// A weight matrix [n_out, n_in]: rows of blocks, as its file holds it, or groups of 16 rows (cpu/interleaved.h).
struct WeightMatrix {
  const uint8_t* data = nullptr;
  int64_t row_bytes = 0;
  int64_t n_out = 0;
  int64_t n_in = 0;
  DType dtype = DType::kF32;
  bool interleaved = false;
  const float* block_scale = nullptr;  ///< FP8: [ceil(n_out / scale_block), scale_stride], or null
  int64_t scale_block = 0;             ///< a multiple of 32
  int64_t scale_stride = 0;

  /// Of an interleaved matrix: the group that begins with row i.
  const uint8_t* row(int64_t i) const { return data + i * row_bytes; }
};

struct FixedBlock;

/// Rows [row_begin, row_end) of a product: out[t][row] = sum over k of x[t][k] w[row][k] (+ bias[row]).
struct ProductArgs {
  WeightMatrix weight;
  int64_t row_begin = 0;
  int64_t row_end = 0;
  const float* const* x = nullptr;  ///< [n_tokens] rows of n_in elements
  const FixedBlock* const* fixed = nullptr;  ///< interleaved matrices take these instead: [n_tokens] rows of n_in / 32 blocks
  int64_t n_tokens = 0;
  float* out = nullptr;  ///< element (t, row) at out[t * out_stride + row]
  int64_t out_stride = 0;
  const float* bias = nullptr;  ///< [n_out] or null
  float* panel = nullptr;       ///< kPanelRows * kPanelDepth floats of this thread; many tokens only
};
inline constexpr int64_t kThinTokens = 12;   ///< most tokens of a thin product
inline constexpr int64_t kPanelRows = 64;    ///< weight rows that are decoded together
inline constexpr int64_t kPanelDepth = 512;  ///< ... and elements of each; a multiple of every block size

/// Rows of one cached tile against a block of queries: one step of the online softmax (Milakov and
/// Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135).
struct AttendArgs {
  const float* const* queries = nullptr;  ///< [n_queries] of d_k elements
  int64_t n_queries = 0;
  int64_t d_k = 0;
  int64_t d_v = 0;
  const float* keys = nullptr;  ///< [n_rows, d_k], rows key_stride apart
  int64_t key_stride = 0;
  const float* values = nullptr;  ///< [n_rows, d_v], rows value_stride apart
  int64_t value_stride = 0;
  int64_t n_rows = 0;                ///< <= kTileRows
  const int32_t* visible = nullptr;  ///< [n_queries]: a query sees the first so many rows of the tile
  float scale = 0.0F;
  float* scores = nullptr;      ///< [n_queries, kTileRows] to work in
  float* largest = nullptr;     ///< [n_queries] state: largest score so far, -infinity at first
  float* sum = nullptr;         ///< [n_queries] state: sum of exp(score - largest), 0 at first
  float* values_sum = nullptr;  ///< [n_queries, d_v] state: sum of exp(score - largest) * value, 0 at first
};
inline constexpr int64_t kTileRows = 64;  ///< rows of an attention tile: one cache page

struct Kernels {
  // -- products (isa/products-inl.h) --
  void (*thin_product[kDTypeCount])(const ProductArgs&) noexcept = {};   ///< n_tokens in 1 ... kThinTokens
  void (*panel_product[kDTypeCount])(const ProductArgs&) noexcept = {};  ///< any number of tokens
  /// Products of interleaved matrices, any number of tokens, row_begin a multiple of 16; null for types that stay as their
  /// file has them.
  void (*interleaved_product[kDTypeCount])(const ProductArgs&) noexcept = {};
  /// n activations, a multiple of 32, for interleaved products.
  void (*fix)(const float* x, int64_t n, FixedBlock* out) noexcept = nullptr;
  /// Row `row` of a matrix as its file has it, as f32, [n_in].
  void (*decode_row[kDTypeCount])(const WeightMatrix&, int64_t row, float* out) noexcept = {};

  /// out[m][i] = x[m] . w[i] over n elements, for m < n_x and i < n_w: both sides f32.
  void (*dot_products)(const float* const* x, int64_t n_x, const float* w, int64_t n_w, int64_t w_stride,
                       int64_t n, float* out, int64_t out_stride) noexcept = nullptr;

  // -- attention (isa/attention-inl.h) --
  void (*attend)(const AttendArgs&) noexcept = nullptr;
  /// a[i] = a[i] * a_factor + b[i] * b_factor.
  void (*blend)(float* a, float a_factor, const float* b, float b_factor, int64_t n) noexcept = nullptr;
  /// sum over i of v[i] tanh(a[i] + b[i]).
  float (*tanh_dot)(const float* a, const float* b, const float* v, int64_t n) noexcept = nullptr;

  // -- cached rows (isa/rows-inl.h) --
  /// The segment's elements within a stored row, from and to f32, [segment.width].
  void (*decode_segment)(const RowSegment&, const uint8_t* row, float* values) noexcept = nullptr;
  void (*encode_segment)(const RowSegment&, const float* values, uint8_t* row) noexcept = nullptr;

  // -- rows of activations (isa/rowwise-inl.h) --
  void (*add)(float* x, const float* y, int64_t n) noexcept = nullptr;
  void (*rms_norm)(const float* x, const float* weight, float eps, float* out, int64_t n) noexcept = nullptr;
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, float* out,
                     int64_t n) noexcept = nullptr;
  void (*silu_mul)(const float* gate, const float* up, float* out, int64_t n) noexcept = nullptr;
  void (*gelu_tanh)(float* x, int64_t n) noexcept = nullptr;
  void (*gelu_erf)(float* x, int64_t n) noexcept = nullptr;
};

namespace scalar {
void fill_products(Kernels&);
void fill_attention(Kernels&);
void fill_rows(Kernels&);
void fill_rowwise(Kernels&);
}  // namespace scalar
namespace avx2 {
void fill_products(Kernels&);
void fill_attention(Kernels&);
void fill_rows(Kernels&);
void fill_rowwise(Kernels&);
}  // namespace avx2
namespace avx512 {
void fill_products(Kernels&);
void fill_attention(Kernels&);
void fill_rows(Kernels&);
void fill_rowwise(Kernels&);
}  // namespace avx512

namespace avx512vnni {
void fill_interleaved(Kernels&);
}  // namespace avx512vnni

/// The table of an instruction set that this machine can run.
const Kernels& kernels_for(Isa isa);

}  // namespace mla::cpu
