#include <algorithm>
#include <cassert>

#include "reference/math.h"
#include "reference/reference_backend.h"
#include "reference/weight.h"

namespace mla {

/// out[t] += sum over chosen e of w_e down_e(silu(gate_e x[t]) * (up_e x[t])). Experts outside, so that each
/// weight is decoded once; the sum over a token's experts is in f64, so that this order does not show.
void ReferenceBackend::experts(Activation x, const Routing& routing, const ExpertWeights& weights,
                               Activation out) {
  const int64_t d_expert = weights.gate->n_out;
  const int64_t d_model = weights.down->n_out;
  assert(x.n_cols == weights.gate->n_in && x.n_cols == weights.up->n_in && weights.up->n_out == d_expert);
  assert(weights.down->n_in == d_expert && out.n_cols == d_model && out.n_rows == x.n_rows &&
         routing.n_tokens == x.n_rows);
  const std::span<const int32_t> chosen(routing.experts,
                                        static_cast<size_t>(routing.n_tokens * routing.n_used));
  std::vector<double> sums(static_cast<size_t>(x.n_rows * d_model), 0.0);  // [n_tokens, d_model]
  for (int64_t e = 0; e < weights.gate->n_stack; ++e) {
    if (std::find(chosen.begin(), chosen.end(), e) == chosen.end()) continue;
    const std::vector<float> gate = decoded(*weights.gate).matrix(e);  // [d_expert, d_model]
    const std::vector<float> up = decoded(*weights.up).matrix(e);      // [d_expert, d_model]
    const std::vector<float> down = decoded(*weights.down).matrix(e);  // [d_model, d_expert]
    for (size_t k = 0; k < chosen.size(); ++k) {
      if (chosen[k] != e) continue;
      const int64_t t = static_cast<int64_t>(k) / routing.n_used;
      std::vector<double> hidden(static_cast<size_t>(d_expert));
      for (int64_t j = 0; j < d_expert; ++j) {
        const int64_t at = j * x.n_cols;
        hidden[static_cast<size_t>(j)] = silu(dot(x.row(t), &gate[static_cast<size_t>(at)], x.n_cols)) *
                                         dot(x.row(t), &up[static_cast<size_t>(at)], x.n_cols);
      }
      for (int64_t i = 0; i < d_model; ++i) {
        const double y = dot(hidden.data(), &down[static_cast<size_t>(i * d_expert)], d_expert);
        sums[static_cast<size_t>(t * d_model + i)] += routing.weights[k] * y;
      }
    }
  }
  for (int64_t t = 0; t < out.n_rows; ++t) {
    const double* sum = &sums[static_cast<size_t>(t * d_model)];
    for (int64_t i = 0; i < d_model; ++i) out.row(t)[i] = static_cast<float>(out.row(t)[i] + sum[i]);
  }
}

}  // namespace mla
