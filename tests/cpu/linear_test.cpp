#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu_test.h"

namespace mla::test {
namespace {

using Linear = CpuTest;
MLA_FOR_EVERY_ISA(Linear);

/// Sums of f32 products in another order: errors grow with the square root of their number.
Tolerance rounding(int64_t n_in) {
  return {.absolute = 1e-6, .relative_to_range = 3e-7 * std::sqrt(static_cast<double>(n_in))};
}

struct Shape {
  int64_t n_tokens, n_in, n_out;
};

class LinearShapes : public CpuTest {
 protected:
  /// Both backends on one random product, with gaps in the activations and an odd address for the weights.
  void compare(Shape s, DType dtype, bool with_bias) {
    SCOPED_TRACE(std::string(dtype_info(dtype).name) + " tokens " + std::to_string(s.n_tokens) + " in " +
                 std::to_string(s.n_in) + " out " + std::to_string(s.n_out));
    HostWeight w = random_weight(random_, {s.n_out, s.n_in}, dtype);
    w.bytes.insert(w.bytes.begin(), std::byte{0});
    w.view.data = w.bytes.data() + 1;
    const HostWeight bias = HostWeight::random(random_, {s.n_out});
    Matrix x = Matrix::random(random_, s.n_tokens, s.n_in, 1.0F, s.n_in + 3);
    Matrix got(s.n_tokens, s.n_out, s.n_out + 5), want(s.n_tokens, s.n_out);
    const Weight cpu_bias = bias.pack(*cpu_), reference_bias = bias.pack(*reference_);
    cpu_->linear(x.view(), *w.pack(*cpu_), with_bias ? cpu_bias.get() : nullptr, got.view());
    reference_->linear(x.view(), *w.pack(*reference_), with_bias ? reference_bias.get() : nullptr,
                       want.view());
    EXPECT_TRUE(all_close(got.packed(), want.data, rounding_of(dtype, rounding(s.n_in))));
    EXPECT_TRUE(got.gaps_intact());
  }
};
MLA_FOR_EVERY_ISA(LinearShapes);

TEST_P(LinearShapes, EveryTypeMatchesTheReference) {
  for (DType dtype : weight_dtypes()) {
    const int64_t block = std::max(dtype_info(dtype).block_size, 32);
    for (int64_t n_tokens : {1, 2, 3, 4, 7, 13, 19})
      compare({n_tokens, 3 * block, 11}, dtype, n_tokens % 2 == 0);
    compare({1, 9 * block, 70}, dtype, true);
    compare({16, 9 * block, 131}, dtype, true);
  }
}

TEST_P(LinearShapes, PlainTypesHaveRowsOfAnyLength) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3}) {
    for (int64_t n_in = 1; n_in <= 257; n_in += n_in < 70 ? 1 : 17) {
      compare({1, n_in, 3}, dtype, false);
      compare({2, n_in, 4}, dtype, true);
      compare({15, n_in, 5}, dtype, true);
    }
    compare({1, 1031, 2}, dtype, false);
    compare({18, 1031, 66}, dtype, false);
  }
}

TEST_P(LinearShapes, EveryNumberOfTokensAndRows) {
  for (int64_t n_tokens = 0; n_tokens <= 20; ++n_tokens) compare({n_tokens, 64, 9}, DType::kQ4_0, true);
  for (int64_t n_out = 0; n_out <= 70; ++n_out) {
    compare({1, 64, n_out}, DType::kQ8_0, false);
    compare({14, 64, n_out}, DType::kQ8_0, false);
  }
}

TEST_P(Linear, Float8TakesItsBlockFactors) {
  for (int64_t scale_block : {32, 128, 20}) {  // 20: unpacked at load
    for (int64_t n_tokens : {1, 15}) {
      HostWeight w = random_weight(random_, {2, 130, 200}, DType::kF8E4M3);
      const int64_t rows = (130 + scale_block - 1) / scale_block,
                    cols = (200 + scale_block - 1) / scale_block;
      const std::vector<float> factors = random_.normals(2 * rows * cols);
      for (int64_t m = 0; m < 2; ++m) {
        TensorView view = w.view;
        view.shape = {130, 200};
        view.data = w.view.row(m * 130);
        view.block_scale = factors.data() + m * rows * cols;
        view.scale_block = scale_block;
        Matrix x = Matrix::random(random_, n_tokens, 200), got(n_tokens, 130), want(n_tokens, 130);
        cpu_->linear(x.view(), *cpu_->pack(view).value(), nullptr, got.view());
        reference_->linear(x.view(), *reference_->pack(view).value(), nullptr, want.view());
        EXPECT_TRUE(all_close(got.data, want.data, rounding_of(w.view.dtype, rounding(200)))) << "blocks of " << scale_block;
      }
    }
  }
}

