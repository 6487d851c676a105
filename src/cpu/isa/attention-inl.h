// Attention in f32, over tiles of decoded rows and, for few queries, over rows as they lie. Compiled once per instruction set;
// see Kernels in cpu/kernels.h. One kernel serves MHA, MQA and GQA (queries: the heads of a group times the new tokens), MLA absorbed (queries: all
// heads; keys are whole rows, values their latent part) and MLA expanded (rows rebuilt for one head). Scores and
// sums are f32: within 5e-6 of the output's range of the f64 reference.

#include "cpu/isa/formats-inl.h"
#include "cpu/isa/math-inl.h"
#include "cpu/isa/tile-inl.h"

namespace mla::cpu::MLA_CPU_ISA {

/// Turns the first n of a query's scores into exp(scale * score - largest); returns the factor that brings
/// earlier sums to the new largest score.
static float softmax_step(float* scores, int64_t n, float scale, float& largest, float& total) {
  const float kNone = -__builtin_inff();
  if (n <= 0) return 1.0F;
  for (int64_t r = 0; r < n; r += kLanes) store(scores + r, mul(load(scores + r), set1(scale)));
  for (int64_t r = n; r < kTileRows; ++r) scores[r] = kNone;
  F32 most = set1(kNone);
  for (int64_t r = 0; r < kTileRows; r += kLanes) most = max2(most, load(scores + r));
  const float tile_largest = max_lane(most);
  const float new_largest = tile_largest > largest ? tile_largest : largest;
  F32 sums = zero();
  for (int64_t r = 0; r < kTileRows; r += kLanes) {
    const F32 p = exp(sub(load(scores + r), set1(new_largest)));
    store(scores + r, p);
    sums = add(sums, p);
  }
  const float factor = largest == kNone ? 0.0F : sum(exp(set1(largest - new_largest))) / kLanes;
  largest = new_largest;
  total = total * factor + sum(sums);
  return factor;
}

/// out[m][0 ... width) += sum over r of p[m][r] v[r], for M queries and V vectors of columns.
template <int M, int V, class Load, class Store>
MLA_INLINE void values_block(const float* p, const float* v, int64_t v_stride, int64_t n_rows, float* out,
                             int64_t out_stride, Load get, Store put) {
  F32 sums[M][V];
  each<M>([&]<int m>() MLA_INLINE_LAMBDA {
    each<V>([&]<int i>() MLA_INLINE_LAMBDA { sums[m][i] = get(out + m * out_stride + i * kLanes); });
  });
  for (int64_t r = 0; r < n_rows; ++r) {
    F32 value[V];
    each<V>([&]<int i>() MLA_INLINE_LAMBDA { value[i] = get(v + r * v_stride + i * kLanes); });
    each<M>([&]<int m>() MLA_INLINE_LAMBDA {
      const F32 weight = set1(p[m * kTileRows + r]);
      each<V>([&]<int i>() MLA_INLINE_LAMBDA { sums[m][i] = fma(weight, value[i], sums[m][i]); });
    });
  }
  each<M>([&]<int m>() MLA_INLINE_LAMBDA {
    each<V>([&]<int i>() MLA_INLINE_LAMBDA { put(out + m * out_stride + i * kLanes, sums[m][i]); });
  });
}

/// All columns for M queries.
template <int M>
static void values_rows(const float* p, const float* v, int64_t v_stride, int64_t n_rows, int64_t d_v,
                        float* out, int64_t out_stride) {
  const auto get = [](const float* at) MLA_INLINE_LAMBDA { return load(at); };
  const auto put = [](float* at, F32 x) MLA_INLINE_LAMBDA { store(at, x); };
  int64_t c = 0;
  for (; c + 2 * kLanes <= d_v; c += 2 * kLanes)
    values_block<M, 2>(p, v + c, v_stride, n_rows, out + c, out_stride, get, put);
  for (; c + kLanes <= d_v; c += kLanes)
    values_block<M, 1>(p, v + c, v_stride, n_rows, out + c, out_stride, get, put);
  const int64_t rest = d_v - c;
  if (rest == 0) return;
  values_block<M, 1>(
      p, v + c, v_stride, n_rows, out + c, out_stride,
      [rest](const float* at) MLA_INLINE_LAMBDA { return load_n(at, rest); },
      [rest](float* at, F32 x) MLA_INLINE_LAMBDA { store_n(at, x, rest); });
}

/// M queries. Rows that only some of them see are left to each alone: a probability of 0 would not silence a
/// NaN.
template <int M>
MLA_INLINE void values_of(const AttendArgs& a, int64_t q) {
  const int64_t stride = pad_depth(a.d_v);
  const auto* values = static_cast<const float*>(a.tile.values);
  const float* p = a.scores + q * kTileRows;
  float* out = a.values_sum + q * stride;
  int64_t common = a.visible[q];
  for (int m = 1; m < M; ++m) common = a.visible[q + m] < common ? a.visible[q + m] : common;
  if (common > 0) values_rows<M>(p, values, a.tile.value_stride, common, a.d_v, out, stride);
  for (int m = 0; m < M; ++m) {
    const int64_t rest = a.visible[q + m] - common;
    if (rest == 0) continue;
    values_rows<1>(p + m * kTileRows + common, values + common * a.tile.value_stride, a.tile.value_stride, rest, a.d_v,
                   out + m * stride, stride);
  }
}

static void attend(const Kernels&, const AttendArgs& a) noexcept {
  const auto* queries = static_cast<const float* const*>(a.queries) + a.first_query;
  dot_tile(queries, a.n_queries - a.first_query, static_cast<const float*>(a.tile.keys), a.tile.n_rows, a.tile.key_stride,
           a.d_k, false, a.scores + a.first_query * kTileRows, kTileRows);
  for (int64_t q = a.first_query; q < a.n_queries; ++q) {
    const float factor =
        softmax_step(a.scores + q * kTileRows, a.visible[q], a.scale, a.largest[q], a.sum[q]);
    if (factor == 1.0F) continue;
    float* sums = a.values_sum + q * pad_depth(a.d_v);
    for (int64_t i = 0; i < a.d_v; ++i) sums[i] *= factor;
  }
  int64_t q = a.first_query;
  for (; q + kTileQueries <= a.n_queries; q += kTileQueries) values_of<kTileQueries>(a, q);
  for (; q + 4 <= a.n_queries; q += 4) values_of<4>(a, q);
  for (; q < a.n_queries; ++q) values_of<1>(a, q);
}

// -- tiles
// ------------------------------------------------------------------------------------------------------------

/// Queries stay where they are.
static int64_t queries_size(int64_t n, int64_t) noexcept { return n * static_cast<int64_t>(sizeof(float*)); }
static void pack_queries(const float* const* queries, int64_t n, int64_t, void* out) noexcept {
  std::memcpy(out, queries, static_cast<size_t>(n) * sizeof(float*));
}

static int64_t tile_size(int64_t d_k, int64_t d_v) noexcept {
  return kTileRows * (d_k + d_v) * static_cast<int64_t>(sizeof(float));
}

static void decode_segments(const Kernels& kernels, const TileSource& source, std::span<const RowSegment> segments, float* out,
                            int64_t stride) {
  for (int64_t r = 0; r < source.n_rows; ++r) {
    for (const RowSegment& s : segments) {
      kernels.decode_segment(s, source.rows + r * source.row_bytes, out + r * stride + (s.first - segments.front().first));
    }
  }
}

static void load_tile(const Kernels& kernels, const TileSource& source, void* memory, Tile& tile) noexcept {
  auto* keys = static_cast<float*>(memory);
  float* values = keys + kTileRows * source.d_k;
  decode_segments(kernels, source, source.keys, keys, source.d_k);
  if (!source.values.empty()) decode_segments(kernels, source, source.values, values, source.d_v);
  tile = {.keys = keys, .key_stride = source.d_k, .values = values, .value_stride = source.d_v, .n_rows = source.n_rows};
  if (source.values.empty()) tile.values = tile.keys, tile.value_stride = tile.key_stride;
}

/// [d_nope, kv_rank], then [d_v, kv_rank].
static int64_t projections_size(const MlaSpec& s) noexcept {
  return (s.d_nope + s.d_v) * s.kv_rank * static_cast<int64_t>(sizeof(float));
}
static void pack_projections(const MlaSpec& s, const float* k_up, const float* v_up, void* out) noexcept {
  auto* to = static_cast<float*>(out);
  for (int64_t i = 0; i < s.d_nope; ++i) {
    for (int64_t j = 0; j < s.kv_rank; ++j) *to++ = k_up[j * s.d_nope + i];
  }
  std::memcpy(to, v_up, static_cast<size_t>(s.d_v * s.kv_rank) * sizeof(float));
}

static int64_t expanded_size(const MlaSpec& s) noexcept {
  return kTileRows * (s.kv_rank + s.d_rope + s.d_nope + s.d_rope + s.d_v) * static_cast<int64_t>(sizeof(float));
}
static void expand_tile(const Kernels& kernels, const MlaSpec& s, const TileSource& source, const void* projections, void* memory,
                        Tile& tile) noexcept {
  const int64_t width = s.kv_rank + s.d_rope, d_k = s.d_nope + s.d_rope;
  const auto* k_up = static_cast<const float*>(projections);
  auto* latents = static_cast<float*>(memory);
  float* keys = latents + kTileRows * width;
  float* values = keys + kTileRows * d_k;
  const float* rows[kTileRows];
  decode_segments(kernels, source, source.keys, latents, width);
  for (int64_t r = 0; r < source.n_rows; ++r) {
    rows[r] = latents + r * width;
    std::memcpy(keys + r * d_k + s.d_nope, rows[r] + s.kv_rank, static_cast<size_t>(s.d_rope) * sizeof(float));
  }
  dot_tile(rows, source.n_rows, k_up, s.d_nope, s.kv_rank, s.kv_rank, false, keys, d_k);
  dot_tile(rows, source.n_rows, k_up + s.d_nope * s.kv_rank, s.d_v, s.kv_rank, s.kv_rank, false, values, s.d_v);
  tile = {.keys = keys, .key_stride = d_k, .values = values, .value_stride = s.d_v, .n_rows = source.n_rows};
}

static void blend(float* a, float a_factor, const float* b, float b_factor, int64_t n) noexcept {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store(a + i, fma(load(b + i), set1(b_factor), mul(load(a + i), set1(a_factor))));
  }
  if (i < n)
    store_n(a + i, fma(load_n(b + i, n - i), set1(b_factor), mul(load_n(a + i, n - i), set1(a_factor))),
            n - i);
}

