// Llama and its relatives, from token ids to logits.

#include "model/common/outputs.h"
#include "model/llama/llama.h"

namespace mla {

// clang-format off
Outputs LlamaDecoder::forward(const ForwardContext& context) const {
  Backend& b = context.backend;
  const Batch& batch = context.batch;
  const Config& c = config_;
  const int64_t n = batch.n_tokens();
  const int64_t d_q = c.n_heads * c.d_head;
  const int64_t d_kv = c.n_kv_heads * c.d_head;

  const Activation x = b.scratch(n, c.d_model);      // [n_tokens, d_model]: the residual stream
  const Activation h = b.scratch(n, c.d_model);      // [n_tokens, d_model]: its norm
  const Activation y = b.scratch(n, c.d_model);      // [n_tokens, d_model]: what a block adds to it
  const Activation q = b.scratch(n, d_q);            // [n_tokens, n_heads, d_head]
  const Activation row = b.scratch(n, 2 * d_kv);     // [n_tokens, 2, n_kv_heads, d_head]: cached
  const Activation k = row.columns(0, d_kv);         // [n_tokens, n_kv_heads, d_head]
  const Activation v = row.columns(d_kv, d_kv);      // [n_tokens, n_kv_heads, d_head]
  const Activation o = b.scratch(n, d_q);            // [n_tokens, n_heads, d_head]
  const Activation gated = b.scratch(n, c.d_ff);     // [n_tokens, d_ff]
  const Activation upped = b.scratch(n, c.d_ff);     // [n_tokens, d_ff]

  b.embed(batch.ids, *embedding_, x);
  for (int64_t l = 0; l < c.n_layers; ++l) {
    const LlamaLayer& layer = layers_[static_cast<size_t>(l)];
    const LayerRows cache = context.cache.layer(l);

    b.rms_norm(x, *layer.attention_norm, c.norm_eps, h);
    linear(b, h, layer.q, q);
    linear(b, h, layer.k, k);
    linear(b, h, layer.v, v);
    if (c.query_key_norm) {                          // Qwen3: over the d_head values of every head
      b.rms_norm(q, *layer.q_norm, c.norm_eps, q);
      b.rms_norm(k, *layer.k_norm, c.norm_eps, k);
    }
    b.rope(q, c.d_head, 0, rope_, batch.positions);
    b.rope(k, c.d_head, 0, rope_, batch.positions);
    b.store_rows(batch, row, cache);
    b.attention(batch, q, cache, c.gqa_spec(), o);   // softmax(q k^T / sqrt(d_head)) v
    linear(b, o, layer.out, y);
    b.add(x, y);

    b.rms_norm(x, *layer.feed_forward_norm, c.norm_eps, h);
    swiglu(b, h, layer.mlp, gated, upped, y);
    b.add(x, y);
  }

  return outputs(context, x, [&](Activation rows) { b.rms_norm(rows, *final_norm_, c.norm_eps, rows); }, *head_, c.n_vocab);
}
// clang-format on

}  // namespace mla
