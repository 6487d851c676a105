#include <cassert>
#include <cmath>

#include "reference/math.h"
#include "reference/reference_backend.h"
#include "reference/weight.h"

namespace mla {

/// y_i = w_i x_i / sqrt(mean of x^2 + eps), over each consecutive group of w's width.
void ReferenceBackend::rms_norm(Activation x, const PackedWeight& weight, float eps, Activation out) {
  const int64_t width = weight.n_in;
  assert(width > 0 && x.n_cols % width == 0 && out.n_rows == x.n_rows && out.n_cols == x.n_cols);
  const std::vector<float> w = decoded_vector(weight);
  for (int64_t t = 0; t < x.n_rows; ++t) {
    for (int64_t first = 0; first < x.n_cols; first += width) {
      const float* in = x.row(t) + first;
      float* y = out.row(t) + first;
      const double mean_square = dot(in, in, width) / static_cast<double>(width);
      const double scale = 1.0 / std::sqrt(mean_square + static_cast<double>(eps));
      for (int64_t i = 0; i < width; ++i)
        y[i] = static_cast<float>(in[i] * scale * w[static_cast<size_t>(i)]);
    }
  }
}

/// y_i = w_i (x_i - mean) / sqrt(variance + eps) + b_i, with the variance over all n (not n - 1).
void ReferenceBackend::layer_norm(Activation x, const PackedWeight& weight, const PackedWeight* bias,
                                  float eps, Activation out) {
  const int64_t n = x.n_cols;
  assert(weight.n_in == n && (bias == nullptr || bias->n_in == n) && out.n_rows == x.n_rows &&
         out.n_cols == n);
  const std::vector<float> w = decoded_vector(weight);
  const std::vector<float> b =
      bias != nullptr ? decoded_vector(*bias) : std::vector<float>(static_cast<size_t>(n), 0.0F);
  for (int64_t t = 0; t < x.n_rows; ++t) {
    const float* in = x.row(t);
    double mean = 0.0;
    for (int64_t i = 0; i < n; ++i) mean += in[i];
    mean /= static_cast<double>(n);
    double variance = 0.0;
    for (int64_t i = 0; i < n; ++i) variance += (in[i] - mean) * (in[i] - mean);
    variance /= static_cast<double>(n);
    const double scale = 1.0 / std::sqrt(variance + static_cast<double>(eps));
    for (int64_t i = 0; i < n; ++i) {
      const auto k = static_cast<size_t>(i);
      out.row(t)[i] = static_cast<float>((in[i] - mean) * scale * w[k] + b[k]);
    }
  }
}

}  // namespace mla
