#include <algorithm>
#include <cassert>
#include <limits>

#include "cpu/backend.h"
#include "cpu/paged_attention.h"
#include "cpu/product.h"

// Multi-head latent attention in both forms; docs/mla.md derives them. A cached row is [latent c | rotated
// key].
//   absorbed: q_nope goes up to latent space once per query; then all heads attend over the rows as they are,
//   the key being
//             the whole row and the value its latent part; the result comes down through W_UV once per query.
//   expanded: per head and tile of rows, K = [W_UK^T c | rotated key] and V = W_UV c are rebuilt in
//   cache-sized buffers and
//             all new tokens attend to them.

namespace mla::cpu {
namespace {

struct Call {
  CpuBackend& backend;
  const MlaSpec& spec;
  const LayerRows& cache;
  const CpuWeight& k_up;
  const CpuWeight& v_up;
  Activation q;
  Activation out;
};

/// out_h[t] = W[h] x_h[t] for every head h of the stack W and n tokens, given each head's first token and how
/// far apart tokens lie.
void product_per_head(Call& call, const CpuWeight& stack, int64_t n, const std::vector<const float*>& tokens,
                      int64_t x_head_stride, float* out, int64_t out_head_stride, int64_t out_stride,
                      float* panels) {
  const int64_t n_heads = call.spec.n_heads;
  const float** x = call.backend.work<const float*>(n_heads * n);
  for (int64_t h = 0; h < n_heads; ++h) {
    for (int64_t t = 0; t < n; ++t) x[h * n + t] = tokens[static_cast<size_t>(t)] + h * x_head_stride;
  }
  const FixedBlock** fixed = fixed_rows(call.backend, stack.matrix(), x, n_heads * n);
  const double amount = static_cast<double>(n_heads) * product_work(stack.matrix(), stack.n_out, n);
  call.backend.for_tasks(n_heads, amount, [&](int64_t h, int thread) {
    ProductArgs args;
    args.weight = stack.matrix(h);
    args.row_end = stack.n_out;
    args.x = x + h * n;
    if (fixed != nullptr) args.fixed = fixed + h * n;
    args.n_tokens = n;
    args.out = out + h * out_head_stride;
    args.out_stride = out_stride;
    args.panel = panels + thread * kPanelRows * kPanelDepth;
    run_product(call.backend.kernels(), args);
  });
}

void run_absorbed(Call& call, const std::vector<const SequenceSlice*>& slices) {
  const MlaSpec& s = call.spec;
  const int64_t d_q = s.d_nope + s.d_rope, width = s.kv_rank + s.d_rope;
  std::vector<const float*> q_rows;
  std::vector<float*> out_rows;
  for (const SequenceSlice* slice : slices) {
    for (int64_t i = 0; i < slice->n_new; ++i) {
      q_rows.push_back(call.q.row(slice->first_token + i));
      out_rows.push_back(call.out.row(slice->first_token + i));
    }
  }
  const auto n = static_cast<int64_t>(q_rows.size());
  if (n == 0) return;
  CpuBackend& backend = call.backend;
  float* panels = backend.work<float>(backend.n_threads() * kPanelRows * kPanelDepth);
  float* latent_q = backend.work<float>(n * s.n_heads * width);        // [n, n_heads, kv_rank + d_rope]
  float* latent_out = backend.work<float>(n * s.n_heads * s.kv_rank);  // [n, n_heads, kv_rank]
  float* result = backend.work<float>(n * s.n_heads * s.d_v);          // [n, n_heads, d_v]

  product_per_head(call, call.k_up, n, q_rows, d_q, latent_q, width, s.n_heads * width, panels);
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t h = 0; h < s.n_heads; ++h) {
      std::copy_n(q_rows[static_cast<size_t>(t)] + h * d_q + s.d_nope, s.d_rope,
                  latent_q + (t * s.n_heads + h) * width + s.kv_rank);
    }
  }

  PagedAttention job;
  int64_t first = 0;
  for (const SequenceSlice* slice : slices) {
    job.sequences.push_back(
        {slice, latent_q + first * s.n_heads * width, latent_out + first * s.n_heads * s.kv_rank});
    first += slice->n_new;
  }
  job.query_stride = s.n_heads * width;
  job.out_stride = s.n_heads * s.kv_rank;
  job.n_groups = 1;
  job.group_heads = s.n_heads;
  job.d_k = width;
  job.d_v = s.kv_rank;
  job.scale = s.scale;
  job.value_in_key = true;
  run_paged_attention(backend, job, call.cache);

  std::vector<const float*> latent_rows;
  for (int64_t t = 0; t < n; ++t) latent_rows.push_back(latent_out + t * s.n_heads * s.kv_rank);
  product_per_head(call, call.v_up, n, latent_rows, s.kv_rank, result, s.d_v, s.n_heads * s.d_v, panels);
  for (int64_t t = 0; t < n; ++t) {
    std::copy_n(result + t * s.n_heads * s.d_v, s.n_heads * s.d_v, out_rows[static_cast<size_t>(t)]);
  }
}

/// What a thread rebuilds one head in, and the softmax state of its queries.
struct ExpandedBuffers {
  float* k_up;             ///< [kv_rank, d_nope]
  float* v_up;             ///< [d_v, kv_rank]
  std::byte* projections;  ///< both, as the kernels want them
  std::byte* tile;
  std::byte* packed_queries;
  const float** queries;  ///< [n_new]
  int32_t* visible;       ///< [n_new]
  float* scores;          ///< [n_new, kTileRows]
  float* largest;         ///< [n_new]
  float* sum;             ///< [n_new]
  float* values_sum;      ///< [n_new, pad_depth(d_v)]
};

