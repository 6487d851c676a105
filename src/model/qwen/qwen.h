#pragma once

#include <memory>
#include <vector>

#include "model/binder.h"
#include "model/common/feed_forward.h"
#include "model/model.h"

namespace mla {

/// Qwen2 (arXiv 2407.10671) and Qwen3 (arXiv 2505.09388): Llama's layer, with biases on the q, k and v
/// projections in Qwen2, and in Qwen3 an RMSNorm of every query and key head before the rotation.
struct QwenLayer {
  Weight attention_norm;     ///< [d_model]
  Linear q;                  ///< [n_heads * d_head, d_model]
  Linear k;                  ///< [n_kv_heads * d_head, d_model]
  Linear v;                  ///< [n_kv_heads * d_head, d_model]
  Weight q_norm;             ///< Qwen3: [d_head]
  Weight k_norm;             ///< Qwen3: [d_head]
  Linear out;                ///< [d_model, n_heads * d_head]
  Weight feed_forward_norm;  ///< [d_model]
  SwiGlu mlp;                ///< width d_ff
};

class QwenDecoder : public Decoder {
 public:
  QwenDecoder(const Config& config, Binder& binder);
  Activation forward(const ForwardContext& context) const override;

 private:
  Config config_;
  RopeTable rope_;
  Weight embedding_;  ///< [n_vocab, d_model]
  std::vector<QwenLayer> layers_;
  Weight final_norm_;  ///< [d_model]
  Weight head_;        ///< [n_vocab, d_model]
};

std::unique_ptr<Decoder> make_qwen(const Config& config, Binder& binder);

}  // namespace mla
