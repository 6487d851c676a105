#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace mla {

/// How the next token is chosen. Steps run in this order: logit bias, penalties, temperature, top-k, typical, top-p, min-p,
/// then a draw. Conventions are those of Hugging Face's logits processors where they have one (tests/golden/sampling).
struct SamplingParams {
  float temperature = 0.0F;         ///< 0 = greedy (the highest logit; ties: lowest id)
  int32_t top_k = 0;                ///< 0 = off
  float top_p = 1.0F;               ///< 1 = off
  float min_p = 0.0F;               ///< 0 = off
  float typical_p = 1.0F;           ///< 1 = off (arXiv 2202.00666)
  float repetition_penalty = 1.0F;  ///< 1 = off (arXiv 1909.05858); over prompt and answer
  float presence_penalty = 0.0F;    ///< OpenAI's; over the answer
  float frequency_penalty = 0.0F;
  std::vector<std::pair<int32_t, float>> logit_bias;
  uint64_t seed = 0;
  int32_t n_logprobs = -1;          ///< -1: none; n >= 0: of the choice and the n most probable

  /// Errors: kUsage naming the parameter, its value and its range.
  Status validate(int64_t n_vocab) const;
};

struct TokenLogprob {
  int32_t token = -1;
  float logprob = 0.0F;
};

struct SampledToken {
  int32_t token = -1;
  float logprob = 0.0F;           ///< natural log, of the model's own distribution (before any of the steps)
  std::vector<TokenLogprob> top;  ///< most probable first
};

/// The state of one sequence's sampling: parameters, token counts, random stream. The same seed and logits give the same
/// tokens, whatever else runs in the batch.
class Sampler {
 public:
  Sampler(SamplingParams params, int64_t n_vocab);

  /// Counts a prompt token (for the repetition penalty).
  void observe_prompt(std::span<const int32_t> ids);
  /// Chooses and counts the next token. `logits` [n_vocab]; NaN counts as -inf.
  SampledToken sample(std::span<const float> logits);

  const SamplingParams& params() const { return params_; }

 private:
  SamplingParams params_;
  std::vector<uint8_t> in_prompt_;
  std::vector<int32_t> counts_;
  uint64_t draws_ = 0;
};

}  // namespace mla
