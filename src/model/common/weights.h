#pragma once

#include "ops/backend.h"

namespace mla {

/// A projection y = x W^T + b; the bias may be null.
struct Linear {
  Weight weight;  ///< [n_out, n_in]
  Weight bias;    ///< [n_out]
};

/// LayerNorm's weight and bias (RMSNorm has the weight alone).
struct LayerNorm {
  Weight weight;
  Weight bias;
};

inline void linear(Backend& backend, Activation x, const Linear& projection, Activation out) {
  backend.linear(x, *projection.weight, projection.bias.get(), out);
}

inline void layer_norm(Backend& backend, Activation x, const LayerNorm& norm, float eps, Activation out) {
  backend.layer_norm(x, *norm.weight, norm.bias.get(), eps, out);
}

}  // namespace mla
