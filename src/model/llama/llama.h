#pragma once

#include <memory>
#include <vector>

#include "model/binder.h"
#include "model/common/feed_forward.h"
#include "model/model.h"

namespace mla {

/// Llama 1 to 3 (arXiv 2302.13971, 2407.21783), Mistral, SmolLM2 and others of their shape: RMSNorm, rotary
/// grouped-query attention, SwiGLU.
struct LlamaLayer {
  Weight attention_norm;     ///< [d_model]
  Linear q;                  ///< [n_heads * d_head, d_model]
  Linear k;                  ///< [n_kv_heads * d_head, d_model]
  Linear v;                  ///< [n_kv_heads * d_head, d_model]
  Linear out;                ///< [d_model, n_heads * d_head]
  Weight feed_forward_norm;  ///< [d_model]
  SwiGlu mlp;                ///< width d_ff
};

class LlamaDecoder : public Decoder {
 public:
  LlamaDecoder(const Config& config, Binder& binder);
  Activation forward(const ForwardContext& context) const override;

 private:
  Config config_;
  RopeTable rope_;
  Weight embedding_;  ///< [n_vocab, d_model]
  std::vector<LlamaLayer> layers_;
  Weight final_norm_;  ///< [d_model]
  Weight head_;        ///< [n_vocab, d_model]
};

std::unique_ptr<Decoder> make_llama(const Config& config, Binder& binder);

}  // namespace mla
