#pragma once

#include <vector>

#include "model/binder.h"
#include "model/common/feed_forward.h"
#include "model/model.h"

namespace mla {

/// Epsilon of the norms of the latents: transformers builds them with its class's default, whatever the
/// configuration's rms_norm_eps says, and so were the models trained. GGUF files have one epsilon, that of
/// the other norms.
inline constexpr float kLatentNormEps = 1e-6F;

/// DeepSeek-V2 (arXiv 2405.04434) and DeepSeek-V3 (arXiv 2412.19437): multi-head latent attention and, after
/// the first dense layers, a mixture of experts. V2-Lite, V2.5, R1, Moonlight and Kimi-K2 are the same. V2
/// and V3 differ in values of the Config alone: how the router scores (softmax or sigmoid), groups, corrects
/// and normalises, and whether queries pass through a latent of their own (q_rank). So there is one decoder.
struct DeepseekLayer {
  Weight attention_norm;     ///< [d_model]
  Linear q;                  ///< q_rank = 0: [n_heads * (d_nope + d_rope), d_model]
  Linear q_a;                ///< else: W_DQ [q_rank, d_model],
  Weight q_a_norm;           ///<       [q_rank],
  Linear q_b;                ///<       [W_UQ; W_QR] by head, [n_heads * (d_nope + d_rope), q_rank]
  Linear kv_a;               ///< [W_DKV; W_KR], [kv_rank + d_rope, d_model]
  Weight kv_a_norm;          ///< [kv_rank]
  MlaProjections kv_b;       ///< W_UK and W_UV
  Linear out;                ///< W_O, [d_model, n_heads * d_v]
  Weight feed_forward_norm;  ///< [d_model]

  SwiGlu dense;           ///< the first n_dense_layers: width d_ff
  Weight router;          ///< the others: [n_experts, d_model],
  Weight router_bias;     ///<   [n_experts] or null,
  ExpertWeights experts;  ///<   width d_expert,
  SwiGlu shared;          ///<   one MLP of width n_shared_experts * d_expert
};

class DeepseekDecoder : public Decoder {
 public:
  DeepseekDecoder(const Config& config, Binder& binder);
  Outputs forward(const ForwardContext& context) const override;

 private:
  Config config_;
  RopeTable rope_;
  Weight embedding_;  ///< [n_vocab, d_model]
  std::vector<DeepseekLayer> layers_;
  Weight final_norm_;  ///< [d_model]
  Weight head_;        ///< [n_vocab, d_model]
};

}  // namespace mla
