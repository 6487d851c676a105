#pragma once

#include "model/binder.h"
#include "model/common/weights.h"
#include "ops/backend.h"

namespace mla {

/// The gated feed-forward of Llama, Qwen and DeepSeek (arXiv 2002.05202).
struct SwiGlu {
  Linear gate;  ///< [width, d_model]
  Linear up;    ///< [width, d_model]
  Linear down;  ///< [d_model, width]
};

/// Declares the three projections under the given roles.
void bind_swiglu(Binder& binder, SwiGlu& weights, Role gate, Role up, Role down, int64_t layer,
                 int64_t d_model, int64_t width, bool bias);

/// out = down(silu(gate x) * (up x)): x and out [n_tokens, d_model]. `gated` and `upped` are room for the two
/// halves, [n_tokens, width].
void swiglu(Backend& backend, Activation x, const SwiGlu& weights, Activation gated, Activation upped,
            Activation out);

}  // namespace mla
