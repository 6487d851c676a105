#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "ops/backend.h"
#include "support/compare.h"
#include "support/random.h"

namespace mla {
namespace {

using namespace test;

class Linear : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_reference_backend();
  Random random_{17};
};

/// The sum written out, in long double.
std::vector<float> expected(Matrix& x, const std::vector<float>& w, int64_t n_out,
                            const std::vector<float>& bias) {
  std::vector<float> out;
  for (int64_t t = 0; t < x.n_rows; ++t) {
    for (int64_t o = 0; o < n_out; ++o) {
      long double sum = bias.empty() ? 0.0L : static_cast<long double>(bias[static_cast<size_t>(o)]);
      for (int64_t i = 0; i < x.n_cols; ++i)
        sum += static_cast<long double>(x.view().row(t)[i]) * w[static_cast<size_t>(o * x.n_cols + i)];
      out.push_back(static_cast<float>(sum));
    }
  }
  return out;
}

TEST_F(Linear, EqualsTheWrittenOutSum) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ8_0}) {
    for (int64_t n_tokens : {0, 1, 5}) {
      const int64_t n_in = dtype_info(dtype).block_size == 1 ? 37 : 64;
      const HostWeight w = HostWeight::random(random_, {11, n_in}, 1.0F, dtype);
      const HostWeight b = HostWeight::random(random_, {11});
      Matrix x = Matrix::random(random_, n_tokens, n_in, 1.0F, n_in + 2), out(n_tokens, 11, 13);
      backend_->linear(x.view(), *w.pack(*backend_), b.pack(*backend_).get(), out.view());
      EXPECT_TRUE(
          all_close(out.packed(), expected(x, w.values(), 11, b.values()), {.relative_to_range = 1e-7}));
      EXPECT_TRUE(out.gaps_intact());
      backend_->linear(x.view(), *w.pack(*backend_), nullptr, out.view());
      EXPECT_TRUE(all_close(out.packed(), expected(x, w.values(), 11, {}), {.relative_to_range = 1e-7}));
    }
  }
}

TEST_F(Linear, SumsCancellingTermsExactly) {
  const HostWeight w = HostWeight::of({1, 3}, {1.0F, 1.0F, -1.0F});
  Matrix x = Matrix::of(1, 3, {1e8F, 1.0F, 1e8F}), out(1, 1);
  backend_->linear(x.view(), *w.pack(*backend_), nullptr, out.view());
  EXPECT_EQ(out.data[0], 1.0F);
}

}  // namespace
}  // namespace mla
