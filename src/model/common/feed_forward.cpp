#include "model/common/feed_forward.h"

namespace mla {

void bind_swiglu(Binder& binder, SwiGlu& weights, Role gate, Role up, Role down, int64_t layer,
                 int64_t d_model, int64_t width, bool bias) {
  binder.linear(weights.gate, gate, layer, width, d_model, bias);
  binder.linear(weights.up, up, layer, width, d_model, bias);
  binder.linear(weights.down, down, layer, d_model, width, bias);
}

void swiglu(Backend& backend, Activation x, const SwiGlu& weights, Activation gated, Activation upped,
            Activation out) {
  linear(backend, x, weights.gate, gated);    // [n_tokens, width]
  linear(backend, x, weights.up, upped);      // [n_tokens, width]
  backend.silu_mul(gated, upped, gated);      // [n_tokens, width]
  linear(backend, gated, weights.down, out);  // [n_tokens, d_model]
}

}  // namespace mla
