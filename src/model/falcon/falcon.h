#pragma once

#include <vector>

#include "model/binder.h"
#include "model/common/weights.h"
#include "model/model.h"

namespace mla {

/// Falcon-7B (arXiv 2311.16867): rotary multi-query attention and a GELU feed-forward, both on the same
/// LayerNorm and added to the residual stream together.
struct FalconLayer {
  LayerNorm norm;  ///< [d_model]
  Linear qkv;      ///< [(n_heads + 2) * d_head, d_model]: all queries, the one key, the one value
  Linear out;      ///< [d_model, n_heads * d_head]
  Linear up;       ///< [d_ff, d_model]
  Linear down;     ///< [d_model, d_ff]
};

class FalconDecoder : public Decoder {
 public:
  FalconDecoder(const Config& config, Binder& binder);
  Outputs forward(const ForwardContext& context) const override;

 private:
  Config config_;
  RopeTable rope_;
  Weight embedding_;  ///< [n_vocab, d_model]
  std::vector<FalconLayer> layers_;
  LayerNorm final_norm_;  ///< [d_model]
  Weight head_;           ///< [n_vocab, d_model]
};

}  // namespace mla
