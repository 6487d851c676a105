#include <cmath>
#include <limits>

#include "cpu_test.h"

namespace mla::test {
namespace {

using Rowwise = CpuTest;
MLA_FOR_EVERY_ISA(Rowwise);

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST_P(Rowwise, NormsOfEveryWidth) {
  for (int64_t n = 1; n <= 257; ++n) {
    const HostWeight w = HostWeight::random(random_, {n}), b = HostWeight::random(random_, {n});
    Matrix x = Matrix::random(random_, 3, n, 4.0F, n + 1), got(3, n, n + 2), want(3, n);
    cpu_->rms_norm(x.view(), *w.pack(*cpu_), 1e-6F, got.view());
    reference_->rms_norm(x.view(), *w.pack(*reference_), 1e-6F, want.view());
    EXPECT_TRUE(all_close(got.packed(), want.data, {.absolute = 1e-6, .relative_to_range = 2e-6})) << n;
    EXPECT_TRUE(got.gaps_intact());
    const Weight gb = b.pack(*cpu_), rb = b.pack(*reference_);
    cpu_->layer_norm(x.view(), *w.pack(*cpu_), n % 2 == 0 ? gb.get() : nullptr, 1e-5F, got.view());
    reference_->layer_norm(x.view(), *w.pack(*reference_), n % 2 == 0 ? rb.get() : nullptr, 1e-5F,
                           want.view());
    EXPECT_TRUE(all_close(got.packed(), want.data, {.absolute = 1e-5, .relative_to_range = 5e-6})) << n;
  }
}

TEST_P(Rowwise, RmsNormPerHeadInPlace) {
  const HostWeight w = HostWeight::random(random_, {24});
  Matrix x = Matrix::random(random_, 40, 72), want = Matrix::of(40, 72, x.data);
  cpu_->rms_norm(x.view(), *w.pack(*cpu_), 1e-6F, x.view());
  reference_->rms_norm(want.view(), *w.pack(*reference_), 1e-6F, want.view());
  EXPECT_TRUE(all_close(x.data, want.data, kF32Rounding));
}

TEST_P(Rowwise, ActivationsOfEveryWidth) {
  for (int64_t n = 0; n <= 257; n += n < 40 ? 1 : 31) {
    Matrix gate = Matrix::random(random_, 2, n, 5.0F, n + 1), up = Matrix::random(random_, 2, n),
           got(2, n, n + 3), want(2, n);
    cpu_->silu_mul(gate.view(), up.view(), got.view());
    reference_->silu_mul(gate.view(), up.view(), want.view());
    EXPECT_TRUE(all_close(got.packed(), want.data, {.absolute = 1e-6, .relative_to_range = 1e-6})) << n;
    EXPECT_TRUE(got.gaps_intact());
    for (Gelu kind : {Gelu::kTanh, Gelu::kErf}) {
      Matrix a = Matrix::random(random_, 2, n, 2.0F), b = Matrix::of(2, n, a.data);
      cpu_->gelu(a.view(), kind);
      reference_->gelu(b.view(), kind);
      EXPECT_TRUE(all_close(a.data, b.data, {.absolute = 2e-6, .relative_to_range = 1e-6})) << n;
    }
    Matrix x = Matrix::random(random_, 2, n, 1.0F, n + 2), y = Matrix::random(random_, 2, n),
           sum = Matrix::of(2, n, x.packed());
    cpu_->add(x.view(), y.view());
    reference_->add(sum.view(), y.view());
    EXPECT_TRUE(all_equal(x.packed(), sum.data));
    EXPECT_TRUE(x.gaps_intact());
  }
}

TEST_P(Rowwise, ActivationsAtTheEdges) {
  const std::vector<float> edges = {0.0F,    -0.0F, 1e-40F, -1e-40F,       1e4F, -1e4F, 88.0F, -88.0F, 104.0F,
                                    -104.0F, 1e-6F, kInf,   std::nanf(""), 3.0F, -3.0F, 0.5F,  -0.5F};
  const auto n = static_cast<int64_t>(edges.size());
  for (Gelu kind : {Gelu::kTanh, Gelu::kErf}) {
    Matrix got = Matrix::of(1, n, edges), want = Matrix::of(1, n, edges);
    cpu_->gelu(got.view(), kind);
    reference_->gelu(want.view(), kind);
    for (size_t i = 0; i < edges.size(); ++i) {
      if (std::isnan(want.data[i]))
        EXPECT_TRUE(std::isnan(got.data[i])) << edges[i];
      else if (std::isinf(want.data[i]))
        EXPECT_EQ(got.data[i], want.data[i]);
      else
        EXPECT_NEAR(got.data[i], want.data[i], 1e-6 * (1.0 + std::abs(edges[i]))) << edges[i];
    }
  }
  Matrix gate = Matrix::of(1, n, edges), up = Matrix::of(1, n, std::vector<float>(edges.size(), 1.0F)),
         got(1, n), want(1, n);
  cpu_->silu_mul(gate.view(), up.view(), got.view());
  reference_->silu_mul(gate.view(), up.view(), want.view());
  EXPECT_TRUE(all_close(got.data, want.data, {.absolute = 1e-6, .relative_to_range = 1e-7}));
}

TEST_P(Rowwise, RopeOfBothKindsAtAnyPosition) {
  for (RopePairs pairs : {RopePairs::kInterleaved, RopePairs::kHalfSplit}) {
    for (int64_t d_rope : {2, 8, 64}) {
      const RopeTable table = make_rope_table({.d_rope = d_rope, .pairs = pairs, .magnitude = 1.2F}).value();
      const int64_t d_head = d_rope + 5;
      Matrix x = Matrix::random(random_, 6, 3 * d_head, 1.0F, 3 * d_head + 2),
             want = Matrix::of(6, 3 * d_head, x.packed());
      for (const std::vector<int32_t>& positions :
           {std::vector<int32_t>{0, 1, 2, 70, 4095, 131071}, {131070, 0, 5, 6, 7, 8}}) {
        cpu_->rope(x.view(), d_head, 3, table, positions);
        reference_->rope(want.view(), d_head, 3, table, positions);
        EXPECT_TRUE(all_close(x.packed(), want.data, {.absolute = 1e-6, .relative_to_range = 1e-6}));
        EXPECT_TRUE(x.gaps_intact());
      }
    }
  }
}

TEST_P(Rowwise, GatherDownloadAndCopy) {
  Matrix x = Matrix::random(random_, 7, 19, 1.0F, 21), got(3, 19);
  const std::vector<int32_t> rows = {6, 0, 3};
  cpu_->gather_rows(x.view(), rows, got.view());
  for (size_t i = 0; i < 3; ++i)
    EXPECT_TRUE(all_equal({got.view().row(static_cast<int64_t>(i)), 19}, {x.view().row(rows[i]), 19}));
  std::vector<float> host(7 * 19);
  cpu_->download(x.view(), host.data());
  EXPECT_TRUE(all_equal(host, x.packed()));
  auto pages = cpu_->allocate_pages(256);
  ASSERT_TRUE(pages.ok());
  std::byte* memory = pages.value().get();
  memory[3] = std::byte{7};
  cpu_->copy_bytes(memory + 128, memory, 128);
  EXPECT_EQ(memory[131], std::byte{7});
}

TEST_P(Rowwise, ScratchIsAlignedAndReused) {
  const Activation a = cpu_->scratch(3, 5);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data) % 64, 0U);
  EXPECT_EQ(cpu_->scratch(3, 5).data != a.data, true);
  cpu_->release_scratch();
  EXPECT_EQ(cpu_->scratch(3, 5).data, a.data);
}

}  // namespace
}  // namespace mla::test
