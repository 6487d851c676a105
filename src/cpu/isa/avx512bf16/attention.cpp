// Attention of blocks of 16 queries over tiles of cached rows in bf16, with f32 scores and sums: what TileKernels asks for,
// on top of BlockProduct, so that AVX-512 and the matrix unit differ in that product alone.
//
//   scores [n_rows, queries] = keys [n_rows, d_k] x queries [d_k, queries]: rows as they lie in the cache are the left side;
//   a row of scores holds 16 queries, so that the softmax runs down the rows without a sum across a vector;
//   sums [queries, d_v] += weights [queries, n_rows] x values [n_rows, d_v], the values paired once for all queries.
//
// Queries and weights are rounded to bf16, as cached rows are: an output is within 2^-8 of its value's range of the exact one.

#define MLA_CPU_ISA avx512bf16
#define MLA_CPU_SIMD "cpu/isa/simd_avx512.h"
#include "cpu/isa/bf16_tiles.h"
#include "cpu/isa/math-inl.h"

namespace mla::cpu::avx512bf16 {
namespace {

/// Pieces of a tile's memory, handed out in order; every one starts at a multiple of 64 bytes.
class Pieces {
 public:
  explicit Pieces(void* memory) : at_(static_cast<std::byte*>(memory)) {}
  template <class T>
  T* take(int64_t n) {
    T* piece = reinterpret_cast<T*>(at_);
    at_ += size<T>(n);
    return piece;
  }
  template <class T>
  static constexpr int64_t size(int64_t n) {
    return (n * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
  }

 private:
  std::byte* at_;
};

// -- cached rows ------------------------------------------------------------------------------------------------------

struct Bf16Rows {
  const uint16_t* data = nullptr;
  int64_t stride = 0;  // elements
};

int64_t width_of(std::span<const RowSegment> segments) {
  int64_t width = 0;
  for (const RowSegment& s : segments) width += s.width;
  return width;
}

/// Whether the segments are bf16 numbers in a row.
bool is_plain_bf16(std::span<const RowSegment> segments) {
  int64_t at = segments.front().byte_offset;
  for (const RowSegment& s : segments) {
    if (s.format != RowFormat::kBF16 || s.byte_offset != at) return false;
    at += 2 * s.width;
  }
  return true;
}

constexpr int64_t rows_size(int64_t width) {
  return Pieces::size<uint16_t>(kTileRows * pad_depth(width)) + Pieces::size<float>(pad_depth(width));
}

/// The rows' segments as bf16: where they lie if that is so (and, for `whole` depth steps, if their width is a multiple of
/// one), else copied or decoded to rows that are padded with zeros.
Bf16Rows bf16_rows(const Kernels& kernels, const TileSource& source, std::span<const RowSegment> segments, bool whole,
                   Pieces& memory) {
  const int64_t width = width_of(segments), stride = pad_depth(width);
  const bool plain = is_plain_bf16(segments);
  const auto* in_place = reinterpret_cast<const uint16_t*>(source.rows + segments.front().byte_offset);
  if (plain && (!whole || stride == width)) return {in_place, source.row_bytes / 2};
  auto* rows = memory.take<uint16_t>(kTileRows * stride);
  if (plain) {
    for (int64_t r = 0; r < source.n_rows; ++r) {
      for (int64_t k = 0; k < stride; k += 32) {
        const __m512i halves = _mm512_maskz_loadu_epi16(first_halves(width - k), in_place + r * (source.row_bytes / 2) + k);
        _mm512_storeu_si512(rows + r * stride + k, halves);
      }
    }
    return {rows, stride};
  }
  auto* row = memory.take<float>(stride);
  for (int64_t r = 0; r < source.n_rows; ++r) {
    for (const RowSegment& s : segments) {
      kernels.decode_segment(s, source.rows + r * source.row_bytes, row + (s.first - segments.front().first));
    }
    for (int64_t k = 0; k < stride; k += 32) _mm512_storeu_si512(rows + r * stride + k, bf16_of(row + k, width - k));
  }
  return {rows, stride};
}

// -- tiles ------------------------------------------------------------------------------------------------------------

MLA_INLINE bool has_only_finite(__m512i halves) {
  const __m512i exponent = _mm512_set1_epi16(0x7f80);
  return _mm512_cmpeq_epi16_mask(_mm512_and_si512(halves, exponent), exponent) == 0;
}

/// Values as a right side: [pad_depth(d_v) / 16] blocks of [kTileRows / 2][16][2]; rows beyond the last are zero as far as a
/// product looks. load(r, c): elements c ... c + 31 of row r.
template <class Load>
MLA_INLINE bool pair_values(int64_t n_rows, int64_t d_v, Load get, uint16_t* out) {
  constexpr int64_t kBlockSize = kTileRows * kBlockColumns;
  bool finite = true;
  for (int64_t r = 0; r < pad_depth(n_rows); r += 2) {
    for (int64_t c = 0; c < d_v; c += 32) {
      const __m512i a = r < n_rows ? get(r, c) : _mm512_setzero_si512();
      const __m512i b = r + 1 < n_rows ? get(r + 1, c) : _mm512_setzero_si512();
      finite &= has_only_finite(a) && has_only_finite(b);
      uint16_t* block = out + c / kBlockColumns * kBlockSize + r * kBlockColumns;
      _mm512_storeu_si512(block, low_pairs(a, b));
      _mm512_storeu_si512(block + kBlockSize, high_pairs(a, b));
    }
  }
  return finite;
}

int64_t tile_size(int64_t d_k, int64_t d_v) noexcept {
  return rows_size(d_k) + rows_size(d_v) + Pieces::size<uint16_t>(kTileRows * pad_depth(d_v));
}

void load_tile(const Kernels& kernels, const TileSource& source, void* memory, Tile& tile) noexcept {
  Pieces pieces(memory);
  const Bf16Rows keys = bf16_rows(kernels, source, source.keys, true, pieces);
  const Bf16Rows values = source.values.empty() ? keys : bf16_rows(kernels, source, source.values, false, pieces);
  auto* pairs = pieces.take<uint16_t>(kTileRows * pad_depth(source.d_v));
  const auto get = [&](int64_t r, int64_t c) MLA_INLINE_LAMBDA {
    return _mm512_maskz_loadu_epi16(first_halves(source.d_v - c), values.data + r * values.stride + c);
  };
  tile.finite = pair_values(source.n_rows, source.d_v, get, pairs);
  tile.keys = keys.data;
  tile.key_stride = keys.stride;
  tile.values = pairs;
  tile.n_rows = source.n_rows;
}

// -- MLA expanded -----------------------------------------------------------------------------------------------------

int64_t projections_size(const MlaSpec& s) noexcept {
  return Pieces::size<uint16_t>(pad_depth(s.kv_rank) * pad_depth(s.d_nope)) +
         Pieces::size<uint16_t>(pad_depth(s.kv_rank) * pad_columns(s.d_v));
}

void pack_projections(const MlaSpec& s, const float* k_up, const float* v_up, void* out) noexcept {
  const int64_t depth = pad_depth(s.kv_rank);
  Pieces pieces(out);
  auto* keys = pieces.take<uint16_t>(depth * pad_depth(s.d_nope));
  auto* values = pieces.take<uint16_t>(depth * pad_columns(s.d_v));
  const auto row = [&](int64_t j, int64_t c) MLA_INLINE_LAMBDA {
    return j < s.kv_rank ? bf16_of(k_up + j * s.d_nope + c, s.d_nope - c) : _mm512_setzero_si512();
  };
  for (int64_t j = 0; j < depth; j += 2) {
    for (int64_t c = 0; c < s.d_nope; c += 32) {
      const __m512i a = row(j, c), b = row(j + 1, c);
      uint16_t* block = keys + c * depth + j * kBlockColumns;
      _mm512_storeu_si512(block, low_pairs(a, b));
      _mm512_storeu_si512(block + depth * kBlockColumns, high_pairs(a, b));
    }
  }
  for (int64_t i = 0; i < s.d_v; i += kBlockColumns) {
    const float* rows[kBlockColumns];
    const int64_t n = s.d_v - i < kBlockColumns ? s.d_v - i : kBlockColumns;
    for (int64_t r = 0; r < n; ++r) rows[r] = v_up + (i + r) * s.kv_rank;
    pack_block(rows, n, s.kv_rank, values + i * depth);
  }
}

int64_t expanded_size(const MlaSpec& s) noexcept {
  const int64_t columns = pad_depth(s.d_nope) > pad_depth(s.d_v) ? pad_depth(s.d_nope) : pad_depth(s.d_v);
  return rows_size(s.kv_rank) + rows_size(s.d_rope) + Pieces::size<float>(kTileRows * columns) +
         Pieces::size<uint16_t>(kTileRows * pad_depth(s.d_nope + s.d_rope)) +
         Pieces::size<uint16_t>(kTileRows * pad_depth(s.d_v));
}

void expand_tile(const Kernels& kernels, const MlaSpec& s, const TileSource& source, const void* projections, void* memory,
                 Tile& tile) noexcept {
  const int64_t depth = pad_depth(s.kv_rank), key_stride = pad_depth(s.d_nope + s.d_rope);
  const auto* k_up = static_cast<const uint16_t*>(projections);
  const uint16_t* v_up = k_up + Pieces::size<uint16_t>(depth * pad_depth(s.d_nope)) / 2;
  const int64_t columns = pad_depth(s.d_nope) > pad_depth(s.d_v) ? pad_depth(s.d_nope) : pad_depth(s.d_v);
  Pieces pieces(memory);
  const Bf16Rows latents = bf16_rows(kernels, source, source.keys.first(1), true, pieces);
  const Bf16Rows roped = bf16_rows(kernels, source, source.keys.subspan(1), false, pieces);
  auto* expanded = pieces.take<float>(kTileRows * columns);
  auto* keys = pieces.take<uint16_t>(kTileRows * key_stride);
  auto* pairs = pieces.take<uint16_t>(kTileRows * pad_depth(s.d_v));

  BlockProduct product{.a = latents.data, .a_stride = latents.stride, .b = k_up, .b_block = depth * kBlockColumns,
                       .c = expanded, .c_stride = columns, .m = source.n_rows, .n = pad_columns(s.d_nope), .k = depth};
  kernels.block_product(product);
  for (int64_t r = 0; r < source.n_rows; ++r) {
    uint16_t* key = keys + r * key_stride;
    for (int64_t c = 0; c < s.d_nope; c += 32) {
      _mm512_storeu_si512(key + c, bf16_of(expanded + r * columns + c, s.d_nope - c));
    }
    std::memcpy(key + s.d_nope, roped.data + r * roped.stride, static_cast<size_t>(s.d_rope) * sizeof(uint16_t));
    std::memset(key + s.d_nope + s.d_rope, 0, static_cast<size_t>(key_stride - s.d_nope - s.d_rope) * sizeof(uint16_t));
  }
  product.b = v_up;
  product.n = pad_columns(s.d_v);
  kernels.block_product(product);
  const auto get = [&](int64_t r, int64_t c) MLA_INLINE_LAMBDA { return bf16_of(expanded + r * columns + c, s.d_v - c); };
  tile.finite = pair_values(source.n_rows, s.d_v, get, pairs);
  tile.keys = keys;
  tile.key_stride = key_stride;
  tile.values = pairs;
  tile.n_rows = source.n_rows;
}

// -- attention --------------------------------------------------------------------------------------------------------

int64_t queries_size(int64_t n, int64_t d_k) noexcept {
  return Pieces::size<uint16_t>(pad_columns(n) * pad_depth(d_k));
}

void pack_queries(const float* const* queries, int64_t n, int64_t d_k, void* out) noexcept {
  auto* blocks = static_cast<uint16_t*>(out);
  for (int64_t q = 0; q < n; q += kBlockColumns) {
    pack_block(queries + q, n - q < kBlockColumns ? n - q : kBlockColumns, d_k, blocks + q * pad_depth(d_k));
  }
}

constexpr int64_t kTogether = 2 * kBlockColumns;  ///< queries of one step

/// The queries of a step, in vectors of 16.
struct Step {
  int64_t first;  // query
  int64_t n_queries;
  int64_t n_rows;  // that any of them sees
  bool all_see;    // whether all of them do
  __mmask16 lanes[2];
  __m512i visible[2];
};

Step step_of(const AttendArgs& a, int64_t first) {
  Step step{.first = first, .n_queries = a.n_queries - first < kTogether ? a.n_queries - first : kTogether, .n_rows = 0,
            .all_see = true};
  for (int i = 0; i < 2; ++i) {
    step.lanes[i] = first_floats(step.n_queries - i * kBlockColumns);
    step.visible[i] = _mm512_maskz_loadu_epi32(step.lanes[i], a.visible + first + i * kBlockColumns);
    const int64_t most = _mm512_reduce_max_epi32(step.visible[i]);
    step.n_rows = most > step.n_rows ? most : step.n_rows;
  }
  const __m512i all = _mm512_set1_epi32(static_cast<int>(step.n_rows));
  for (int i = 0; i < 2; ++i) {
    step.all_see &= _mm512_mask_cmpge_epi32_mask(step.lanes[i], step.visible[i], all) == step.lanes[i];
  }
  return step;
}

/// Scores [n_rows][16], kTogether apart, of the step's vector i become weights exp(scale * score - largest), bf16
/// [16][kTileRows], with zeros for rows that a query does not see. Returns what earlier sums are to be multiplied by.
__m512 softmax_step(const AttendArgs& a, const Step& step, int i, float* scores, uint16_t* weights) {
  const F32 none = set1(-__builtin_inff()), scale = set1(a.scale);
  const __mmask16 lanes = step.lanes[i];
  float* const state_largest = a.largest + step.first + i * kBlockColumns;
  float* const state_sum = a.sum + step.first + i * kBlockColumns;
  const auto sees = [&](int64_t r) MLA_INLINE_LAMBDA {
    return _mm512_mask_cmpgt_epi32_mask(lanes, step.visible[i], _mm512_set1_epi32(static_cast<int>(r)));
  };
  const F32 before = _mm512_mask_loadu_ps(none, lanes, state_largest);
  F32 largest = before;
  for (int64_t r = 0; r < step.n_rows; ++r) {
    const F32 score = mul(load(scores + r * kTogether), scale);
    store(scores + r * kTogether, score);
    largest = step.all_see ? max2(largest, score) : _mm512_mask_max_ps(largest, sees(r), largest, score);
  }
  F32 sum = zero();
  const auto weight = [&](int64_t r) MLA_INLINE_LAMBDA {
    if (r >= step.n_rows) return zero();
    const F32 p = exp(sub(load(scores + r * kTogether), largest));
    return step.all_see ? p : _mm512_maskz_mov_ps(sees(r), p);
  };
  const __m512i side_by_side = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5,
                                                20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  for (int64_t first = 0; first < step.n_rows; first += kDepthStep) {
    __m512i pairs[16];
    for (int j = 0; j < 16; ++j) {
      const F32 even = weight(first + 2 * j), odd = weight(first + 2 * j + 1);
      sum = add(sum, add(even, odd));
      pairs[j] = _mm512_permutexvar_epi16(side_by_side, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even)));
    }
    transpose(pairs);
    for (int q = 0; q < 16; ++q) _mm512_storeu_si512(weights + q * kTileRows + first, pairs[q]);
  }
  const __mmask16 had = _mm512_cmp_ps_mask(before, none, _CMP_NEQ_UQ);
  const F32 factor = _mm512_maskz_mov_ps(had, exp(sub(before, largest)));
  _mm512_mask_storeu_ps(state_largest, lanes, largest);
  _mm512_mask_storeu_ps(state_sum, lanes, fma(_mm512_maskz_loadu_ps(lanes, state_sum), factor, sum));
  return factor;
}

/// Where a query does not see every row and a value is not finite: a weight of 0 would not silence it.
void add_seen_values(const AttendArgs& a, const Step& step, const uint16_t* weights) {
  constexpr int64_t kBlockSize = kTileRows * kBlockColumns;
  const auto* values = static_cast<const uint16_t*>(a.tile.values);
  const auto number = [](uint16_t half) { return __builtin_bit_cast(float, static_cast<uint32_t>(half) << 16); };
  for (int64_t q = 0; q < step.n_queries; ++q) {
    float* out = a.values_sum + (step.first + q) * pad_depth(a.d_v);
    for (int64_t r = 0; r < a.visible[step.first + q]; ++r) {
      const float weight = number(weights[q * kTileRows + r]);
      for (int64_t c = 0; c < a.d_v; ++c) {
        out[c] += weight * number(values[c / kBlockColumns * kBlockSize + r / 2 * 2 * kBlockColumns +
                                         c % kBlockColumns * 2 + r % 2]);
      }
    }
  }
}

void attend(const Kernels& kernels, const AttendArgs& a) noexcept {
  alignas(64) float scores[kTileRows * kTogether];
  alignas(64) uint16_t weights[kTogether * kTileRows];
  alignas(64) float factors[kTogether];
  const int64_t depth = pad_depth(a.d_k), stride = pad_depth(a.d_v);
  for (int64_t first = a.first_query; first < a.n_queries; first += kTogether) {
    const Step step = step_of(a, first);
    if (step.n_rows == 0) continue;
    kernels.block_product({.a = static_cast<const uint16_t*>(a.tile.keys), .a_stride = a.tile.key_stride,
                           .b = static_cast<const uint16_t*>(a.queries) + first * depth, .b_block = depth * kBlockColumns,
                           .c = scores, .c_stride = kTogether, .m = step.n_rows, .n = pad_columns(step.n_queries), .k = depth,
                           .ahead = first == a.first_query ? a.ahead : Ahead{}});
    for (int i = 0; i * kBlockColumns < step.n_queries; ++i) {
      const F32 factor = softmax_step(a, step, i, scores + i * kBlockColumns, weights + i * kBlockColumns * kTileRows);
      store(factors + i * kBlockColumns, factor);
    }
    float* sums = a.values_sum + first * stride;
    for (int64_t q = 0; q < step.n_queries; ++q) {
      if (factors[q] == 1.0F) continue;
      float* row = sums + q * stride;
      for (int64_t c = 0; c < stride; c += kLanes) store(row + c, mul(load(row + c), set1(factors[q])));
    }
    if (!a.tile.finite && !(step.all_see && step.n_rows == a.tile.n_rows)) {
      add_seen_values(a, step, weights);
      continue;
    }
    kernels.block_product({.a = weights, .a_stride = kTileRows, .b = static_cast<const uint16_t*>(a.tile.values),
                           .b_block = kTileRows * kBlockColumns, .c = sums, .c_stride = stride, .m = step.n_queries,
                           .n = pad_columns(a.d_v), .k = pad_depth(step.n_rows), .accumulate = true});
  }
}

}  // namespace

void fill_attention(Kernels& kernels) {
  kernels.bf16_tiles = {.queries_size = queries_size, .pack_queries = pack_queries, .tile_size = tile_size,
                        .load_tile = load_tile, .attend = attend, .projections_size = projections_size,
                        .pack_projections = pack_projections, .expanded_size = expanded_size, .expand_tile = expand_tile};
}

}  // namespace mla::cpu::avx512bf16
