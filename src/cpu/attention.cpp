#include <algorithm>
#include <cassert>
#include <limits>

#include "cpu/backend.h"
#include "cpu/paged_attention.h"

namespace mla::cpu {

void CpuBackend::store_rows(const Batch& batch, Activation rows, const LayerRows& cache) {
  assert(rows.n_rows == batch.n_tokens() && rows.n_cols == cache.layout->width());
  for (const SequenceSlice& slice : batch.sequences) {
    for_rows(slice.n_new, rows.n_cols, [&](int64_t i) {
      auto* row = reinterpret_cast<uint8_t*>(cache.row(slice, slice.n_past + i));
      const float* values = rows.row(slice.first_token + i);
      for (const RowSegment& s : cache.layout->segments()) kernels_.encode_segment(s, values + s.first, row);
    });
  }
}

void CpuBackend::attention(const Batch& batch, Activation q, const LayerRows& cache,
                           const AttentionSpec& spec, Activation out) {
  assert(q.n_cols == spec.n_heads * spec.d_k && out.n_cols == spec.n_heads * spec.d_v);
  assert(spec.n_heads % spec.n_kv_heads == 0 &&
         cache.layout->width() == spec.n_kv_heads * (spec.d_k + spec.d_v));
  begin_work();
  PagedAttention job;
  for (const SequenceSlice& s : batch.sequences)
    job.sequences.push_back({&s, q.row(s.first_token), out.row(s.first_token)});
  job.query_stride = q.stride;
  job.out_stride = out.stride;
  job.n_groups = spec.n_kv_heads;
  job.group_heads = spec.n_heads / spec.n_kv_heads;
  job.d_k = spec.d_k;
  job.d_v = spec.d_v;
  job.scale = spec.scale;
  run_paged_attention(*this, job, cache);
}

/// Tasks are blocks of queries of one head; keys and values are read where they lie.
void CpuBackend::dense_attention(const DenseAttentionArgs& a) {
  const AttentionSpec& spec = a.spec;
  const int64_t n_q = a.q.n_rows, n_kv = a.k.n_rows, group = spec.n_heads / spec.n_kv_heads;
  assert(a.q.n_cols == spec.n_heads * spec.d_k && a.out.n_cols == spec.n_heads * spec.d_v &&
         a.out.n_rows == n_q);
  assert(a.k.n_cols == spec.n_kv_heads * spec.d_k && a.v.n_cols == spec.n_kv_heads * spec.d_v &&
         a.v.n_rows == n_kv);
  begin_work();
  constexpr int64_t kBlock = 64;
  const int64_t state = kBlock * (kTileRows + 2 + pad_depth(spec.d_v));
  float* states = work<float>(n_threads() * state);
  const float** queries = work<const float*>(n_threads() * kBlock);
  int32_t* visible = work<int32_t>(n_threads() * kBlock);
  const int64_t blocks = (n_q + kBlock - 1) / kBlock;
  const double amount =
      static_cast<double>(n_q * n_kv) * static_cast<double>(spec.n_heads * (spec.d_k + spec.d_v)) / 16.0;
  for_tasks(blocks * spec.n_heads, amount, [&](int64_t task, int thread) {
    const int64_t h = task / blocks, first_query = task % blocks * kBlock;
    AttendArgs args;
    args.queries = queries + thread * kBlock;
    args.visible = visible + thread * kBlock;
    args.n_queries = std::min(kBlock, n_q - first_query);
    args.d_k = spec.d_k;
    args.d_v = spec.d_v;
    args.tile.key_stride = a.k.stride;
    args.tile.value_stride = a.v.stride;
    args.scale = spec.scale;
    args.scores = states + thread * state;
    args.largest = args.scores + kBlock * kTileRows;
    args.sum = args.largest + kBlock;
    args.values_sum = args.sum + kBlock;
    std::fill_n(args.largest, kBlock, -std::numeric_limits<float>::infinity());
    std::fill_n(args.sum, kBlock * (1 + pad_depth(spec.d_v)), 0.0F);
    for (int64_t i = 0; i < args.n_queries; ++i)
      queries[thread * kBlock + i] = a.q.row(first_query + i) + h * spec.d_k;
    for (int64_t row = 0; row < n_kv; row += kTileRows) {
      args.tile.n_rows = std::min(kTileRows, n_kv - row);
      args.tile.keys = a.k.row(row) + h / group * spec.d_k;
      args.tile.values = a.v.row(row) + h / group * spec.d_v;
      for (int64_t i = 0; i < args.n_queries; ++i) {  // causal: the last query is aligned with the last key
        const int64_t sees = a.causal ? first_query + i + 1 + n_kv - n_q - row : args.tile.n_rows;
        visible[thread * kBlock + i] = static_cast<int32_t>(std::clamp<int64_t>(sees, 0, args.tile.n_rows));
      }
      kernels_.f32_tiles.attend(kernels_, args);
    }
    for (int64_t i = 0; i < args.n_queries; ++i) {
      const float factor =
          args.sum[i] == 0.0F ? 0.0F : 1.0F / args.sum[i];  // a query that sees no key gives zeros
      float* out = a.out.row(first_query + i) + h * spec.d_v;
      for (int64_t c = 0; c < spec.d_v; ++c) out[c] = args.values_sum[i * pad_depth(spec.d_v) + c] * factor;
    }
  });
}

}  // namespace mla::cpu
