#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

namespace mla {

/// a . b over n elements, summed in f64 whatever the operands are stored in.
template <typename A, typename B>
double dot(const A* a, const B* b, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

/// scores[i] = exp(scores[i] - max) / sum over j of exp(scores[j] - max): the softmax, without overflow.
inline void softmax(std::span<double> scores) {
  double largest = -std::numeric_limits<double>::infinity();
  for (double s : scores) largest = std::max(largest, s);
  double sum = 0.0;
  for (double& s : scores) sum += s = std::exp(s - largest);
  for (double& s : scores) s /= sum;
}

inline double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}
inline double silu(double x) {
  return x * sigmoid(x);
}

}  // namespace mla
