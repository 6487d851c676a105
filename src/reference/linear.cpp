#include <cassert>

#include "reference/math.h"
#include "reference/reference_backend.h"
#include "reference/weight.h"

namespace mla {

/// out[t, o] = sum over i of x[t, i] W[o, i] + b[o]. Rows of W outside: each is decoded once, for all tokens.
void ReferenceBackend::linear(Activation x, const PackedWeight& weight, const PackedWeight* bias,
                              Activation out) {
  assert(x.n_cols == weight.n_in && out.n_cols == weight.n_out && out.n_rows == x.n_rows &&
         weight.n_stack == 1);
  assert(bias == nullptr || bias->n_in == weight.n_out);
  const std::vector<float> b = bias != nullptr ? decoded_vector(*bias) : std::vector<float>();
  for (int64_t o = 0; o < weight.n_out; ++o) {
    const std::vector<float> row = decoded(weight).row(0, o);
    const double offset = b.empty() ? 0.0 : static_cast<double>(b[static_cast<size_t>(o)]);
    for (int64_t t = 0; t < x.n_rows; ++t) {
      out.row(t)[o] = static_cast<float>(dot(x.row(t), row.data(), weight.n_in) + offset);
    }
  }
}

}  // namespace mla
