#include "sampling/candidates.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

namespace mla {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct Threshold {
  double exponent = -std::numeric_limits<double>::infinity();
  double total = 0.0;  ///< weight of all tokens
};

/// The exponent below which nothing can belong to the most probable tokens that sum to `mass` of the total:
/// weights are summed in bins of about equal exponents, highest first, until the sum is reached. f32 is exact
/// enough for that, and half the time: this is the one pass that takes an exponential of the whole
/// vocabulary.
Threshold mass_threshold(std::span<const float> logits, float highest, float temperature, double mass) {
  constexpr int kBins = 256;
  constexpr float kBinsPerUnit = 8.0F;  // 256 bins reach exp(-32), 10^-14 of the highest weight
  std::array<double, kBins> in_bin{};
  const float scale = 1.0F / temperature;
  for (const float logit : logits) {
    const float exponent = (logit - highest) * scale;
    if (!(exponent > -80.0F)) continue;  // nothing in f64 sums; also NaN
    const float weight = std::exp(std::min(exponent, 0.0F));
    in_bin[static_cast<size_t>(
        std::min(-std::min(exponent, 0.0F) * kBinsPerUnit, static_cast<float>(kBins - 1)))] += weight;
  }
  Threshold found;
  for (const double m : in_bin) found.total += m;
  double sum = 0.0;
  for (int bin = 0; bin + 1 < kBins; ++bin) {
    sum += in_bin[static_cast<size_t>(bin)];
    if (sum < mass * found.total) continue;
    // One bin more than needed: a sum that meets `mass` within rounding is decided by whoever reads the list,
    // not here.
    found.exponent = -static_cast<double>(bin + 2) / static_cast<double>(kBinsPerUnit);
    break;
  }
  return found;
}

bool more_probable(const Candidate& a, const Candidate& b) {
  return a.exponent != b.exponent ? a.exponent > b.exponent : a.token < b.token;
}

}  // namespace

float sane_logit(float logit) {
  if (std::isnan(logit)) return kMinusInfinity;
  return std::min(logit, std::numeric_limits<float>::max());
}

int32_t highest_logit(std::span<const float> logits) {
  // The maximum of every lane first: the inner loop becomes vector instructions. Comparisons with NaN are false.
  constexpr size_t kLanes = 16;
  std::array<float, kLanes> highest_of_lane;
  highest_of_lane.fill(kMinusInfinity);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    const float* values = logits.data() + i;
    for (size_t lane = 0; lane < kLanes; ++lane)
      highest_of_lane[lane] = values[lane] > highest_of_lane[lane] ? values[lane] : highest_of_lane[lane];
  }
  float highest = *std::max_element(highest_of_lane.begin(), highest_of_lane.end());
  for (; i < logits.size(); ++i) highest = logits[i] > highest ? logits[i] : highest;
  if (highest == kMinusInfinity) return -1;
  return static_cast<int32_t>(std::find(logits.begin(), logits.end(), highest) - logits.begin());
}

float kth_highest(std::span<const float> logits, int64_t k) {
  const size_t n = static_cast<size_t>(std::min<int64_t>(k, static_cast<int64_t>(logits.size())));
  if (n < static_cast<size_t>(k)) return kMinusInfinity;
  std::vector<float> kept;  // a heap whose front is the lowest of the k highest so far
  kept.reserve(n);
  for (const float logit : logits.first(n)) kept.push_back(sane_logit(logit));
  std::make_heap(kept.begin(), kept.end(), std::greater<>());
  for (const float logit : logits.subspan(n)) {
    if (!(logit > kept.front())) continue;  // false for NaN
    std::pop_heap(kept.begin(), kept.end(), std::greater<>());
    kept.back() = sane_logit(logit);
    std::push_heap(kept.begin(), kept.end(), std::greater<>());
  }
  return kept.front();
}

Candidates::Candidates(std::span<const float> logits, double temperature, int64_t top_k,
                       const Needed& needed) {
  const int32_t best = highest_logit(logits);
  if (best < 0) return;
  const float highest = sane_logit(logits[static_cast<size_t>(best)]);

  float lowest = std::numeric_limits<float>::lowest();
  double exponent = needed.exponent, all = 0.0;
  if (top_k > 0 && top_k < static_cast<int64_t>(logits.size())) {
    lowest = std::max(lowest, kth_highest(logits, top_k));  // few enough to list them all
    exponent = -std::numeric_limits<double>::infinity();
  } else if (needed.mass < 1.0) {
    const Threshold threshold = mass_threshold(logits, highest, static_cast<float>(temperature), needed.mass);
    exponent = std::max(exponent, threshold.exponent);
    all = threshold.total;
  }
  if (std::isfinite(exponent)) {
    // The last bits of the product must not cost a token that stands exactly on the threshold.
    const double logit = highest + exponent * temperature;
    lowest = std::max(lowest, static_cast<float>(logit - 1e-6 * (std::fabs(logit) + std::fabs(highest))));
  }
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] >= lowest)) continue;  // false for NaN
    const double e = (sane_logit(logits[i]) - static_cast<double>(highest)) / temperature;
    list_.push_back({static_cast<int32_t>(i), e, std::exp(e)});
  }
  std::sort(list_.begin(), list_.end(), more_probable);
  recount();
  total_ = std::max(total_, all);
}

void Candidates::recount() {
  total_ = 0.0;
  for (const Candidate& c : list_) total_ += c.weight;
}

void Candidates::keep_typical(double mass) {
  // Surprise of a token: -log probability; entropy: its mean. A token is typical when the two are close.
  const double log_total = std::log(total_);
  double entropy = 0.0;
  for (const Candidate& c : list_) {
    if (c.weight > 0.0) entropy += c.weight / total_ * (log_total - c.exponent);
  }
  const auto distance = [&](const Candidate& c) { return std::fabs(log_total - c.exponent - entropy); };
  std::stable_sort(list_.begin(), list_.end(),
                   [&](const Candidate& a, const Candidate& b) { return distance(a) < distance(b); });
  size_t n = 0;
  for (double sum = 0.0; n < list_.size() && (n == 0 || sum < mass * total_); ++n) sum += list_[n].weight;
  while (n > 0 && n < list_.size() && distance(list_[n]) == distance(list_[n - 1])) ++n;
  list_.resize(n);
  std::sort(list_.begin(), list_.end(), more_probable);
  recount();
}

void Candidates::keep_top_p(double p) {
  size_t n = 0;
  for (double sum = 0.0; n < list_.size() && (n == 0 || sum < p * total_); ++n) sum += list_[n].weight;
  list_.resize(n);
  recount();
}

void Candidates::keep_min_p(double p) {
  const double lowest = list_.empty() ? 0.0 : p * list_.front().weight;
  std::erase_if(list_, [&](const Candidate& c) { return c.weight < lowest; });
  recount();
}

}  // namespace mla
