#pragma once

#include <cstdint>

namespace mla {

enum class RouterScore { kSoftmax, kSigmoid };
enum class GroupScore {
  kMax,       ///< best expert of the group: DeepSeek-V2's group_limited_greedy
  kTop2Sum,   ///< sum of the two best (with correction bias): DeepSeek-V3's noaux_tc
};

/// How a token chooses its experts (DeepSeek-V2 report section 2.2; DeepSeek-V3 report section 2.1.2; models.md B4).
struct RouterSpec {
  int64_t n_experts = 0;
  int64_t n_experts_used = 0;
  RouterScore score = RouterScore::kSoftmax;
  int64_t n_groups = 1;         ///< divides n_experts; 1 = no groups
  int64_t n_groups_used = 1;
  GroupScore group_score = GroupScore::kMax;
  bool normalize = false;       ///< weights / (sum of the chosen + 1e-20)
  float scale = 1.0F;           ///< routed_scaling_factor
};

/// The outcome for every token, in plain host memory: [n_tokens, n_experts_used], expert ids in order of falling choice
/// score (ties: lower id first).
struct Routing {
  int64_t n_tokens = 0;
  int64_t n_used = 0;
  int32_t* experts = nullptr;
  float* weights = nullptr;
};

}  // namespace mla
