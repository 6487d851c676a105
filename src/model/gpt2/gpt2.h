#pragma once

#include <vector>

#include "model/binder.h"
#include "model/common/weights.h"
#include "model/model.h"

namespace mla {

/// GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each block, multi-head attention, GELU
/// feed-forward.
struct Gpt2Layer {
  LayerNorm attention_norm;     ///< [d_model]
  Linear qkv;                   ///< [3 * d_model, d_model]: queries, keys, values
  Linear out;                   ///< [d_model, d_model]
  LayerNorm feed_forward_norm;  ///< [d_model]
  Linear up;                    ///< [d_ff, d_model]
  Linear down;                  ///< [d_model, d_ff]
};

class Gpt2Decoder : public Decoder {
 public:
  Gpt2Decoder(const Config& config, Binder& binder);
  Outputs forward(const ForwardContext& context) const override;

 private:
  Config config_;
  Weight embedding_;           ///< [n_vocab, d_model]
  Weight position_embedding_;  ///< [n_context, d_model]
  std::vector<Gpt2Layer> layers_;
  LayerNorm final_norm_;  ///< [d_model]
  Weight head_;           ///< [n_vocab, d_model]
};

}  // namespace mla
