#include <algorithm>
#include <cassert>

#include "reference/cached_rows.h"
#include "reference/math.h"
#include "reference/reference_backend.h"

namespace mla {
namespace {

/// One head's attention of one query over rows that lie `stride` apart:
///   out = sum over r of softmax_r(scale q . k_r) v_r.  No rows: zeros.
void attend(const float* q, const float* k, const float* v, int64_t n_rows, int64_t k_stride,
            int64_t v_stride, const AttentionSpec& spec, float* out) {
  std::vector<double> weights(static_cast<size_t>(n_rows));
  for (int64_t r = 0; r < n_rows; ++r) {
    weights[static_cast<size_t>(r)] = static_cast<double>(spec.scale) * dot(q, k + r * k_stride, spec.d_k);
  }
  softmax(weights);
  std::vector<double> sum(static_cast<size_t>(spec.d_v), 0.0);
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t i = 0; i < spec.d_v; ++i)
      sum[static_cast<size_t>(i)] += weights[static_cast<size_t>(r)] * v[r * v_stride + i];
  }
  std::transform(sum.begin(), sum.end(), out, [](double x) { return static_cast<float>(x); });
}

}  // namespace

void ReferenceBackend::store_rows(const Batch& batch, Activation rows, const LayerRows& cache) {
  assert(rows.n_rows == batch.n_tokens() && rows.n_cols == cache.layout->width());
  for (const SequenceSlice& slice : batch.sequences) {
    for (int64_t i = 0; i < slice.n_new; ++i) {
      encode_row(*cache.layout, rows.row(slice.first_token + i), cache.row(slice, slice.n_past + i));
    }
  }
}

void ReferenceBackend::attention(const Batch& batch, Activation q, const LayerRows& cache,
                                 const AttentionSpec& spec, Activation out) {
  const int64_t width = cache.layout->width();  // a row is [K of every KV head | V of every KV head]
  const int64_t group = spec.n_heads / spec.n_kv_heads;
  assert(q.n_cols == spec.n_heads * spec.d_k && out.n_cols == spec.n_heads * spec.d_v);
  assert(spec.n_heads % spec.n_kv_heads == 0 && width == spec.n_kv_heads * (spec.d_k + spec.d_v));
  for (const SequenceSlice& slice : batch.sequences) {
    const std::vector<float> rows = decode_rows(slice, cache);  // [n_rows, width]
    for (int64_t i = 0; i < slice.n_new; ++i) {
      const int64_t t = slice.first_token + i;
      const int64_t visible = slice.n_past + i + 1;
      for (int64_t h = 0; h < spec.n_heads; ++h) {
        const float* k = rows.data() + h / group * spec.d_k;
        const float* v = rows.data() + spec.n_kv_heads * spec.d_k + h / group * spec.d_v;
        attend(q.row(t) + h * spec.d_k, k, v, visible, width, width, spec, out.row(t) + h * spec.d_v);
      }
    }
  }
}

void ReferenceBackend::dense_attention(const DenseAttentionArgs& args) {
  const AttentionSpec& spec = args.spec;
  const int64_t n_q = args.q.n_rows;
  const int64_t n_kv = args.k.n_rows;
  const int64_t group = spec.n_heads / spec.n_kv_heads;
  assert(args.q.n_cols == spec.n_heads * spec.d_k && args.out.n_cols == spec.n_heads * spec.d_v &&
         args.out.n_rows == n_q);
  assert(args.k.n_cols == spec.n_kv_heads * spec.d_k && args.v.n_cols == spec.n_kv_heads * spec.d_v &&
         args.v.n_rows == n_kv);
  for (int64_t t = 0; t < n_q; ++t) {
    // Causal: the last query is aligned with the last key.
    const int64_t visible = args.causal ? std::max<int64_t>(0, t + 1 + n_kv - n_q) : n_kv;
    for (int64_t h = 0; h < spec.n_heads; ++h) {
      const float* k = args.k.data + h / group * spec.d_k;
      const float* v = args.v.data + h / group * spec.d_v;
      attend(args.q.row(t) + h * spec.d_k, k, v, visible, args.k.stride, args.v.stride, spec,
             args.out.row(t) + h * spec.d_v);
    }
  }
}

}  // namespace mla
