#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "model/synth/shapes.h"

namespace mla {

/// What the decoders of attention_variants() have in common.
enum class SameSize {
  kFeedForward,  ///< the feed-forward: attention alone differs, and with it the number of parameters
  kParameters,   ///< the parameters: what an attention saves widens the feed-forward (Shazeer 2019, section 4.1)
};

/// One decoder of a comparison.
struct AttentionVariant {
  std::string name;  ///< "MHA", "GQA-8", "MQA", "MLA"
  ModelShape shape;
  int64_t n_parameters = 0;
};

/// The same decoder with each of the four attentions: MHA, GQA with 8 groups (or the most below 8 that divide the heads;
/// left out where none do), MQA, MLA. Layers, d_model, heads, vocabulary, context and RoPE are the shape's. The
/// feed-forward is dense in every layer and as wide as the shape's own dense layers; MLA keeps its query latent. Keys and
/// values of the three others have the width of MLA's values (d_v), which is d_nope in DeepSeek's models and
/// d_nope + d_rope in GLM-4.7-Flash. MLA runs as architecture `deepseek2`, the others as `llama`.
/// Errors: kUsage for a shape without latent attention.
Result<std::vector<AttentionVariant>> attention_variants(const ModelShape& shape, SameSize same);

}  // namespace mla
