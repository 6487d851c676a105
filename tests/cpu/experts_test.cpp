#include "cpu_test.h"

namespace mla::test {
namespace {

class Experts : public CpuTest {
 protected:
  /// A random choice of different experts for every token.
  Routing random_routing(Backend& backend, int64_t n_tokens, int64_t n_used, int64_t n_experts) {
    Routing r = backend.scratch_routing(n_tokens, n_used);
    for (int64_t t = 0; t < n_tokens; ++t) {
      const std::vector<int32_t> order = random_.permutation(n_experts);
      for (int64_t k = 0; k < n_used; ++k) {
        r.experts[t * n_used + k] = order[static_cast<size_t>(k)];
        r.weights[t * n_used + k] = random_.normal();
      }
    }
    return r;
  }
  struct Layer {
    HostWeight gate, up, down;
    ExpertWeights pack(Backend& backend) const {
      return {gate.pack(backend), up.pack(backend), down.pack(backend)};
    }
  };
  Layer random_layer(int64_t n_experts, int64_t d_expert, int64_t d_model, DType dtype) {
    return {random_weight(random_, {n_experts, d_expert, d_model}, dtype),
            random_weight(random_, {n_experts, d_expert, d_model}, dtype),
            random_weight(random_, {n_experts, d_model, d_expert}, dtype)};
  }
};
MLA_FOR_EVERY_ISA(Experts);

TEST_P(Experts, MatchTheReference) {
  for (DType dtype : weight_dtypes()) {
    for (int64_t n_tokens : {0, 1, 2, 9, 60}) {
      SCOPED_TRACE(std::string(dtype_info(dtype).name) + " tokens " + std::to_string(n_tokens));
      const int64_t d_model = dtype == DType::kF32 ? 37 : 256, d_expert = dtype == DType::kF32 ? 75 : 256;
      const Layer layer = random_layer(7, d_expert, d_model, dtype);
      const Routing routing = random_routing(*reference_, n_tokens, 3, 7);
      Matrix x = Matrix::random(random_, n_tokens, d_model, 0.3F, d_model + 3);
      Matrix got = Matrix::random(random_, n_tokens, d_model), want = Matrix::of(n_tokens, d_model, got.data);
      cpu_->experts(x.view(), routing, layer.pack(*cpu_), got.view());
      reference_->experts(x.view(), routing, layer.pack(*reference_), want.view());
      EXPECT_TRUE(all_close(got.data, want.data, rounding_of(dtype, kF32Rounding)));
    }
  }
}

TEST_P(Experts, GateUpAndDownMayDifferInType) {
  const DType types[] = {DType::kBF16, DType::kQ4_0, DType::kF32, DType::kQ6_K, DType::kQ2_K};
  for (DType gate : types) {
    for (DType up : types) {
      SCOPED_TRACE(std::string(dtype_info(gate).name) + " " + std::string(dtype_info(up).name));
      const Layer layer{random_weight(random_, {3, 512, 256}, gate), random_weight(random_, {3, 512, 256}, up),
                        random_weight(random_, {3, 256, 512}, DType::kQ5_0)};
      for (int64_t n_tokens : {1, 20}) {
        const Routing routing = random_routing(*reference_, n_tokens, 2, 3);
        Matrix x = Matrix::random(random_, n_tokens, 256, 0.3F);
        Matrix got = Matrix::random(random_, n_tokens, 256), want = Matrix::of(n_tokens, 256, got.data);
        cpu_->experts(x.view(), routing, layer.pack(*cpu_), got.view());
        reference_->experts(x.view(), routing, layer.pack(*reference_), want.view());
        Tolerance tolerance = rounding_of(DType::kQ4_0, kF32Rounding);
        tolerance.relative_to_range *= 2.0;  // errors of gate and up, which multiply, go through another product
        EXPECT_TRUE(all_close(got.data, want.data, tolerance));
      }
    }
  }
}

TEST_P(Experts, AllTokensMayChooseOne) {
  const Layer layer = random_layer(4, 64, 96, DType::kQ8_0);
  Routing routing = reference_->scratch_routing(11, 1);
  for (int64_t t = 0; t < 11; ++t) {
    routing.experts[t] = 2;
    routing.weights[t] = 0.5F;
  }
  Matrix x = Matrix::random(random_, 11, 96, 0.3F),
         got = Matrix::of(11, 96, std::vector<float>(11 * 96, 1.0F));
  Matrix want = Matrix::of(11, 96, got.data);
  cpu_->experts(x.view(), routing, layer.pack(*cpu_), got.view());
  reference_->experts(x.view(), routing, layer.pack(*reference_), want.view());
  EXPECT_TRUE(all_close(got.data, want.data, rounding_of(DType::kQ8_0, kF32Rounding)));
}

TEST_P(Experts, SeparateMatricesAreAStack) {
  const Layer layer = random_layer(3, 32, 64, DType::kQ4_0);
  const auto split = [](const HostWeight& w) {
    std::vector<TensorView> views;
    for (int64_t e = 0; e < w.view.shape[0]; ++e) {
      TensorView v = w.view;
      v.shape.erase(v.shape.begin());
      v.data = w.view.row(e * w.view.shape[1]);
      views.push_back(v);
    }
    return views;
  };
  const ExpertWeights stacked{cpu_->pack_stack(split(layer.gate)).value(),
                              cpu_->pack_stack(split(layer.up)).value(),
                              cpu_->pack_stack(split(layer.down)).value()};
  const Routing routing = random_routing(*cpu_, 6, 2, 3);
  Matrix x = Matrix::random(random_, 6, 64), whole = Matrix::of(6, 64, std::vector<float>(6 * 64, 0.0F));
  Matrix parts = Matrix::of(6, 64, whole.data);
  cpu_->experts(x.view(), routing, layer.pack(*cpu_), whole.view());
  cpu_->experts(x.view(), routing, stacked, parts.view());
  EXPECT_TRUE(all_equal(whole.data, parts.data));
}

TEST_P(Experts, ThreadsDoNotChangeABit) {
  const Layer layer = random_layer(8, 192, 256, DType::kQ4_0);
  for (int64_t n_tokens : {1, 30}) {
    const Routing routing = random_routing(*reference_, n_tokens, 4, 8);
    Matrix x = Matrix::random(random_, n_tokens, 256), want(n_tokens, 256);
    std::fill(want.data.begin(), want.data.end(), 0.0F);
    Matrix zero = Matrix::of(n_tokens, 256, want.data);
    const auto alone = make_cpu(GetParam(), 1);
    alone->experts(x.view(), routing, layer.pack(*alone), want.view());
    for (int n_threads : {2, 3, 4}) {
      Matrix got = Matrix::of(n_tokens, 256, zero.data);
      const auto backend = make_cpu(GetParam(), n_threads);
      backend->experts(x.view(), routing, layer.pack(*backend), got.view());
      EXPECT_TRUE(all_equal(got.data, want.data)) << n_threads;
    }
  }
}

}  // namespace
}  // namespace mla::test