TEST_P(Linear, Float8SaturationAndNaNCodes) {
  HostWeight w = random_weight(random_, {256, 32}, DType::kF8E4M3);
  for (size_t i = 0; i < 256; ++i) {
    for (size_t k = 0; k < 32; ++k) w.bytes[i * 32 + k] = k == 5 ? static_cast<std::byte>(i) : std::byte{0};
  }
  Matrix x(1, 32), got(1, 256), want(1, 256);
  std::fill(x.data.begin(), x.data.end(), 0.0F);
  x.data[5] = 1.0F;
  cpu_->linear(x.view(), *w.pack(*cpu_), nullptr, got.view());
  reference_->linear(x.view(), *w.pack(*reference_), nullptr, want.view());
  EXPECT_TRUE(all_equal(got.data, want.data));  // every code by itself: 448, subnormals, both NaN
}

TEST_P(Linear, NanAndInfinityReachExactlyTheirOutputs) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (int64_t n_tokens : {2, 17}) {
    const HostWeight w = HostWeight::of({5, 37}, std::vector<float>(5 * 37, 0.5F));
    Matrix x = Matrix::random(random_, n_tokens, 37), got(n_tokens, 5);
    x.view().row(0)[36] = std::nanf("");
    x.view().row(1)[3] = -kInf;
    cpu_->linear(x.view(), *w.pack(*cpu_), nullptr, got.view());
    for (int64_t o = 0; o < 5; ++o) {
      EXPECT_TRUE(std::isnan(got.view().row(0)[o]));
      EXPECT_EQ(got.view().row(1)[o], -kInf);
      for (int64_t t = 2; t < n_tokens; ++t) EXPECT_TRUE(std::isfinite(got.view().row(t)[o]));
    }
  }
}

TEST_P(Linear, DenormalsCount) {
  const HostWeight w = HostWeight::of({1, 40}, std::vector<float>(40, 1.0F));
  Matrix x = Matrix::of(1, 40, std::vector<float>(40, 1e-41F)), got(1, 1);
  cpu_->linear(x.view(), *w.pack(*cpu_), nullptr, got.view());
  EXPECT_NEAR(got.data[0], 4e-40F, 1e-43F);
}

TEST_P(Linear, ThreadsDoNotChangeABit) {
  for (DType dtype : {DType::kQ4_0, DType::kQ6_K, DType::kBF16}) {
    for (int64_t n_tokens : {1, 3, 33}) {
      const HostWeight w = random_weight(random_, {301, 1024}, dtype);
      Matrix x = Matrix::random(random_, n_tokens, 1024), want(n_tokens, 301);
      make_cpu(GetParam(), 1)->linear(x.view(), *w.pack(*cpu_), nullptr, want.view());
      for (int n_threads : {2, 3, 4}) {
        Matrix got(n_tokens, 301);
        const auto backend = make_cpu(GetParam(), n_threads);
        backend->linear(x.view(), *w.pack(*backend), nullptr, got.view());
        EXPECT_TRUE(all_equal(got.data, want.data)) << n_threads << " threads, " << n_tokens << " tokens";
      }
    }
  }
}

TEST_P(Linear, ATokenIsTheSameAloneAndInABatch) {
  const HostWeight w = random_weight(random_, {77, 512}, DType::kQ4_K);
  const Weight packed = w.pack(*cpu_);
  Matrix x = Matrix::random(random_, 40, 512), batch(40, 77), alone(1, 77);
  cpu_->linear(x.view(), *packed, nullptr, batch.view());
  for (int64_t t = 0; t < 40; ++t) {
    cpu_->linear(x.view().rows(t, 1), *packed, nullptr, alone.view());
    EXPECT_TRUE(all_close(std::span(batch.view().row(t), 77), alone.data, rounding_of(DType::kQ4_K, rounding(512))));
  }
}