static float tanh_dot(const float* a, const float* b, const float* v, int64_t n) noexcept {
  F32 sums = zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sums = fma(load(v + i), tanh(add(load(a + i), load(b + i))), sums);
  if (i < n) sums = fma(load_n(v + i, n - i), tanh(add(load_n(a + i, n - i), load_n(b + i, n - i))), sums);
  return sum(sums);
}

// -- few queries
// ------------------------------------------------------------------------------------------------------

/// Elements of a row as f32 vectors, and how many bytes an element takes.
struct ReadF32 {
  static constexpr int64_t kBytes = 4;
  MLA_INLINE F32 vector(const uint8_t* p) { return load(reinterpret_cast<const float*>(p)); }
};
struct ReadBf16 {
  static constexpr int64_t kBytes = 2;
  MLA_INLINE F32 vector(const uint8_t* p) { return load_bf16(p); }
};

/// The last n < kLanes elements; the others are 0.
template <class Read>
MLA_INLINE F32 read_n(const uint8_t* p, int64_t n) {
  alignas(64) uint8_t last[Read::kBytes * kLanes] = {};
  std::memcpy(last, p, static_cast<size_t>(n * Read::kBytes));
  return Read::vector(last);
}

/// out[r] = q . row r for R rows, `stride` bytes apart.
template <class Read, int R>
MLA_INLINE void dot_rows(const float* q, const uint8_t* rows, int64_t stride, int64_t n, float* out) {
  F32 sums[R];
  each<R>([&]<int r>() MLA_INLINE_LAMBDA { sums[r] = zero(); });
  int64_t k = 0;
  for (; k + kLanes <= n; k += kLanes) {
    const F32 query = load(q + k);
    each<R>([&]<int r>() MLA_INLINE_LAMBDA {
      const uint8_t* at = rows + r * stride + k * Read::kBytes;
      prefetch(at + kRowsTogether * stride);
      sums[r] = fma(query, Read::vector(at), sums[r]);
    });
  }
  if (k < n) {
    const F32 query = load_n(q + k, n - k);
    each<R>([&]<int r>() MLA_INLINE_LAMBDA {
      sums[r] = fma(query, read_n<Read>(rows + r * stride + k * Read::kBytes, n - k), sums[r]);
    });
  }
  each<R>([&]<int r>() MLA_INLINE_LAMBDA { out[r] = sum(sums[r]); });
}

