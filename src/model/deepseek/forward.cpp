// DeepSeek-V2 and V3, from token ids to logits. Equation numbers are those of the DeepSeek-V2 report (arXiv
// 2405.04434), section 2.1.2 and 2.1.3. Nothing below knows one token from many, or one sequence from
// several: the batch does.

#include <algorithm>

#include "model/common/outputs.h"
#include "model/deepseek/deepseek.h"

namespace mla {

// clang-format off
Outputs DeepseekDecoder::forward(const ForwardContext& context) const {
  Backend& b = context.backend;
  const Batch& batch = context.batch;
  const Config& c = config_;
  const int64_t n = batch.n_tokens();
  const int64_t d_key = c.d_nope + c.d_rope;
  const int64_t d_row = c.kv_rank + c.d_rope;
  const int64_t d_shared = c.n_shared_experts * c.d_expert;
  const int64_t d_wide = std::max(c.d_ff, d_shared);

  const Activation x = b.scratch(n, c.d_model);                 // [n_tokens, d_model]: the residual stream
  const Activation h = b.scratch(n, c.d_model);                 // [n_tokens, d_model]: its norm
  const Activation y = b.scratch(n, c.d_model);                 // [n_tokens, d_model]: what a block adds to it
  const Activation c_q = b.scratch(n, c.q_rank);                // [n_tokens, q_rank]: latent of the queries
  const Activation q = b.scratch(n, c.n_heads * d_key);         // [n_tokens, n_heads, d_nope + d_rope]
  const Activation row = b.scratch(n, d_row);                   // [n_tokens, kv_rank + d_rope]: what the cache keeps
  const Activation c_kv = row.columns(0, c.kv_rank);            // [n_tokens, kv_rank]: latent of keys and values
  const Activation o = b.scratch(n, c.n_heads * c.d_v);         // [n_tokens, n_heads, d_v]
  const Activation gated = b.scratch(n, d_wide);                // [n_tokens, d_ff or d_shared]
  const Activation upped = b.scratch(n, d_wide);                // [n_tokens, d_ff or d_shared]
  const Activation scores = b.scratch(n, c.router.n_experts);   // [n_tokens, n_experts]
  const Routing routing = b.scratch_routing(n, c.router.n_experts_used);  // [n_tokens, n_experts_used]

  b.embed(batch.ids, *embedding_, x);
  for (int64_t l = 0; l < c.n_layers; ++l) {
    const DeepseekLayer& layer = layers_[static_cast<size_t>(l)];
    const LayerRows cache = context.cache.layer(l);

    b.rms_norm(x, *layer.attention_norm, c.norm_eps, h);
    if (c.q_rank > 0) {
      linear(b, h, layer.q_a, c_q);                             // (12) c_q = W_DQ h
      b.rms_norm(c_q, *layer.q_a_norm, kLatentNormEps, c_q);
      linear(b, c_q, layer.q_b, q);                             // (13), (14) q = [W_UQ; W_QR] c_q
    } else {
      linear(b, h, layer.q, q);                                 // (1)
    }
    linear(b, h, layer.kv_a, row);                              // (9), (15) [c_kv; k_rope] = [W_DKV; W_KR] h
    b.rms_norm(c_kv, *layer.kv_a_norm, kLatentNormEps, c_kv);
    b.rope(q, d_key, c.d_nope, rope_, batch.positions);         // (14) the rope part of every head's query
    b.rope(row, d_row, c.kv_rank, rope_, batch.positions);      // (15) one rotated key for all heads
    b.store_rows(batch, row, cache);
    b.mla_attention(batch, q, cache, c.mla_spec(), layer.kv_b, context.mla_form, o);  // (10), (11), (16) - (18)
    linear(b, o, layer.out, y);                                 // (19) W_O o
    b.add(x, y);

    b.rms_norm(x, *layer.feed_forward_norm, c.norm_eps, h);
    if (l < c.n_dense_layers) {
      swiglu(b, h, layer.dense, gated.columns(0, c.d_ff), upped.columns(0, c.d_ff), y);
      b.add(x, y);
      continue;
    }
    b.linear(h, *layer.router, nullptr, scores);                // affinities of the token to the experts
    b.route(scores, c.router, layer.router_bias.get(), routing);
    b.experts(h, routing, layer.experts, x);                    // x += sum over the chosen of weight * expert(h)
    if (d_shared > 0) {
      swiglu(b, h, layer.shared, gated.columns(0, d_shared), upped.columns(0, d_shared), y);
      b.add(x, y);
    }
  }

  return outputs(context, x, [&](Activation rows) { b.rms_norm(rows, *final_norm_, c.norm_eps, rows); }, *head_, c.n_vocab);
}
// clang-format on

}  // namespace mla