TEST_P(Linear, EmbedDecodesRowsOfEveryType) {
  for (DType dtype : weight_dtypes()) {
    SCOPED_TRACE(dtype_info(dtype).name);
    const int64_t n_in =
        std::max(dtype_info(dtype).block_size, 32) * 2 + (dtype_info(dtype).block_size == 1 ? 7 : 0);
    const HostWeight w = random_weight(random_, {13, n_in}, dtype);
    const std::vector<int32_t> ids = {12, 0, 5, 5, 7};
    Matrix got(5, n_in, n_in + 1), want(5, n_in);
    cpu_->embed(ids, *w.pack(*cpu_), got.view());
    reference_->embed(ids, *w.pack(*reference_), want.view());
    EXPECT_TRUE(all_close(got.packed(), want.data, {.relative_to_range = 1e-7}));
    EXPECT_TRUE(got.gaps_intact());
  }
}

TEST_P(Linear, RefusesWhatHoldsNoWeights) {
  const std::vector<std::byte> bytes(4096);
  EXPECT_FALSE(cpu_->pack({.name = "ids", .dtype = DType::kI32, .shape = {4}, .data = bytes.data()}).ok());
  EXPECT_FALSE(
      cpu_->pack({.name = "deep", .dtype = DType::kF32, .shape = {2, 2, 2, 2}, .data = bytes.data()}).ok());
  EXPECT_FALSE(
      cpu_->pack({.name = "ragged", .dtype = DType::kQ4_0, .shape = {4, 33}, .data = bytes.data()}).ok());
  EXPECT_FALSE(cpu_->pack_stack({}).ok());
  const TensorView a{.name = "a", .dtype = DType::kF32, .shape = {2, 3}, .data = bytes.data()};
  const TensorView b{.name = "b", .dtype = DType::kF32, .shape = {3, 2}, .data = bytes.data()};
  const std::vector<TensorView> unequal = {a, b};
  const Result<Weight> refused = cpu_->pack_stack(unequal);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidFile);
  EXPECT_NE(refused.error().message.find("'b'"), std::string::npos);
}

TEST_P(Linear, MatricesStayInTheFileOrTakeAsMuchMemory) {
  for (DType dtype : weight_dtypes()) {
    const HostWeight w = random_weight(random_, {160, 512}, dtype);
    const Weight packed = w.pack(*cpu_);
    EXPECT_EQ(packed->file_bytes, w.view.n_bytes());
    if (cpu::kernels_for(GetParam()).interleaved_product[static_cast<size_t>(dtype)] == nullptr) {
      EXPECT_EQ(packed->owned_bytes, 0) << dtype_info(dtype).name;
    } else {
      EXPECT_GE(packed->owned_bytes, w.view.n_bytes()) << dtype_info(dtype).name;
      EXPECT_LE(static_cast<double>(packed->owned_bytes), 1.04 * static_cast<double>(w.view.n_bytes())) << dtype_info(dtype).name;
    }
  }
}

TEST_P(Linear, InterleavedProductsAreTheSameAloneAndInABatch) {
  for (DType dtype : weight_dtypes()) {
    if (cpu::kernels_for(GetParam()).interleaved_product[static_cast<size_t>(dtype)] == nullptr) continue;
    const HostWeight w = random_weight(random_, {37, 512}, dtype);
    const Weight packed = w.pack(*cpu_);
    Matrix x = Matrix::random(random_, 143, 512), batch(143, 37), alone(143, 37);
    for (int64_t t = 0; t < 143; ++t) cpu_->linear(x.view().rows(t, 1), *packed, nullptr, alone.view().rows(t, 1));
    const bool matrix_unit = cpu::kernels_for(GetParam()).matrix_product[static_cast<size_t>(dtype)] != nullptr;
    for (int64_t n : {2, 3, 4, 5, 6, 7, 8, 9, 12, 143}) {
      cpu_->linear(x.view().rows(0, n), *packed, nullptr, batch.view().rows(0, n));
      const Tolerance tolerance = matrix_unit && n > cpu::kThinTokens ? rounding_of(dtype, {}) : Tolerance{};
      EXPECT_TRUE(all_close(std::span(batch.data).first(static_cast<size_t>(n * 37)),
                            std::span(alone.data).first(static_cast<size_t>(n * 37)), tolerance))
          << dtype_info(dtype).name << ", " << n << " tokens";
    }
  }
}

