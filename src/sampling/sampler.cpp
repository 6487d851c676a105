#include "sampling/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "sampling/candidates.h"

namespace mla {
namespace {

/// `value` must lie in [low, high]; NaN lies nowhere.
Status check_range(const char* name, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  return Error::usage(fmt::format("{} = {:g}: expected {:g} to {:g}", name, value, low, high));
}

Status check_positive(const char* name, double value, const char* hint) {
  if (value > 0.0 && std::isfinite(value)) return {};
  return Error::usage(fmt::format("{} = {:g}: expected a positive number ({})", name, value, hint));
}

/// Bijective mixing of 64 bits (the finaliser of SplitMix64; Steele, Lea, Flood 2014).
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/// Buffer for adjusted logits; one per thread, since it is as large as a vocabulary and empty between calls.
std::vector<float>& adjusted_buffer() {
  thread_local std::vector<float> buffer;
  return buffer;
}

TokenSet& allowed_buffer() {
  thread_local TokenSet buffer;
  return buffer;
}

}  // namespace

Status SamplingParams::validate(int64_t n_vocab) const {
  if (!(temperature >= 0.0F) || !std::isfinite(temperature)) {
    return Error::usage(
        fmt::format("temperature = {:g}: expected 0 (greedy) or a positive number", temperature));
  }
  if (top_k < 0) return Error::usage(fmt::format("top_k = {}: expected 0 (off) or more", top_k));
  MLA_TRY(check_range("top_p", top_p, 0.0, 1.0));
  MLA_TRY(check_range("min_p", min_p, 0.0, 1.0));
  MLA_TRY(check_range("typical_p", typical_p, 0.0, 1.0));
  MLA_TRY(check_positive("repetition_penalty", repetition_penalty, "1 = off, 1.1 = mild"));
  MLA_TRY(check_range("presence_penalty", presence_penalty, -2.0, 2.0));
  MLA_TRY(check_range("frequency_penalty", frequency_penalty, -2.0, 2.0));
  for (const auto& [token, bias] : logit_bias) {
    if (token < 0 || token >= n_vocab) {
      return Error::usage(
          fmt::format("logit_bias of token {}: expected an id from 0 to {}", token, n_vocab - 1));
    }
    if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity()) {
      return Error::usage(
          fmt::format("logit_bias of token {} = {:g}: expected a number or -inf", token, bias));
    }
  }
  if (n_logprobs < -1 || n_logprobs > n_vocab) {
    return Error::usage(
        fmt::format("n_logprobs = {}: expected -1 (none) to {}, the vocabulary's size", n_logprobs, n_vocab));
  }
  return {};
}

