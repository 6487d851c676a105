// GPT-2, from token ids to logits.

#include "model/common/outputs.h"
#include "model/gpt2/gpt2.h"

namespace mla {

// clang-format off
Outputs Gpt2Decoder::forward(const ForwardContext& context) const {
  Backend& b = context.backend;
  const Batch& batch = context.batch;
  const Config& c = config_;
  const int64_t n = batch.n_tokens();

  const Activation x = b.scratch(n, c.d_model);                // [n_tokens, d_model]: the residual stream
  const Activation h = b.scratch(n, c.d_model);                // [n_tokens, d_model]: its norm
  const Activation y = b.scratch(n, c.d_model);                // [n_tokens, d_model]: a block's output
  const Activation qkv = b.scratch(n, 3 * c.d_model);          // [n_tokens, 3, n_heads, d_head]
  const Activation q = qkv.columns(0, c.d_model);              // [n_tokens, n_heads, d_head]
  const Activation row = qkv.columns(c.d_model, 2 * c.d_model);  // [n_tokens, 2, n_heads, d_head]: cached
  const Activation o = b.scratch(n, c.d_model);                // [n_tokens, n_heads, d_head]
  const Activation wide = b.scratch(n, c.d_ff);                // [n_tokens, d_ff]

  b.embed(batch.ids, *embedding_, x);
  b.embed(batch.positions, *position_embedding_, y);
  b.add(x, y);
  for (int64_t l = 0; l < c.n_layers; ++l) {
    const Gpt2Layer& layer = layers_[static_cast<size_t>(l)];
    const LayerRows cache = context.cache.layer(l);

    layer_norm(b, x, layer.attention_norm, c.norm_eps, h);
    linear(b, h, layer.qkv, qkv);
    b.store_rows(batch, row, cache);
    b.attention(batch, q, cache, c.gqa_spec(), o);             // softmax(q k^T / sqrt(d_head)) v
    linear(b, o, layer.out, y);
    b.add(x, y);

    layer_norm(b, x, layer.feed_forward_norm, c.norm_eps, h);
    linear(b, h, layer.up, wide);
    b.gelu(wide, c.gelu);
    linear(b, wide, layer.down, y);
    b.add(x, y);
  }

  return outputs(context, x, [&](Activation rows) { layer_norm(b, rows, final_norm_, c.norm_eps, rows); }, *head_, c.n_vocab);
}
// clang-format on

}  // namespace mla
