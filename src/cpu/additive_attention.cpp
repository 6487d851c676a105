#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "cpu/backend.h"

namespace mla::cpu {

/// e_j = v . tanh(W_q s + W_k h_j + b);  weights = softmax over the valid j;  context = sum_j weights_j h_j.
void CpuBackend::additive_attention(const AdditiveAttentionArgs& args) {
  const int64_t n_q = args.query.n_rows, n_kv = args.keys.n_rows, d_attn = args.w_query->n_out;
  const int64_t n_valid = args.n_valid < 0 ? n_kv : std::min(args.n_valid, n_kv);
  assert(args.w_key->n_out == d_attn && args.w_query->n_in == args.query.n_cols &&
         args.w_key->n_in == args.keys.n_cols);
  assert(args.v->n_in == d_attn && args.out.n_cols == args.keys.n_cols && args.out.n_rows == n_q);
  std::vector<float> projected(static_cast<size_t>((n_q + n_kv) * d_attn));
  const Activation queries{projected.data(), n_q, d_attn, d_attn};
  const Activation keys{projected.data() + n_q * d_attn, n_kv, d_attn, d_attn};
  linear(args.query, *args.w_query, args.bias.get(), queries);
  linear(args.keys, *args.w_key, nullptr, keys);

  begin_work();
  float* scores = work<float>(n_q * n_valid);
  const float* v = packed(*args.v).vector();
  for_tasks(n_q, static_cast<double>(n_q * n_valid) * static_cast<double>(4 * d_attn), [&](int64_t t, int) {
    float* weights = scores + t * n_valid;
    float largest = -std::numeric_limits<float>::infinity(), sum = 0.0F;
    for (int64_t j = 0; j < n_valid; ++j) {
      weights[j] = kernels_.tanh_dot(queries.row(t), keys.row(j), v, d_attn);
      largest = std::max(largest, weights[j]);
    }
    for (int64_t j = 0; j < n_valid; ++j) sum += weights[j] = std::exp(weights[j] - largest);
    float* out = args.out.row(t);
    std::fill_n(out, args.out.n_cols, 0.0F);
    for (int64_t j = 0; j < n_valid; ++j) {
      weights[j] /= sum;
      kernels_.blend(out, 1.0F, args.keys.row(j), weights[j], args.out.n_cols);
    }
    if (args.weights.data == nullptr) return;
    std::fill_n(args.weights.row(t), n_kv, 0.0F);
    std::copy_n(weights, n_valid, args.weights.row(t));
  });
}

}  // namespace mla::cpu
