#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "ops/backend.h"
#include "support/golden.h"
#include "support/random.h"

namespace mla {
namespace {

using namespace test;

RouterSpec spec_of(const Golden& g) {
  const auto n = [&](const char* key) { return static_cast<int64_t>(g.number(key)); };
  RouterSpec spec;
  spec.n_experts = n("n_experts");
  spec.n_experts_used = n("n_experts_used");
  spec.score = g.metadata("score") == "softmax" ? RouterScore::kSoftmax : RouterScore::kSigmoid;
  spec.n_groups = n("n_groups");
  spec.n_groups_used = n("n_groups_used");
  spec.group_score = g.metadata("group_score") == "max" ? GroupScore::kMax : GroupScore::kTop2Sum;
  spec.normalize = n("normalize") != 0;
  spec.scale = static_cast<float>(g.number("scale"));
  return spec;
}

class Router : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_reference_backend();

  Routing route(Matrix& logits, const RouterSpec& spec, const HostWeight* bias = nullptr) {
    const Routing out = backend_->scratch_routing(logits.n_rows, spec.n_experts_used);
    const Weight packed = bias != nullptr ? bias->pack(*backend_) : nullptr;
    backend_->route(logits.view(), spec, packed.get(), out);
    return out;
  }
};

TEST_F(Router, EqualsTransformers) {
  for (const char* name :
       {"greedy", "greedy_normalized", "greedy_scaled", "group_limited", "group_limited_small", "noaux",
        "noaux_one_group", "noaux_not_normalized", "noaux_negative", "all_experts"}) {
    SCOPED_TRACE(name);
    const Golden g = Golden::load(std::string("ops/router_") + name + ".safetensors");
    const RouterSpec spec = spec_of(g);
    Matrix logits = Matrix::of(g.shape("logits")[0], spec.n_experts, g.f32("logits"));
    const HostWeight bias = g.has("bias") ? HostWeight::of(g.shape("bias"), g.f32("bias")) : HostWeight{};
    const Routing got = route(logits, spec, g.has("bias") ? &bias : nullptr);
    const std::vector<int32_t> experts = g.i32("experts");  // ascending ids; ours fall by choice
    const std::vector<float> weights = g.f32("weights");
    for (int64_t t = 0; t < got.n_tokens; ++t) {
      std::vector<std::pair<int32_t, float>> mine;
      for (int64_t k = 0; k < got.n_used; ++k)
        mine.emplace_back(got.experts[t * got.n_used + k], got.weights[t * got.n_used + k]);
      std::sort(mine.begin(), mine.end());
      for (int64_t k = 0; k < got.n_used; ++k) {
        const auto at = static_cast<size_t>(t * got.n_used + k);
        EXPECT_EQ(mine[static_cast<size_t>(k)].first, experts[at]) << "token " << t;
        EXPECT_NEAR(mine[static_cast<size_t>(k)].second, weights[at], 3e-7 * std::fabs(weights[at]))
            << "token " << t;
      }
    }
  }
}

TEST_F(Router, OrdersByChoiceAndBreaksTiesByLowerId) {
  Matrix logits = Matrix::of(1, 5, {1.0F, 3.0F, 2.0F, 3.0F, 1.0F});
  const Routing r = route(logits, {.n_experts = 5, .n_experts_used = 4});
  EXPECT_EQ(std::vector<int32_t>(r.experts, r.experts + 4), (std::vector<int32_t>{1, 3, 2, 0}));
}

TEST_F(Router, BiasChangesTheChoiceButNotTheWeights) {
  Matrix logits = Matrix::of(1, 3, {0.0F, 1.0F, 2.0F});
  const HostWeight bias = HostWeight::of({3}, {10.0F, 0.0F, 0.0F});
  const Routing r =
      route(logits, {.n_experts = 3, .n_experts_used = 1, .score = RouterScore::kSigmoid}, &bias);
  EXPECT_EQ(r.experts[0], 0);
  EXPECT_FLOAT_EQ(r.weights[0], 0.5F);
}

// The best expert sits in group 1, the best pair in group 0: the two group scores disagree.
TEST_F(Router, GroupScoresDiffer) {
  Matrix logits = Matrix::of(1, 4, {1.0F, 0.9F, 1.1F, -9.0F});
  RouterSpec spec{
      .n_experts = 4, .n_experts_used = 1, .score = RouterScore::kSigmoid, .n_groups = 2, .n_groups_used = 1};
  spec.group_score = GroupScore::kMax;
  EXPECT_EQ(route(logits, spec).experts[0], 2);
  spec.group_score = GroupScore::kTop2Sum;
  EXPECT_EQ(route(logits, spec).experts[0], 0);
}

TEST_F(Router, GroupsOfOneExpertWork) {
  Matrix logits = Matrix::of(1, 3, {1.0F, 2.0F, 3.0F});
  const RouterSpec spec{.n_experts = 3,
                        .n_experts_used = 1,
                        .score = RouterScore::kSigmoid,
                        .n_groups = 3,
                        .n_groups_used = 2,
                        .group_score = GroupScore::kTop2Sum};
  EXPECT_EQ(route(logits, spec).experts[0], 2);
}

TEST_F(Router, SurvivesHugeLogitsAndNan) {
  Matrix logits = Matrix::of(2, 3, {1e4F, -1e4F, 0.0F, std::numeric_limits<float>::quiet_NaN(), 5.0F, 1.0F});
  const RouterSpec softmax{.n_experts = 3, .n_experts_used = 2, .normalize = true};
  Routing r = route(logits, softmax);
  EXPECT_EQ(r.experts[0], 0);
  EXPECT_FLOAT_EQ(r.weights[0], 1.0F);
  EXPECT_TRUE(std::isnan(r.weights[2]));
  RouterSpec sigmoid = softmax;
  sigmoid.score = RouterScore::kSigmoid;
  r = route(logits, sigmoid);
  EXPECT_EQ(r.experts[2], 1) << "an expert with a number comes before one with NaN";
  for (int64_t k = 0; k < 4; ++k) EXPECT_TRUE(r.experts[k] >= 0 && r.experts[k] < 3);
}

}  // namespace
}  // namespace mla