/// out[0 ... n) += sum over R rows of p[r] row r.
template <class Read, int R>
MLA_INLINE void add_rows(const float* p, const uint8_t* rows, int64_t stride, int64_t n, float* out) {
  F32 weights[R];
  each<R>([&]<int r>() MLA_INLINE_LAMBDA { weights[r] = set1(p[r]); });
  int64_t c = 0;
  for (; c + kLanes <= n; c += kLanes) {
    F32 total = load(out + c);
    each<R>([&]<int r>() MLA_INLINE_LAMBDA {
      const uint8_t* at = rows + r * stride + c * Read::kBytes;
      prefetch(at + kRowsTogether * stride);
      total = fma(weights[r], Read::vector(at), total);
    });
    store(out + c, total);
  }
  if (c == n) return;
  F32 total = load_n(out + c, n - c);
  each<R>([&]<int r>() MLA_INLINE_LAMBDA {
    total = fma(weights[r], read_n<Read>(rows + r * stride + c * Read::kBytes, n - c), total);
  });
  store_n(out + c, total, n - c);
}

/// Rows r ... r + R - 1 against every query that sees them; `at(g)` is where group g's elements of row r lie.
template <class Read, int R, class At>
MLA_INLINE void score_rows(const AttendRowsArgs& a, int64_t r, int64_t stride, At at) {
  for (int64_t g = 0; g < a.n_groups; ++g) {
    for (int64_t m = 0; m < a.group_queries; ++m) {
      const int64_t q = g * a.group_queries + m;
      dot_rows<Read, R>(a.queries[q], at(g), stride, a.source.d_k, a.scores + q * kTileRows + r);
    }
  }
}
template <class Read, int R, class At>
MLA_INLINE void sum_rows(const AttendRowsArgs& a, int64_t r, int64_t stride, At at) {
  for (int64_t g = 0; g < a.n_groups; ++g) {
    for (int64_t m = 0; m < a.group_queries; ++m) {
      const int64_t q = g * a.group_queries + m;
      const float* p = a.scores + q * kTileRows + r;
      float* out = a.values_sum + q * pad_depth(a.source.d_v);
      if (a.visible[m] >= r + R) {
        add_rows<Read, R>(p, at(g), stride, a.source.d_v, out);
      } else {  // a probability of 0 would not silence a NaN
        for (int64_t i = 0; r + i < a.visible[m]; ++i) add_rows<Read, 1>(p + i, at(g) + i * stride, stride, a.source.d_v, out);
      }
    }
  }
}

