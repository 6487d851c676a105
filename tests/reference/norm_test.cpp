#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "ops/backend.h"
#include "support/compare.h"
#include "support/golden.h"
#include "support/random.h"

namespace mla {
namespace {

using namespace test;

class Norm : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_reference_backend();
  Random random_{9};

  /// Row by row: rows of very different size must each be right.
  static void expect_rows_close(const Matrix& got, const std::vector<float>& want, const std::string& name) {
    for (int64_t r = 0; r < got.n_rows; ++r) {
      const auto at = static_cast<size_t>(r * got.n_cols);
      const auto n = static_cast<size_t>(got.n_cols);
      EXPECT_TRUE(all_close(std::span(got.data).subspan(at, n), std::span(want).subspan(at, n),
                            {.relative_to_range = 2e-7}))
          << name << " row " << r;
    }
  }
};

TEST_F(Norm, RmsEqualsPyTorch) {
  for (const char* name : {"rms_norm_1e-05", "rms_norm_1e-06", "rms_norm_heads"}) {
    const Golden g = Golden::load(std::string("ops/") + name + ".safetensors");
    const std::vector<int64_t>& shape = g.shape("x");
    Matrix x = Matrix::of(shape[0], shape.size() == 3 ? shape[1] * shape[2] : shape[1], g.f32("x"));
    const HostWeight weight = HostWeight::of(g.shape("weight"), g.f32("weight"));
    backend_->rms_norm(x.view(), *weight.pack(*backend_), static_cast<float>(g.number("eps")), x.view());
    expect_rows_close(x, g.f32("out"), name);
  }
}

TEST_F(Norm, LayerNormEqualsPyTorch) {
  for (const char* name : {"layer_norm", "layer_norm_no_bias"}) {
    const Golden g = Golden::load(std::string("ops/") + name + ".safetensors");
    Matrix x = Matrix::of(g.shape("x")[0], g.shape("x")[1], g.f32("x")), out(x.n_rows, x.n_cols);
    const HostWeight weight = HostWeight::of(g.shape("weight"), g.f32("weight"));
    const HostWeight bias = g.has("bias") ? HostWeight::of(g.shape("bias"), g.f32("bias")) : HostWeight{};
    const Weight packed_bias = g.has("bias") ? bias.pack(*backend_) : nullptr;
    backend_->layer_norm(x.view(), *weight.pack(*backend_), packed_bias.get(),
                         static_cast<float>(g.number("eps")), out.view());
    expect_rows_close(out, g.f32("out"), name);
  }
}

TEST_F(Norm, KeepsToItsColumns) {
  const HostWeight weight = HostWeight::random(random_, {6});
  Matrix x = Matrix::random(random_, 3, 6, 1.0F, 9), out(3, 6, 8);
  backend_->rms_norm(x.view(), *weight.pack(*backend_), 1e-6F, out.view());
  EXPECT_TRUE(out.gaps_intact());
  backend_->layer_norm(x.view(), *weight.pack(*backend_), nullptr, 1e-5F, x.view());
  EXPECT_TRUE(x.gaps_intact());
}

TEST_F(Norm, LargeValuesDoNotOverflow) {
  const HostWeight ones = HostWeight::of({4}, {1, 1, 1, 1});
  Matrix x = Matrix::of(1, 4, {1e30F, -1e30F, 1e30F, -1e30F});  // squares overflow f32
  backend_->rms_norm(x.view(), *ones.pack(*backend_), 1e-6F, x.view());
  EXPECT_EQ(x.data, (std::vector<float>{1, -1, 1, -1}));
}

TEST_F(Norm, NanStaysInItsRow) {
  const HostWeight ones = HostWeight::of({2}, {1, 1});
  Matrix x = Matrix::of(2, 2, {std::numeric_limits<float>::quiet_NaN(), 1, 3, 3});
  backend_->rms_norm(x.view(), *ones.pack(*backend_), 0.0F, x.view());
  EXPECT_TRUE(std::isnan(x.data[0]) && std::isnan(x.data[1]));
  EXPECT_FLOAT_EQ(x.data[2], 1.0F);
}

}  // namespace
}  // namespace mla
