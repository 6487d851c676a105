#include "cpu_test.h"

namespace mla::test {
namespace {

using Router = CpuTest;
MLA_FOR_EVERY_ISA(Router);

TEST_P(Router, EveryKindMatchesTheReference) {
  for (RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    for (GroupScore group : {GroupScore::kMax, GroupScore::kTop2Sum}) {
      for (int64_t n_groups : {1, 4, 16}) {
        for (bool ties : {false, true}) {
          const RouterSpec spec{.n_experts = 16,
                                .n_experts_used = 4,
                                .score = score,
                                .n_groups = n_groups,
                                .n_groups_used = std::max<int64_t>(1, n_groups / 2),
                                .group_score = group,
                                .normalize = n_groups == 4,
                                .scale = 2.5F};
          Matrix logits = Matrix::random(random_, 50, 16, 3.0F);
          if (ties) {
            for (float& x : logits.data) x = static_cast<float>(static_cast<int>(x));
          }
          const HostWeight bias = HostWeight::random(random_, {16}, 0.3F);
          const Weight a = bias.pack(*cpu_), b = bias.pack(*reference_);
          const Routing got = cpu_->scratch_routing(50, 4), want = reference_->scratch_routing(50, 4);
          cpu_->route(logits.view(), spec, ties ? nullptr : a.get(), got);
          reference_->route(logits.view(), spec, ties ? nullptr : b.get(), want);
          EXPECT_EQ(std::vector<int32_t>(got.experts, got.experts + 200),
                    std::vector<int32_t>(want.experts, want.experts + 200));
          EXPECT_TRUE(all_close({got.weights, 200}, {want.weights, 200}, kF32Rounding));
        }
      }
    }
  }
}

TEST_P(Router, HugeAndNanLogits) {
  const RouterSpec spec{.n_experts = 5, .n_experts_used = 3, .score = RouterScore::kSoftmax};
  Matrix logits = Matrix::of(
      3, 5, {1e4F, -1e4F, 0, 5, 1e4F, -1e4F, -1e4F, -1e4F, -1e4F, -1e4F, 1, std::nanf(""), 3, 2, 0});
  const Routing got = cpu_->scratch_routing(3, 3), want = reference_->scratch_routing(3, 3);
  cpu_->route(logits.view(), spec, nullptr, got);
  reference_->route(logits.view(), spec, nullptr, want);
  EXPECT_EQ(std::vector<int32_t>(got.experts, got.experts + 9),
            std::vector<int32_t>(want.experts, want.experts + 9));
  EXPECT_TRUE(all_close({got.weights, 9}, {want.weights, 9}, kF32Rounding));
}

}  // namespace
}  // namespace mla::test
