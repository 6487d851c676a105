#include <gtest/gtest.h>

#include <algorithm>
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

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr Tolerance kLastBits{.relative_to_range = 2e-7};

class Elementwise : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_reference_backend();
  Random random_{3};
};

TEST_F(Elementwise, EmbedTakesRowsOfAnyElementType) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kQ8_0}) {
    const HostWeight table = HostWeight::random(random_, {7, 32}, 1.0F, dtype);
    const std::vector<float> values = table.values();
    const std::vector<int32_t> ids{6, 0, 3, 3};
    Matrix out(4, 32, 40);
    backend_->embed(ids, *table.pack(*backend_), out.view());
    for (size_t t = 0; t < ids.size(); ++t) {
      const std::span<const float> want(values.data() + ids[t] * 32, 32);
      EXPECT_TRUE(all_equal(std::span(out.view().row(static_cast<int64_t>(t)), 32), want)) << t;
    }
    EXPECT_TRUE(out.gaps_intact());
  }
}

TEST_F(Elementwise, GatherRowsPicksRows) {
  Matrix x = Matrix::random(random_, 5, 3, 1.0F, 4), out(3, 3, 7);
  const std::vector<int32_t> rows{4, 0, 4};
  backend_->gather_rows(x.view(), rows, out.view());
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(
        all_equal(std::span(out.view().row(i), 3), std::span(x.view().row(rows[static_cast<size_t>(i)]), 3)));
  }
  Matrix none(0, 3);
  backend_->gather_rows(x.view(), {}, none.view());
}

TEST_F(Elementwise, AddAddsInPlace) {
  Matrix x = Matrix::of(2, 2, {1, 2, 3, 4}), y = Matrix(2, 2, 3);
  for (int64_t t = 0; t < 2; ++t) y.view().row(t)[0] = 10, y.view().row(t)[1] = kInf;
  backend_->add(x.view(), y.view());
  EXPECT_EQ(x.data, (std::vector<float>{11, kInf, 13, kInf}));
}

TEST_F(Elementwise, RopeEqualsPyTorch) {
  for (const char* name : {"interleaved", "half_split", "interleaved_tail", "half_split_head"}) {
    const Golden g = Golden::load(std::string("ops/rope_") + name + ".safetensors");
    const RopeTable table{g.metadata("pairs") == "half" ? RopePairs::kHalfSplit : RopePairs::kInterleaved,
                          1.0F, g.f32("inv_freq")};
    Matrix x = Matrix::of(g.shape("x")[0], g.shape("x")[1] * g.shape("x")[2], g.f32("x"));
    backend_->rope(x.view(), static_cast<int64_t>(g.number("d_head")),
                   static_cast<int64_t>(g.number("offset")), table, g.i32("positions"));
    EXPECT_TRUE(all_close(x.data, g.f32("out"), kLastBits)) << name;
  }
}

// The reason for rotating: the product of a query and a key depends on the distance of their positions alone.
TEST_F(Elementwise, RopeProductsDependOnDistanceOnly) {
  const RopeTable table = make_rope_table({.d_rope = 16, .theta = 100.0F}).value();
  const Matrix q = Matrix::random(random_, 1, 16), k = Matrix::random(random_, 1, 16);
  const auto product = [&](int32_t q_position, int32_t k_position) {
    Matrix a = q, b = k;
    backend_->rope(a.view(), 16, 0, table, std::vector<int32_t>{q_position});
    backend_->rope(b.view(), 16, 0, table, std::vector<int32_t>{k_position});
    double sum = 0.0;
    for (size_t i = 0; i < 16; ++i) sum += static_cast<double>(a.data[i]) * static_cast<double>(b.data[i]);
    return sum;
  };
  EXPECT_NEAR(product(5, 2), product(1003, 1000), 1e-5);
  EXPECT_NEAR(product(5, 2), product(131071, 131068), 1e-5);
  EXPECT_GT(std::fabs(product(5, 2) - product(5, 4)), 1e-2);
}

