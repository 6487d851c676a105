#include <algorithm>
#include <cassert>
#include <cmath>

#include "reference/math.h"
#include "reference/reference_backend.h"
#include "reference/weight.h"

namespace mla {
namespace {

/// W x for every row x: [n_rows, n_out].
std::vector<double> project(Activation x, const PackedWeight& weight) {
  std::vector<double> out(static_cast<size_t>(x.n_rows * weight.n_out));
  for (int64_t o = 0; o < weight.n_out; ++o) {
    const std::vector<float> row = decoded(weight).row(0, o);
    for (int64_t t = 0; t < x.n_rows; ++t) {
      out[static_cast<size_t>(t * weight.n_out + o)] = dot(x.row(t), row.data(), weight.n_in);
    }
  }
  return out;
}

}  // namespace

/// e_j = v . tanh(W_q s + W_k h_j + b);  weights = softmax over the valid j;  context = sum_j weights_j h_j.
/// The score is a small network of its own. Scaled dot-product attention replaces it by one product, which is
/// what makes keys cacheable as plain vectors.
void ReferenceBackend::additive_attention(const AdditiveAttentionArgs& args) {
  const int64_t n_kv = args.keys.n_rows;
  const int64_t d_key = args.keys.n_cols;
  const int64_t d_attn = args.w_query->n_out;
  const int64_t n_valid = args.n_valid < 0 ? n_kv : std::min(args.n_valid, n_kv);
  assert(args.w_key->n_out == d_attn && args.w_query->n_in == args.query.n_cols && args.w_key->n_in == d_key);
  assert(args.v->n_in == d_attn && args.out.n_cols == d_key && args.out.n_rows == args.query.n_rows);
  const std::vector<double> queries = project(args.query, *args.w_query);  // [n_q, d_attn]
  const std::vector<double> keys = project(args.keys, *args.w_key);        // [n_kv, d_attn]
  const std::vector<float> v = decoded_vector(*args.v);
  const std::vector<float> bias =
      args.bias != nullptr ? decoded_vector(*args.bias) : std::vector<float>(v.size(), 0.0F);

  for (int64_t t = 0; t < args.query.n_rows; ++t) {
    std::vector<double> weights(static_cast<size_t>(n_valid), 0.0);
    for (int64_t j = 0; j < n_valid; ++j) {
      for (int64_t a = 0; a < d_attn; ++a) {
        const double sum =
            queries[static_cast<size_t>(t * d_attn + a)] + keys[static_cast<size_t>(j * d_attn + a)];
        weights[static_cast<size_t>(j)] +=
            v[static_cast<size_t>(a)] * std::tanh(sum + bias[static_cast<size_t>(a)]);
      }
    }
    softmax(weights);
    for (int64_t i = 0; i < d_key; ++i) {
      double context = 0.0;
      for (int64_t j = 0; j < n_valid; ++j) context += weights[static_cast<size_t>(j)] * args.keys.row(j)[i];
      args.out.row(t)[i] = static_cast<float>(context);
    }
    if (args.weights.data == nullptr) continue;
    for (int64_t j = 0; j < n_kv; ++j) {
      args.weights.row(t)[j] = j < n_valid ? static_cast<float>(weights[static_cast<size_t>(j)]) : 0.0F;
    }
  }
}

}  // namespace mla
