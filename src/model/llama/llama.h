#pragma once

#include <vector>

#include "model/binder.h"
#include "model/common/feed_forward.h"
#include "model/model.h"

namespace mla {

/// Llama 1 to 3 (arXiv 2302.13971, 2407.21783) and the many of its shape: Mistral, SmolLM2, Qwen2 (arXiv
/// 2407.10671), Qwen3 (arXiv 2505.09388). RMSNorm, rotary grouped-query attention, SwiGLU. They differ in
/// values of the Config alone: which projections have biases, and whether every query and key head is
/// normalised before the rotation (Qwen3). So there is one decoder.
struct LlamaLayer {
  Weight attention_norm;     ///< [d_model]
  Linear q;                  ///< [n_heads * d_head, d_model]
  Linear k;                  ///< [n_kv_heads * d_head, d_model]
  Linear v;                  ///< [n_kv_heads * d_head, d_model]
  Weight q_norm;             ///< [d_head]; null without query_key_norm
  Weight k_norm;             ///< [d_head]; null without query_key_norm
  Linear out;                ///< [d_model, n_heads * d_head]
  Weight feed_forward_norm;  ///< [d_model]
  SwiGlu mlp;                ///< width d_ff
};

class LlamaDecoder : public Decoder {
 public:
  LlamaDecoder(const Config& config, Binder& binder);
  Outputs forward(const ForwardContext& context) const override;

 private:
  Config config_;
  RopeTable rope_;
  Weight embedding_;  ///< [n_vocab, d_model]
  std::vector<LlamaLayer> layers_;
  Weight final_norm_;  ///< [d_model]
  Weight head_;        ///< [n_vocab, d_model]
};

}  // namespace mla
