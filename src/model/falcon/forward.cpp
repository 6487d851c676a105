// Falcon-7B, from token ids to logits.

#include "model/common/outputs.h"
#include "model/falcon/falcon.h"

namespace mla {

// clang-format off
Outputs FalconDecoder::forward(const ForwardContext& context) const {
  Backend& b = context.backend;
  const Batch& batch = context.batch;
  const Config& c = config_;
  const int64_t n = batch.n_tokens();
  const int64_t d_q = c.n_heads * c.d_head;

  const Activation x = b.scratch(n, c.d_model);                  // [n_tokens, d_model]: the residual stream
  const Activation h = b.scratch(n, c.d_model);                  // [n_tokens, d_model]: its norm
  const Activation y = b.scratch(n, c.d_model);                  // [n_tokens, d_model]: a block's output
  const Activation qkv = b.scratch(n, d_q + 2 * c.d_head);       // [n_tokens, n_heads + 2, d_head]
  const Activation q = qkv.columns(0, d_q);                      // [n_tokens, n_heads, d_head]
  const Activation k = qkv.columns(d_q, c.d_head);               // [n_tokens, 1, d_head]
  const Activation row = qkv.columns(d_q, 2 * c.d_head);         // [n_tokens, 2, 1, d_head]: cached
  const Activation o = b.scratch(n, d_q);                        // [n_tokens, n_heads, d_head]
  const Activation wide = b.scratch(n, c.d_ff);                  // [n_tokens, d_ff]

  b.embed(batch.ids, *embedding_, x);
  for (int64_t l = 0; l < c.n_layers; ++l) {
    const FalconLayer& layer = layers_[static_cast<size_t>(l)];
    const LayerRows cache = context.cache.layer(l);

    layer_norm(b, x, layer.norm, c.norm_eps, h);
    linear(b, h, layer.qkv, qkv);
    b.rope(q, c.d_head, 0, rope_, batch.positions);
    b.rope(k, c.d_head, 0, rope_, batch.positions);
    b.store_rows(batch, row, cache);
    b.attention(batch, q, cache, c.gqa_spec(), o);               // softmax(q k^T / sqrt(d_head)) v
    linear(b, o, layer.out, y);
    b.add(x, y);

    linear(b, h, layer.up, wide);                                // the same h: both blocks read one norm
    b.gelu(wide, c.gelu);
    linear(b, wide, layer.down, y);
    b.add(x, y);
  }

  return outputs(context, x, [&](Activation rows) { layer_norm(b, rows, final_norm_, c.norm_eps, rows); }, *head_, c.n_vocab);
}
// clang-format on

}  // namespace mla
