#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "ops/backend.h"
#include "support/compare.h"
#include "support/random.h"

namespace mla {
namespace {

using namespace test;

constexpr int64_t kExperts = 5, kModel = 6, kExpert = 7;

class Experts : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_reference_backend();
  Random random_{23};
  HostWeight gate_ = HostWeight::random(random_, {kExperts, kExpert, kModel});
  HostWeight up_ = HostWeight::random(random_, {kExperts, kExpert, kModel});
  HostWeight down_ = HostWeight::random(random_, {kExperts, kModel, kExpert});
  ExpertWeights weights_{gate_.pack(*backend_), up_.pack(*backend_), down_.pack(*backend_)};

  /// Matrix e of a stack, as a weight of its own.
  static TensorView matrix(const HostWeight& stack, int64_t e) {
    TensorView view = stack.view;
    const int64_t rows = view.shape[1];
    view.shape.erase(view.shape.begin());
    view.data = stack.view.row(e * rows);
    return view;
  }
  /// One expert composed of other operations: down(silu(gate x) * (up x)).
  Matrix one_expert(Matrix& x, int64_t e) {
    Matrix gate(x.n_rows, kExpert), up(x.n_rows, kExpert), out(x.n_rows, kModel);
    backend_->linear(x.view(), *backend_->pack(matrix(gate_, e)).value(), nullptr, gate.view());
    backend_->linear(x.view(), *backend_->pack(matrix(up_, e)).value(), nullptr, up.view());
    backend_->silu_mul(gate.view(), up.view(), gate.view());
    backend_->linear(gate.view(), *backend_->pack(matrix(down_, e)).value(), nullptr, out.view());
    return out;
  }
};

TEST_F(Experts, AddsTheWeightedSumOfTheChosen) {
  constexpr int64_t kTokens = 4, kUsed = 3;
  Matrix x = Matrix::random(random_, kTokens, kModel, 1.0F, kModel + 1);
  Matrix out = Matrix::random(random_, kTokens, kModel, 1.0F, kModel + 2);
  Routing routing = backend_->scratch_routing(kTokens, kUsed);
  Matrix want = Matrix::of(kTokens, kModel, out.packed());
  std::vector<Matrix> each;
  for (int64_t e = 0; e < kExperts; ++e) each.push_back(one_expert(x, e));
  for (int64_t t = 0; t < kTokens; ++t) {
    const std::vector<int32_t> chosen = random_.permutation(kExperts);
    for (int64_t k = 0; k < kUsed; ++k) {
      const int32_t e = chosen[static_cast<size_t>(k)];
      const float w = random_.normal();
      routing.experts[t * kUsed + k] = e;
      routing.weights[t * kUsed + k] = w;
      for (int64_t i = 0; i < kModel; ++i)
        want.view().row(t)[i] += w * each[static_cast<size_t>(e)].view().row(t)[i];
    }
  }
  backend_->experts(x.view(), routing, weights_, out.view());
  EXPECT_TRUE(all_close(out.packed(), want.data, {.relative_to_range = 1e-6}));
  EXPECT_TRUE(out.gaps_intact());
}

TEST_F(Experts, SeparateMatricesEqualOneStack) {
  const auto stack = [&](const HostWeight& w) {
    std::vector<TensorView> views;
    for (int64_t e = 0; e < kExperts; ++e) views.push_back(matrix(w, e));
    return backend_->pack_stack(views).value();
  };
  const ExpertWeights separate{stack(gate_), stack(up_), stack(down_)};
  EXPECT_EQ(separate.gate->n_stack, kExperts);
  EXPECT_EQ(separate.gate->file_bytes, weights_.gate->file_bytes);
  Matrix x = Matrix::random(random_, 3, kModel), one = Matrix::random(random_, 3, kModel), other = one;
  Routing routing = backend_->scratch_routing(3, 1);
  for (int64_t t = 0; t < 3; ++t) routing.experts[t] = static_cast<int32_t>(4 - t), routing.weights[t] = 0.5F;
  backend_->experts(x.view(), routing, weights_, one.view());
  backend_->experts(x.view(), routing, separate, other.view());
  EXPECT_TRUE(all_equal(one.data, other.data));
}

TEST_F(Experts, NoTokensAndNoChosenExpertsAddNothing) {
  Matrix none(0, kModel), x = Matrix::random(random_, 2, kModel), out = Matrix::random(random_, 2, kModel);
  const std::vector<float> before = out.data;
  backend_->experts(none.view(), backend_->scratch_routing(0, 2), weights_, none.view());
  backend_->experts(x.view(), backend_->scratch_routing(2, 0), weights_, out.view());
  EXPECT_TRUE(all_equal(out.data, before));
}

}  // namespace
}  // namespace mla