TEST_F(Elementwise, RopeAnglesAreExactAtLongContexts) {
  const RopeTable table{RopePairs::kInterleaved, 1.0F, {1.0F, 0.7498942F, 1.3e-4F}};
  const int32_t position = 131071;
  Matrix x = Matrix::of(1, 6, {1, 0, 1, 0, 1, 0});
  backend_->rope(x.view(), 6, 0, table, std::vector<int32_t>{position});
  for (size_t i = 0; i < 3; ++i) {
    const long double angle = static_cast<long double>(position) * table.inv_freq[i];
    EXPECT_NEAR(x.data[2 * i], static_cast<double>(std::cos(angle)), 1e-7) << i;
    EXPECT_NEAR(x.data[2 * i + 1], static_cast<double>(std::sin(angle)), 1e-7) << i;
  }
}

TEST_F(Elementwise, RopeRotatesOnlyItsPartAndAppliesTheMagnitude) {
  const RopeTable table{RopePairs::kHalfSplit, 2.0F, {1.0F}};
  Matrix x = Matrix(1, 10, 12);  // two heads of 5: the rotated part is dimensions 2 and 3
  for (int64_t i = 0; i < 10; ++i) x.view().row(0)[i] = static_cast<float>(i);
  backend_->rope(x.view(), 5, 2, table, std::vector<int32_t>{0});
  EXPECT_EQ(x.packed(), (std::vector<float>{0, 1, 4, 6, 4, 5, 6, 14, 16, 9}));
  EXPECT_TRUE(x.gaps_intact());
  backend_->rope(x.view(), 5, 0, RopeTable{}, std::vector<int32_t>{9});
  EXPECT_EQ(x.packed()[2], 4.0F) << "an empty table rotates nothing";
}

TEST_F(Elementwise, ActivationsEqualPyTorch) {
  const Golden g = Golden::load("ops/gelu.safetensors");
  for (Gelu kind : {Gelu::kTanh, Gelu::kErf}) {
    Matrix x = Matrix::of(1, 65, g.f32("x"));
    backend_->gelu(x.view(), kind);
    const std::vector<float> want = g.f32(kind == Gelu::kTanh ? "tanh" : "erf");
    // Values run from 1e-30 to 1e4. Far out on the negative side 1 + erf(x) cancels: an error of 1e-16 x
    // remains.
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(x.data[i], want[i], 1e-14 + 2e-7 * std::fabs(want[i])) << i;
  }
  const Golden s = Golden::load("ops/silu_mul.safetensors");
  Matrix gate = Matrix::of(1, 65, s.f32("gate")), up = Matrix::of(1, 65, s.f32("up")), out(1, 65);
  backend_->silu_mul(gate.view(), up.view(), out.view());
  const std::vector<float> want = s.f32("out");
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(out.data[i], want[i], 1e-37 + 2e-7 * std::fabs(want[i])) << i;
}

TEST_F(Elementwise, SiluMulMayWriteToEitherInput) {
  Matrix gate = Matrix::random(random_, 3, 5), up = Matrix::random(random_, 3, 5), out(3, 5);
  backend_->silu_mul(gate.view(), up.view(), out.view());
  Matrix to_gate = gate, to_up = up;
  backend_->silu_mul(to_gate.view(), up.view(), to_gate.view());
  backend_->silu_mul(gate.view(), to_up.view(), to_up.view());
  EXPECT_TRUE(all_equal(to_gate.data, out.data));
  EXPECT_TRUE(all_equal(to_up.data, out.data));
}

TEST_F(Elementwise, ActivationsAtTheEdges) {
  Matrix x = Matrix::of(1, 4, {kNan, kInf, -1e30F, 0.0F}), ones = Matrix::of(1, 4, {1, 1, 1, 1}), out(1, 4);
  backend_->silu_mul(x.view(), ones.view(), out.view());
  EXPECT_TRUE(all_equal(out.data, std::vector<float>{kNan, kInf, -0.0F, 0.0F}));
  for (Gelu kind : {Gelu::kTanh, Gelu::kErf}) {
    Matrix y = x;
    backend_->gelu(y.view(), kind);
    EXPECT_TRUE(std::isnan(y.data[0]));
    EXPECT_EQ(y.data[1], kInf);
    EXPECT_EQ(y.data[2], 0.0F);
    EXPECT_EQ(y.data[3], 0.0F);
  }
}

}  // namespace
}  // namespace mla