/// step.template operator()<Read, R>(r, stride, at) over all rows, kRowsTogether at a time.
template <class Step>
MLA_INLINE void for_rows(const Kernels& kernels, const AttendRowsArgs& a, std::span<const RowSegment> segments, int64_t width,
                         Step step) {
  const TileSource& s = a.source;
  const RowFormat format = segments.front().format;
  for (int64_t r = 0; r < s.n_rows;) {
    const int64_t n = s.n_rows - r < kRowsTogether ? 1 : kRowsTogether;
    const uint8_t* rows = s.rows + r * s.row_bytes;
    const auto in_place = [&](int64_t g) MLA_INLINE_LAMBDA { return rows + segments[static_cast<size_t>(g)].byte_offset; };
    const auto run = [&]<class Read>(int64_t stride, auto at) MLA_INLINE_LAMBDA {
      n == 1 ? step.template operator()<Read, 1>(r, stride, at) : step.template operator()<Read, kRowsTogether>(r, stride, at);
    };
    if (format == RowFormat::kF32) {
      run.template operator()<ReadF32>(s.row_bytes, in_place);
    } else if (format == RowFormat::kBF16) {
      run.template operator()<ReadBf16>(s.row_bytes, in_place);
    } else {
      const int64_t stride = a.n_groups * width;
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t g = 0; g < a.n_groups; ++g)
          kernels.decode_segment(segments[static_cast<size_t>(g)], rows + i * s.row_bytes, a.rows + i * stride + g * width);
      }
      run.template operator()<ReadF32>(stride * 4, [&](int64_t g) MLA_INLINE_LAMBDA {
        return reinterpret_cast<const uint8_t*>(a.rows + g * width);
      });
    }
    r += n;
  }
}

static void attend_rows(const Kernels& kernels, const AttendRowsArgs& a) noexcept {
  for_rows(kernels, a, a.source.keys, a.source.d_k, [&]<class Read, int R>(int64_t r, int64_t stride, auto at) MLA_INLINE_LAMBDA {
    score_rows<Read, R>(a, r, stride, at);
  });
  for (int64_t q = 0; q < a.n_groups * a.group_queries; ++q) {
    const float factor =
        softmax_step(a.scores + q * kTileRows, a.visible[q % a.group_queries], a.scale, a.largest[q], a.sum[q]);
    if (factor == 1.0F) continue;
    float* sums = a.values_sum + q * pad_depth(a.source.d_v);
    for (int64_t i = 0; i < a.source.d_v; ++i) sums[i] *= factor;
  }
  for_rows(kernels, a, a.source.values, a.source.d_v, [&]<class Read, int R>(int64_t r, int64_t stride, auto at) MLA_INLINE_LAMBDA {
    sum_rows<Read, R>(a, r, stride, at);
  });
}

void fill_attention(Kernels& kernels) {
  kernels.attend_rows = attend_rows;
  kernels.f32_tiles = {.queries_size = queries_size, .pack_queries = pack_queries, .tile_size = tile_size,
                       .load_tile = load_tile, .attend = attend, .projections_size = projections_size,
                       .pack_projections = pack_projections, .expanded_size = expanded_size, .expand_tile = expand_tile};
  kernels.blend = blend;
  kernels.tanh_dot = tanh_dot;
}

}  // namespace mla::cpu::MLA_CPU_ISA
