#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "reference/math.h"
#include "reference/reference_backend.h"
#include "reference/weight.h"

namespace mla {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

/// Indices of the n best values, best first; of equal values the lower index first. NaN comes after numbers.
std::vector<int64_t> best(const std::vector<double>& values, int64_t n) {
  const auto key = [&](int64_t i) {
    const double v = values[static_cast<size_t>(i)];
    return std::isnan(v) ? kNever : v;
  };
  std::vector<int64_t> order(values.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return key(a) > key(b); });
  order.resize(static_cast<size_t>(n));
  return order;
}

double group_score(std::vector<double> choice, GroupScore kind) {
  const std::vector<int64_t> top = best(choice, std::min<int64_t>(2, static_cast<int64_t>(choice.size())));
  double score = choice[static_cast<size_t>(top[0])];
  if (kind == GroupScore::kTop2Sum && top.size() == 2) score += choice[static_cast<size_t>(top[1])];
  return score;
}

/// Takes the experts of all but the best groups out of the choice. They get -infinity, as in transformers'
/// DeepseekV3TopkRouter and in DeepSeek's own code; older transformers wrote 0, which lets a masked expert in
/// when the biased scores of the allowed ones are negative.
void mask_groups(const RouterSpec& spec, std::vector<double>& choice) {
  if (spec.n_groups <= 1) return;
  const int64_t size = spec.n_experts / spec.n_groups;
  std::vector<double> scores;
  for (int64_t g = 0; g < spec.n_groups; ++g) {
    const auto first = choice.begin() + g * size;
    scores.push_back(group_score(std::vector<double>(first, first + size), spec.group_score));
  }
  std::vector<bool> keep(static_cast<size_t>(spec.n_groups), false);
  for (int64_t g : best(scores, spec.n_groups_used)) keep[static_cast<size_t>(g)] = true;
  for (int64_t e = 0; e < spec.n_experts; ++e) {
    if (!keep[static_cast<size_t>(e / size)]) choice[static_cast<size_t>(e)] = kNever;
  }
}

}  // namespace

/// p = softmax(logits) or sigmoid(logits); the choice is by p + correction bias, within the best groups; the
/// weights are p itself at the chosen experts, normalised to sum 1 if asked for, times the scale.
void ReferenceBackend::route(Activation logits, const RouterSpec& spec, const PackedWeight* correction_bias,
                             Routing out) {
  assert(logits.n_cols == spec.n_experts && logits.n_rows == out.n_tokens &&
         out.n_used == spec.n_experts_used);
  assert(spec.n_groups >= 1 && spec.n_experts % spec.n_groups == 0 && spec.n_groups_used <= spec.n_groups);
  const auto n = static_cast<size_t>(spec.n_experts);
  const std::vector<float> bias =
      correction_bias != nullptr ? decoded_vector(*correction_bias) : std::vector<float>(n, 0.0F);
  for (int64_t t = 0; t < logits.n_rows; ++t) {
    std::vector<double> p(logits.row(t), logits.row(t) + spec.n_experts);
    if (spec.score == RouterScore::kSoftmax) softmax(p);
    if (spec.score == RouterScore::kSigmoid) std::transform(p.begin(), p.end(), p.begin(), sigmoid);
    std::vector<double> choice(n);
    for (size_t e = 0; e < n; ++e) choice[e] = p[e] + static_cast<double>(bias[e]);
    mask_groups(spec, choice);

    const std::vector<int64_t> chosen = best(choice, spec.n_experts_used);
    double sum = 0.0;
    for (int64_t e : chosen) sum += p[static_cast<size_t>(e)];
    const double factor = spec.normalize ? spec.scale / (sum + 1e-20) : spec.scale;
    for (size_t k = 0; k < chosen.size(); ++k) {
      const int64_t at = t * out.n_used + static_cast<int64_t>(k);
      out.experts[at] = static_cast<int32_t>(chosen[k]);
      out.weights[at] = static_cast<float>(p[static_cast<size_t>(chosen[k])] * factor);
    }
  }
}

}  // namespace mla