/// x as 8-bit numbers with a scale for each 32.
Matrix rounded_to_8_bits(const Matrix& x, int64_t n_rows, int64_t n_cols) {
  Matrix rounded = x;
  for (int64_t i = 0; i < n_rows * n_cols; i += 32) {
    float* block = rounded.data.data() + i;
    const float largest = std::abs(*std::max_element(block, block + 32, [](float a, float b) { return std::abs(a) < std::abs(b); }));
    for (int64_t k = 0; k < 32; ++k) block[k] = std::nearbyint(block[k] * (127.0F / largest)) * (largest / 127.0F);
  }
  return rounded;
}

TEST_P(Linear, With8BitsMultipliesRoundedActivations) {
  const auto narrow = make_cpu_backend({.n_threads = 2, .isa = GetParam(), .activations = Activations::k8Bit});
  ASSERT_TRUE(narrow.ok());
  const cpu::Kernels& kernels = cpu::kernels_for(GetParam(), Activations::k8Bit);
  for (DType dtype : weight_dtypes()) {
    const auto type = static_cast<size_t>(dtype);
    const HostWeight w = random_weight(random_, {37, 512}, dtype);
    for (int64_t n : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 40}) {
      SCOPED_TRACE(fmt::format("{}, {} tokens", dtype_info(dtype).name, n));
      const Matrix x = Matrix::random(random_, n, 512);
      const bool matrix_unit = kernels.matrix_product[type] != nullptr && n > cpu::kThinTokens;
      const bool rounds = kernels.interleaved_product[type] != nullptr && !matrix_unit;
      Matrix in = rounds ? rounded_to_8_bits(x, n, 512) : x, exact = x, got(n, 37), want(n, 37);
      (*narrow)->linear(exact.view(), *w.pack(**narrow), nullptr, got.view());
      reference_->linear(in.view(), *w.pack(*reference_), nullptr, want.view());
      EXPECT_TRUE(all_close(got.data, want.data, rounds ? Tolerance{.relative_to_range = 1e-5} : rounding_of(dtype, rounding(512))));
    }
  }
}

TEST_P(Linear, FaultsAndExtremesOfActivationsStayVisibleInQuantisedProducts) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (DType dtype : weight_dtypes()) {
    if (dtype_info(dtype).block_size == 1) continue;
    SCOPED_TRACE(dtype_info(dtype).name);
    const HostWeight w = random_weight(random_, {20, 256}, dtype);
    Matrix x = Matrix::random(random_, 6, 256), got(6, 20), want(6, 20);
    x.view().row(0)[255] = std::nanf("");
    x.view().row(1)[0] = kInf;
    x.view().row(2)[31] = -kInf;
    for (int64_t k = 0; k < 256; ++k) {
      x.view().row(3)[k] = 0.0F;
      x.view().row(4)[k] *= 1e30F;
      x.view().row(5)[k] *= k < 32 ? 1e-25F : 1e-20F;
    }
    cpu_->linear(x.view(), *w.pack(*cpu_), nullptr, got.view());
    reference_->linear(x.view(), *w.pack(*reference_), nullptr, want.view());
    for (int64_t o = 0; o < 20; ++o) {
      for (int64_t t = 0; t < 3; ++t) EXPECT_FALSE(std::isfinite(got.view().row(t)[o])) << t;
      EXPECT_EQ(got.view().row(3)[o], 0.0F);
    }
    for (int64_t t : {4, 5}) {
      EXPECT_TRUE(all_close(std::span(got.view().row(t), 20), std::span<const float>(want.view().row(t), 20),
                            rounding_of(dtype, {.absolute = 0.0, .relative_to_range = 1e-5})));
    }
  }
}

}  // namespace
}  // namespace mla::test