double uniform_draw(uint64_t seed, uint64_t index) {
  // Two rounds: neighbouring seeds and neighbouring draws both start from unrelated words.
  const uint64_t stream = mix(seed + 0x9e3779b97f4a7c15ULL);
  const uint64_t bits = mix(stream ^ mix((index + 1) * 0xd1342543de82ef95ULL));
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

Sampler::Sampler(SamplingParams params, int64_t n_vocab) : params_(std::move(params)), n_vocab_(n_vocab) {}

bool Sampler::penalizes() const {
  return params_.repetition_penalty != 1.0F || params_.presence_penalty != 0.0F ||
         params_.frequency_penalty != 0.0F;
}

void Sampler::observe_prompt(std::span<const int32_t> ids) {
  if (!penalizes()) return;
  for (const int32_t id : ids) uses_[id].in_prompt = true;
}

void Sampler::adjust(std::span<float> logits) const {
  for (const auto& [token, bias] : params_.logit_bias) logits[static_cast<size_t>(token)] += bias;
  for (const auto& [token, use] : uses_) {
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit < 0.0F ? logit * params_.repetition_penalty : logit / params_.repetition_penalty;
    if (use.n_answer > 0)
      logit -= params_.presence_penalty + params_.frequency_penalty * static_cast<float>(use.n_answer);
  }
}

std::span<const float> Sampler::adjusted(std::span<const float> logits) const {
  assert(static_cast<int64_t>(logits.size()) == n_vocab_);
  if (params_.logit_bias.empty() && uses_.empty() && !params_.constraint) return logits;
  std::vector<float>& buffer = adjusted_buffer();
  buffer.assign(logits.begin(), logits.end());
  adjust(buffer);
  if (params_.constraint) {
    TokenSet& allowed = allowed_buffer();
    params_.constraint->allow(allowed);
    allowed.mask(buffer);
  }
  return buffer;
}

Candidates Sampler::candidates(std::span<const float> logits, double mass) const {
  const bool typical = params_.typical_p < 1.0F;
  Needed needed;  // typical must see everything; the other steps go from the most probable down
  if (!typical) needed.mass = params_.top_p < 1.0F ? params_.top_p : params_.min_p > 0.0F ? 1.0 : mass;
  if (!typical && params_.min_p > 0.0F) needed.exponent = std::log(params_.min_p);
  Candidates candidates(logits, params_.temperature, params_.top_k, needed);
  if (typical) candidates.keep_typical(params_.typical_p);
  if (params_.top_p < 1.0F) candidates.keep_top_p(params_.top_p);
  if (params_.min_p > 0.0F) candidates.keep_min_p(params_.min_p);
  return candidates;
}

std::vector<TokenProbability> Sampler::distribution(std::span<const float> logits) const {
  logits = adjusted(logits);
  if (params_.temperature == 0.0F) {
    const int32_t best = highest_logit(logits);
    return best < 0 ? std::vector<TokenProbability>{} : std::vector<TokenProbability>{{best, 1.0}};
  }
  const Candidates all = candidates(logits, 1.0);
  std::vector<TokenProbability> result;
  result.reserve(all.list().size());
  for (const Candidate& c : all.list()) result.push_back({c.token, c.weight / all.total()});
  return result;
}

int32_t Sampler::draw(std::span<const float> logits) const {
  const double u = uniform_draw(params_.seed, n_draws_);
  // Inverse of the cumulative distribution in order of falling probability: nothing beyond u is ever read.
  const Candidates choices = candidates(logits, u);
  int32_t token = 0;
  double sum = 0.0;
  for (const Candidate& c : choices.list()) {
    if (c.weight == 0.0) break;  // underflowed: cannot be drawn, not even by rounding at the end
    token = c.token;
    sum += c.weight;
    if (sum > u * choices.total()) break;
  }
  return token;
}

SampledToken Sampler::sample(std::span<const float> logits) {
  const std::span<const float> values = adjusted(logits);
  if (params_.constraint && highest_logit(values) < 0) return {.token = -1};
  const int32_t token = params_.temperature > 0.0F ? draw(values) : std::max(highest_logit(values), 0);
  SampledToken result{.token = token};
  if (params_.n_logprobs >= 0) result = log_probabilities(logits, token, params_.n_logprobs);
  std::optional<TokenConstraint> constraint = params_.constraint;
  if (constraint) constraint->accept(token);
  if (penalizes()) ++uses_[token].n_answer;
  params_.constraint = std::move(constraint);  // from here on nothing can fail
  if (params_.temperature > 0.0F) ++n_draws_;
  return result;
}

SampledToken log_probabilities(std::span<const float> logits, int32_t token, int32_t n) {
  SampledToken result{.token = token};
  const int32_t best = highest_logit(logits);
  if (best < 0) {
    result.logprob = -std::numeric_limits<float>::infinity();
    return result;
  }
  const double highest = sane_logit(logits[static_cast<size_t>(best)]);
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(sane_logit(logit) - highest);
  const double log_sum = highest + std::log(sum);
  const auto logprob = [&](int32_t id) {
    return static_cast<float>(sane_logit(logits[static_cast<size_t>(id)]) - log_sum);
  };
  result.logprob = logprob(token);
  if (n <= 0) return result;

  const float lowest = kth_highest(logits, n);
  for (size_t i = 0; i < logits.size(); ++i) {
    if (sane_logit(logits[i]) >= lowest)
      result.top.push_back({static_cast<int32_t>(i), logprob(static_cast<int32_t>(i))});
  }
  std::stable_sort(result.top.begin(), result.top.end(), [&](const TokenLogprob& a, const TokenLogprob& b) {
    return sane_logit(logits[static_cast<size_t>(a.token)]) >
           sane_logit(logits[static_cast<size_t>(b.token)]);
  });
  result.top.resize(std::min(result.top.size(), static_cast<size_t>(n)));
  return result;
}

}  // namespace mla