ExpandedBuffers expanded_buffers(CpuBackend& b, const TileKernels& kernels, const MlaSpec& s, int64_t n_new) {
  return {b.work<float>(s.kv_rank * s.d_nope),
          b.work<float>(s.d_v * s.kv_rank),
          b.work<std::byte>(kernels.projections_size(s)),
          b.work<std::byte>(kernels.expanded_size(s)),
          b.work<std::byte>(kernels.queries_size(n_new, s.d_nope + s.d_rope)),
          b.work<const float*>(n_new),
          b.work<int32_t>(n_new),
          b.work<float>(n_new * kTileRows),
          b.work<float>(n_new),
          b.work<float>(n_new),
          b.work<float>(n_new * pad_depth(s.d_v))};
}

void attend_expanded(const Call& call, const TileKernels& kernels, const SequenceSlice& slice, int64_t h, const ExpandedBuffers& b) {
  const MlaSpec& s = call.spec;
  const Kernels& table = call.backend.kernels();
  const int64_t d_q = s.d_nope + s.d_rope;
  for (int64_t j = 0; j < s.kv_rank; ++j) decode_row(table, call.k_up.matrix(h), j, b.k_up + j * s.d_nope);
  for (int64_t i = 0; i < s.d_v; ++i) decode_row(table, call.v_up.matrix(h), i, b.v_up + i * s.kv_rank);
  kernels.pack_projections(s, b.k_up, b.v_up, b.projections);
  for (int64_t i = 0; i < slice.n_new; ++i) b.queries[i] = call.q.row(slice.first_token + i) + h * d_q;
  kernels.pack_queries(b.queries, slice.n_new, d_q, b.packed_queries);
  std::fill_n(b.largest, slice.n_new, -std::numeric_limits<float>::infinity());
  std::fill_n(b.sum, slice.n_new, 0.0F);
  std::fill_n(b.values_sum, slice.n_new * pad_depth(s.d_v), 0.0F);

  AttendArgs args{.queries = b.packed_queries, .n_queries = slice.n_new, .d_k = d_q, .d_v = s.d_v, .visible = b.visible,
                  .scale = s.scale, .scores = b.scores, .largest = b.largest, .sum = b.sum, .values_sum = b.values_sum};
  for (int64_t first = 0; first < slice.n_rows(); first += kTileRows) {
    const TileSource rows{.rows = reinterpret_cast<const uint8_t*>(call.cache.row(slice, first)),
                          .row_bytes = call.cache.layout->row_bytes(),
                          .n_rows = std::min(kTileRows, slice.n_rows() - first),
                          .keys = call.cache.layout->segments()};
    kernels.expand_tile(table, s, rows, b.projections, b.tile, args.tile);
    args.first_query = std::max<int64_t>(0, first - slice.n_past) / kBlockColumns * kBlockColumns;  // earlier ones see nothing
    for (int64_t i = args.first_query; i < slice.n_new; ++i) {
      b.visible[i] = static_cast<int32_t>(std::clamp<int64_t>(slice.n_past + i + 1 - first, 0, rows.n_rows));
    }
    kernels.attend(table, args);
  }
  for (int64_t i = 0; i < slice.n_new; ++i) {
    float* out = call.out.row(slice.first_token + i) + h * s.d_v;
    const float factor = 1.0F / b.sum[i];
    for (int64_t c = 0; c < s.d_v; ++c) out[c] = b.values_sum[i * pad_depth(s.d_v) + c] * factor;
  }
}

void run_expanded(Call& call, const std::vector<const SequenceSlice*>& slices) {
  if (slices.empty()) return;
  const MlaSpec& s = call.spec;
  const TileKernels& kernels = tile_kernels(call.backend.kernels(), call.cache.layout->format());
  int64_t most_new = 0;
  double amount = 0.0;
  for (const SequenceSlice* slice : slices) {
    most_new = std::max(most_new, slice->n_new);
    amount += mla_cost(s, slice->n_new, slice->n_rows(), slice->n_new * slice->n_rows()).expanded / 32.0;
  }
  std::vector<ExpandedBuffers> buffers;
  for (int i = 0; i < call.backend.n_threads(); ++i) buffers.push_back(expanded_buffers(call.backend, kernels, s, most_new));
  call.backend.for_tasks(static_cast<int64_t>(slices.size()) * s.n_heads, amount, [&](int64_t task, int thread) {
    attend_expanded(call, kernels, *slices[static_cast<size_t>(task / s.n_heads)], task % s.n_heads,
                    buffers[static_cast<size_t>(thread)]);
  });
}

}  // namespace

void CpuBackend::mla_attention(const Batch& batch, Activation q, const LayerRows& cache, const MlaSpec& spec,
                               const MlaProjections& projections, MlaForm form, Activation out) {
  assert(q.n_cols == spec.n_heads * (spec.d_nope + spec.d_rope) && out.n_cols == spec.n_heads * spec.d_v);
  assert(cache.layout->width() == spec.kv_rank + spec.d_rope);
  begin_work();
  std::vector<const SequenceSlice*> absorbed, expanded;
  for (const SequenceSlice& slice : batch.sequences) {
    if (slice.n_new == 0) continue;
    (choose_mla_form(spec, slice, form) == MlaForm::kExpanded ? expanded : absorbed).push_back(&slice);
  }
  Call call{*this, spec, cache, packed(*projections.k_up), packed(*projections.v_up), q, out};
  run_absorbed(call, absorbed);
  run_expanded(call, expanded);
}

}  // namespace mla::cpu
