#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu_features.h"
#include "cpu/cpu_backend.h"
#include "ops/attention.h"
#include "ops/row_layout.h"
#include "tensor/dtype.h"

// What differs per instruction set, as one table of function pointers. The algorithms are written once, in
// isa/*-inl.h, over the vector primitives of isa/simd_*.h; isa/{scalar,avx2,avx512}/*.cpp compile them. Where an
// instruction set multiplies narrower numbers there are kernels of its own: quantised matrices on VNNI (isa/avx512vnni),
// attention on bf16 products (isa/avx512bf16), those and many tokens on the matrix unit (isa/amx). Each table is the one before
// with more in it.
// Kernels run on one thread, check nothing and never throw: cpu_backend and its helpers plan the work and
// split it.

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
  const uint16_t* bf16 = nullptr;  ///< products on the matrix unit take these: [n_tokens] rows as split() left them
  int64_t bf16_stride = 0;
  int64_t n_tokens = 0;
  float* out = nullptr;  ///< element (t, row) at out[t * out_stride + row]
  int64_t out_stride = 0;
  const float* bias = nullptr;  ///< [n_out] or null
  float* panel = nullptr;       ///< kPanelRows * kPanelDepth floats of this thread; many tokens only
};
inline constexpr int64_t kThinTokens = 12;   ///< most tokens of a thin product
inline constexpr int64_t kPanelRows = 64;    ///< weight rows that are decoded together
inline constexpr int64_t kPanelDepth = 512;  ///< ... and elements of each; a multiple of every block size

/// Memory that will be read soon.
struct Ahead {
  const std::byte* data = nullptr;
  int64_t bytes = 0;
};

/// c[i][j] (+)= sum over k of a[i][k] b[k][j]: operands bf16, sums f32. The right side lies in blocks of 16 columns, each
/// [k / 2][16][2]: a pair of summed elements of each column fills a vector, 16 such pair rows a tile of the matrix unit.
struct BlockProduct {
  const uint16_t* a = nullptr;  ///< [m, k], rows a_stride elements apart
  int64_t a_stride = 0;
  const uint16_t* b = nullptr;  ///< [n / 16] blocks, b_block elements apart
  int64_t b_block = 0;
  float* c = nullptr;  ///< [m, n], rows c_stride apart
  int64_t c_stride = 0;
  int64_t m = 0;
  int64_t n = 0;  ///< a multiple of kBlockColumns
  int64_t k = 0;  ///< a multiple of kDepthStep
  bool accumulate = false;
  Ahead ahead;  ///< fetched into the caches by the way
};
inline constexpr int64_t kBlockColumns = 16;
inline constexpr int64_t kDepthStep = 32;
/// The next multiple of kDepthStep, or of kBlockColumns.
constexpr int64_t pad_depth(int64_t n) { return (n + kDepthStep - 1) / kDepthStep * kDepthStep; }
constexpr int64_t pad_columns(int64_t n) { return (n + kBlockColumns - 1) / kBlockColumns * kBlockColumns; }

inline constexpr int64_t kTileRows = 64;  ///< rows of an attention tile: one cache page

/// Rows of one page: what a tile is made of.
struct TileSource {
  const uint8_t* rows = nullptr;  ///< row_bytes apart
  int64_t row_bytes = 0;
  int64_t n_rows = 0;                 ///< <= kTileRows
  std::span<const RowSegment> keys;   ///< d_k elements together
  std::span<const RowSegment> values;  ///< d_v elements together; none: the value is the key's first d_v elements
  int64_t d_k = 0;
  int64_t d_v = 0;
};

/// Keys and values of up to kTileRows rows, as the TileKernels that made it wants them.
struct Tile {
  const void* keys = nullptr;
  int64_t key_stride = 0;  ///< elements
  const void* values = nullptr;
  int64_t value_stride = 0;
  int64_t n_rows = 0;
  bool finite = true;  ///< no value is an infinity or NaN, as far as the kernels looked
};

/// Rows of a tile against queries: one step of the online softmax (Milakov and Gimelshein, arXiv 1805.02867; Dao et al.,
/// arXiv 2205.14135). Takes queries [first_query, n_queries) of all the arrays.
struct AttendArgs {
  const void* queries = nullptr;  ///< [n_queries] of d_k elements, as pack_queries left them
  int64_t first_query = 0;        ///< a multiple of kBlockColumns
  int64_t n_queries = 0;
  int64_t d_k = 0;
  int64_t d_v = 0;
  Tile tile;
  Ahead ahead;                       ///< what the next tile is made of
  const int32_t* visible = nullptr;  ///< a query sees the first so many rows of the tile
  float scale = 0.0F;
  float* scores = nullptr;      ///< [n_queries, kTileRows] to work in
  float* largest = nullptr;     ///< state: largest score so far, -infinity at first
  float* sum = nullptr;         ///< state: sum of exp(score - largest), 0 at first
  float* values_sum = nullptr;  ///< state: sum of exp(score - largest) * value, 0 at first; pad_depth(d_v) apart
};

