#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "cpu/backend.h"

namespace mla::cpu {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

/// The n best of `size` values, best first; of equal values the lower index first. NaN counts as the worst.
void best(const double* values, int64_t size, int64_t n, int32_t* chosen) {
  const auto key = [&](int64_t i) { return std::isnan(values[i]) ? kNever : values[i]; };
  int64_t have = 0;
  for (int64_t i = 0; i < size; ++i) {
    if (have == n && (n == 0 || key(i) <= key(chosen[n - 1]))) continue;
    int64_t at = have < n ? have++ : n - 1;
    for (; at > 0 && key(i) > key(chosen[at - 1]); --at) chosen[at] = chosen[at - 1];
    chosen[at] = static_cast<int32_t>(i);
  }
}

/// p = softmax(logits) or sigmoid(logits), in f64: a choice must not hang on the rounding of an exponential.
void score(const float* logits, const RouterSpec& spec, double* p) {
  const int64_t n = spec.n_experts;
  if (spec.score == RouterScore::kSigmoid) {
    for (int64_t e = 0; e < n; ++e) p[e] = 1.0 / (1.0 + std::exp(-static_cast<double>(logits[e])));
    return;
  }
  double largest = kNever, sum = 0.0;
  for (int64_t e = 0; e < n; ++e) largest = std::max(largest, static_cast<double>(logits[e]));
  for (int64_t e = 0; e < n; ++e) sum += p[e] = std::exp(static_cast<double>(logits[e]) - largest);
  for (int64_t e = 0; e < n; ++e) p[e] /= sum;
}

/// Takes the experts of all but the best groups out of the choice.
void mask_groups(const RouterSpec& spec, double* choice, double* group_scores, int32_t* groups) {
  if (spec.n_groups <= 1) return;
  const int64_t size = spec.n_experts / spec.n_groups;
  for (int64_t g = 0; g < spec.n_groups; ++g) {
    const int64_t n_top = std::min<int64_t>(2, size);
    int32_t top[2] = {0, 0};
    best(choice + g * size, size, n_top, top);
    group_scores[g] = choice[g * size + top[0]];
    if (spec.group_score == GroupScore::kTop2Sum && n_top == 2) group_scores[g] += choice[g * size + top[1]];
  }
  best(group_scores, spec.n_groups, spec.n_groups_used, groups);
  for (int64_t e = 0; e < spec.n_experts; ++e) {
    int32_t* end = groups + spec.n_groups_used;
    if (std::find(groups, end, static_cast<int32_t>(e / size)) == end) choice[e] = kNever;
  }
}

}  // namespace

void CpuBackend::route(Activation logits, const RouterSpec& spec, const PackedWeight* correction_bias,
                       Routing out) {
  assert(logits.n_cols == spec.n_experts && logits.n_rows == out.n_tokens &&
         out.n_used == spec.n_experts_used);
  begin_work();
  const float* bias = correction_bias != nullptr ? packed(*correction_bias).vector() : nullptr;
  double* p = work<double>(spec.n_experts);
  double* choice = work<double>(spec.n_experts);
  double* group_scores = work<double>(spec.n_groups);
  int32_t* groups = work<int32_t>(spec.n_groups);
  for (int64_t t = 0; t < logits.n_rows; ++t) {
    score(logits.row(t), spec, p);
    for (int64_t e = 0; e < spec.n_experts; ++e)
      choice[e] = p[e] + (bias != nullptr ? static_cast<double>(bias[e]) : 0.0);
    mask_groups(spec, choice, group_scores, groups);
    int32_t* chosen = out.experts + t * out.n_used;
    best(choice, spec.n_experts, spec.n_experts_used, chosen);
    double sum = 0.0;
    for (int64_t k = 0; k < out.n_used; ++k) sum += p[chosen[k]];
    const double factor =
        spec.normalize ? static_cast<double>(spec.scale) / (sum + 1e-20) : static_cast<double>(spec.scale);
    for (int64_t k = 0; k < out.n_used; ++k)
      out.weights[t * out.n_used + k] = static_cast<float>(p[chosen[k]] * factor);
  }
}

}  // namespace mla::cpu
