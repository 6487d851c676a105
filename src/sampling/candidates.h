#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace mla {

/// A token that may still be drawn.
struct Candidate {
  int32_t token = -1;
  double exponent = 0.0;  ///< (logit - highest logit) / temperature
  double weight = 0.0;    ///< exp(exponent): its probability up to a common factor
};

/// What the steps after top-k will read at most, so that the rest need not be listed. Each field alone is
/// safe to leave as it is.
struct Needed {
  double mass = 1.0;  ///< only the most probable tokens that together have this much of the probability
  double exponent = -std::numeric_limits<double>::infinity();  ///< only tokens with at least this exponent
};

/// The tokens that may still be drawn, most probable first (ties: lower id first), and the steps that thin
/// them out. Vocabularies have over 10^5 tokens: a step that needs a few of them finds a threshold first and
/// sorts only those above.
class Candidates {
 public:
  /// All tokens with logits above -inf, or with top_k > 0 the top_k highest and those equal to the last of
  /// them.
  Candidates(std::span<const float> logits, double temperature, int64_t top_k, const Needed& needed);

  /// arXiv 2202.00666: by distance of a token's surprise from the entropy, as many as reach `mass`.
  void keep_typical(double mass);
  /// arXiv 1904.09751: the fewest most probable tokens whose sum reaches p.
  void keep_top_p(double p);
  /// arXiv 2407.01082: those with at least p of the highest probability.
  void keep_min_p(double p);

  const std::vector<Candidate>& list() const { return list_; }
  /// Weight of all candidates, those included that are not listed because nobody needs them.
  double total() const { return total_; }

 private:
  void recount();

  std::vector<Candidate> list_;
  double total_ = 0.0;
};

/// A logit as the steps see it: NaN is -inf, +inf the largest finite number.
float sane_logit(float logit);
/// The highest sane logit's first token; -1 when all are -inf.
int32_t highest_logit(std::span<const float> logits);
/// The k-th highest sane logit (k >= 1); -inf when fewer than k are above it.
float kth_highest(std::span<const float> logits, int64_t k);

}  // namespace mla