/// The same for few queries of each of neighbouring KV heads, which read rows where they lie, a row's heads together: what
/// they need is memory bandwidth. Arrays over queries are [n_groups, group_queries].
struct AttendRowsArgs {
  TileSource source;  ///< with the segments of n_groups keys and as many values
  const float* const* queries = nullptr;
  int64_t n_groups = 0;
  int64_t group_queries = 0;
  const int32_t* visible = nullptr;  ///< [group_queries]
  float scale = 0.0F;
  float* rows = nullptr;    ///< attend_rows_size() floats to work in
  float* scores = nullptr;  ///< [n_groups, group_queries, kTileRows] to work in
  float* largest = nullptr;
  float* sum = nullptr;
  float* values_sum = nullptr;
};
inline constexpr int64_t kFewQueries = 4;  ///< most queries of a KV head for which this is worth it
inline constexpr int64_t kRowsTogether = 4;
/// Rows whose format the kernels decode first.
constexpr int64_t attend_rows_size(int64_t n_groups, int64_t d_k, int64_t d_v) {
  return kRowsTogether * n_groups * (d_k > d_v ? d_k : d_v);
}

struct Kernels;

/// Attention of a block of queries over tiles, in one arithmetic. Sizes are bytes of memory, to be aligned to 64.
struct TileKernels {
  int64_t (*queries_size)(int64_t n_queries, int64_t d_k) noexcept = nullptr;
  void (*pack_queries)(const float* const* queries, int64_t n_queries, int64_t d_k, void* out) noexcept = nullptr;
  int64_t (*tile_size)(int64_t d_k, int64_t d_v) noexcept = nullptr;
  void (*load_tile)(const Kernels&, const TileSource&, void* memory, Tile& tile) noexcept = nullptr;
  void (*attend)(const Kernels&, const AttendArgs&) noexcept = nullptr;

  // MLA expanded: one head's keys [W_UK^T c | rotated key] and values W_UV c. `rows.keys` are the segments of whole rows.
  int64_t (*projections_size)(const MlaSpec&) noexcept = nullptr;
  void (*pack_projections)(const MlaSpec&, const float* k_up /* [kv_rank, d_nope] */, const float* v_up /* [d_v, kv_rank] */,
                           void* out) noexcept = nullptr;
  int64_t (*expanded_size)(const MlaSpec&) noexcept = nullptr;
  void (*expand_tile)(const Kernels&, const MlaSpec&, const TileSource& rows, const void* projections, void* memory,
                      Tile& tile) noexcept = nullptr;
};

struct Kernels {
  // -- products (isa/products-inl.h) --
  void (*thin_product[kDTypeCount])(const ProductArgs&) noexcept = {};   ///< n_tokens in 1 ... kThinTokens
  void (*panel_product[kDTypeCount])(const ProductArgs&) noexcept = {};  ///< any number of tokens
  /// Products of interleaved matrices, any number of tokens, row_begin a multiple of 16; null for types that stay as their
  /// file has them.
  void (*interleaved_product[kDTypeCount])(const ProductArgs&) noexcept = {};
  /// Products of many tokens on the matrix unit, interleaved where the type has such a layout, row_begin a multiple of 16, at
  /// most kPanelRows rows; null where there is none, and for F32.
  void (*matrix_product[kDTypeCount])(const Kernels&, const ProductArgs&) noexcept = {};
  /// n activations for them as bf16 numbers, then as many bf16 numbers that say what rounding took away; pad_depth(n) each,
  /// filled up with zeros.
  void (*split)(const float* x, int64_t n, uint16_t* out) noexcept = nullptr;
  /// n activations, a multiple of 32, for interleaved products.
  void (*fix)(const float* x, int64_t n, FixedBlock* out) noexcept = nullptr;
  /// Row `row` of a matrix as its file has it, as f32, [n_in].
  void (*decode_row[kDTypeCount])(const WeightMatrix&, int64_t row, float* out) noexcept = {};

  // -- attention (isa/attention-inl.h) --
  void (*attend_rows)(const Kernels&, const AttendRowsArgs&) noexcept = nullptr;
  TileKernels f32_tiles;
  TileKernels bf16_tiles;  ///< null where there are no bf16 products
  void (*block_product)(const BlockProduct&) noexcept = nullptr;  ///< likewise
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
void fill_interleaved_8_bit(Kernels&);
}  // namespace avx512vnni
namespace avx512bf16 {
void fill_block_product(Kernels&);
void fill_attention(Kernels&);
}  // namespace avx512bf16
namespace amx {
void fill_block_product(Kernels&);
void fill_products(Kernels&);
}  // namespace amx

/// Rows that are kept as f32 are attended to in f32; narrower ones in bf16 where that is faster, which rounds no more than
/// they are rounded themselves.
inline const TileKernels& tile_kernels(const Kernels& kernels, RowFormat format) {
  return format == RowFormat::kF32 || kernels.bf16_tiles.attend == nullptr ? kernels.f32_tiles : kernels.bf16_tiles;
}

/// The table of an instruction set that this machine can run. k8Bit: with the kernels that it has for that, if any.
const Kernels& kernels_for(Isa isa, Activations activations = Activations::k16Bit);

}  // namespace mla::cpu
