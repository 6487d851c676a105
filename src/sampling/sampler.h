#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "grammar/token_constraint.h"
#include "sampling/candidates.h"

namespace mla {

/// How the next token is chosen. Steps run in this order: logit bias, penalties, constraint, temperature, top-k,
/// typical, top-p, min-p, then a draw. Each step sees the distribution that the steps before it left, and leaves at
/// least one token. Conventions are those of Hugging Face's logits processors where they have one
/// (tests/golden/sampling).
struct SamplingParams {
  float temperature = 0.0F;  ///< logits are divided by it; 0 = greedy (the highest logit; ties: lowest id)
  int32_t top_k = 0;         ///< keeps the k highest, and all that equal the k-th; 0 = off
  float top_p = 1.0F;        ///< keeps the fewest most probable that sum to p (arXiv 1904.09751); 1 = off
  /// Keeps those with at least min_p of the highest probability (arXiv 2407.01082); 0 = off
  float min_p = 0.0F;
  /// Keeps the tokens whose surprise is nearest the entropy (arXiv 2202.00666); 1 = off
  float typical_p = 1.0F;
  /// Divides positive, multiplies negative logits; over prompt and answer (arXiv 1909.05858)
  float repetition_penalty = 1.0F;
  float presence_penalty = 0.0F;   ///< OpenAI's: subtracted once from every token of the answer
  float frequency_penalty = 0.0F;  ///< OpenAI's: subtracted once per occurrence in the answer
  std::vector<std::pair<int32_t, float>> logit_bias;  ///< (token, added to its logit); -inf bans the token
  /// Makes every token impossible with which the answer would not be what it must be
  std::optional<TokenConstraint> constraint;
  uint64_t seed = 0;
  int32_t n_logprobs = -1;  ///< -1: none; n >= 0: of the choice and the n most probable

  /// Errors: kUsage naming the parameter, its value and its range.
  Status validate(int64_t n_vocab) const;
};

struct TokenLogprob {
  int32_t token = -1;
  float logprob = 0.0F;
};

struct SampledToken {
  int32_t token = -1;
  /// Natural log, of the model's own distribution (before any of the steps); 0 if not asked for
  float logprob = 0.0F;
  std::vector<TokenLogprob> top;  ///< most probable first
};

struct TokenProbability {
  int32_t token = -1;
  double probability = 0.0;
};

/// The state of one sequence's sampling: parameters, token counts, position in the random stream. The stream
/// is a function of (seed, number of the draw) alone, so the same seed and logits give the same tokens,
/// whatever else runs in the batch.
class Sampler {
 public:
  /// The parameters have been validated for this vocabulary.
  Sampler(SamplingParams params, int64_t n_vocab);

  /// Counts prompt tokens (for the repetition penalty).
  void observe_prompt(std::span<const int32_t> ids);
  /// Chooses and counts the next token. `logits` [n_vocab]; NaN counts as -inf. When no token is possible
  /// (all -inf) the answer is token 0 with log-probability -inf; with a constraint it is token -1, and nothing
  /// has been counted. When memory runs out (std::bad_alloc) nothing has been counted.
  SampledToken sample(std::span<const float> logits);
  /// Whether the constraint lets nothing follow.
  bool finished() const { return params_.constraint && params_.constraint->finished(); }
  /// The tokens among which sample() would draw, with their probabilities; one token when greedy. Counts
  /// nothing.
  std::vector<TokenProbability> distribution(std::span<const float> logits) const;

  const SamplingParams& params() const { return params_; }

 private:
  struct Use {
    bool in_prompt = false;
    int32_t n_answer = 0;
  };

  bool penalizes() const;
  void adjust(std::span<float> logits) const;
  /// The logits with bias, penalties and constraint; a view of them when there are none. Valid until the next
  /// call on this thread.
  std::span<const float> adjusted(std::span<const float> logits) const;
  /// What all steps leave. `mass`: how much of the probability, most probable tokens first, the caller reads
  /// at most.
  Candidates candidates(std::span<const float> logits, double mass) const;
  int32_t draw(std::span<const float> logits) const;

  SamplingParams params_;  ///< the constraint in it goes along with the answer
  int64_t n_vocab_;
  std::unordered_map<int32_t, Use> uses_;  ///< kept only when a penalty reads it
  uint64_t n_draws_ = 0;
};

/// Log-probabilities of `token` and of the n most probable tokens (ties: lower id first) under
/// softmax(logits), sums in f64. NaN counts as -inf.
SampledToken log_probabilities(std::span<const float> logits, int32_t token, int32_t n);

/// Draw number `index` of the stream of `seed`: uniform in [0, 1), 53 random bits.
double uniform_draw(uint64_t seed, uint64_t index);

}  // namespace mla
