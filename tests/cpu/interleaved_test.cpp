#include "cpu/interleaved.h"

#include <cmath>

#include "cpu_test.h"

namespace mla::test {
namespace {

/// Types with an interleaved layout, whatever this machine can multiply.
std::vector<DType> interleaved_dtypes() {
  std::vector<DType> types;
  for (DType dtype : weight_dtypes()) {
    if (cpu::interleaved_row_bytes(dtype, 256) > 0) types.push_back(dtype);
  }
  return types;
}

/// The matrix `w`, [n_out, n_in], in groups of 16 rows; `bytes` holds them.
cpu::WeightMatrix interleave(const HostWeight& w, std::vector<uint8_t>& bytes) {
  cpu::WeightMatrix m;
  m.data = reinterpret_cast<const uint8_t*>(w.view.data);
  m.row_bytes = w.view.row_bytes();
  m.n_out = w.view.n_rows();
  m.n_in = w.view.n_in();
  m.dtype = w.view.dtype;
  const int64_t row_bytes = cpu::interleaved_row_bytes(m.dtype, m.n_in), group_bytes = cpu::kGroupRows * row_bytes;
  const int64_t n_groups = (m.n_out + cpu::kGroupRows - 1) / cpu::kGroupRows;
  bytes.assign(static_cast<size_t>(n_groups * group_bytes), 0xa5);
  for (int64_t g = 0; g < n_groups; ++g) cpu::interleave_group(m, g * cpu::kGroupRows, bytes.data() + g * group_bytes);
  m.data = bytes.data();
  m.row_bytes = row_bytes;
  m.interleaved = true;
  return m;
}

void expect_exact(const HostWeight& w) {
  SCOPED_TRACE(std::string(dtype_info(w.view.dtype).name) + " rows " + std::to_string(w.view.n_rows()));
  std::vector<uint8_t> bytes;
  const cpu::WeightMatrix m = interleave(w, bytes);
  std::vector<float> got(static_cast<size_t>(m.n_in)), want(got);
  for (int64_t row = 0; row < m.n_out; ++row) {
    cpu::decode_interleaved_row(m, row, got.data());
    dequantize_row(w.view, row, want.data());
    ASSERT_TRUE(all_equal(got, want)) << "row " << row;
  }
}

void set_factors(HostWeight& w, uint16_t bits) {
  const auto block = static_cast<size_t>(dtype_info(w.view.dtype).block_bytes);
  for (size_t at = 0; at < w.bytes.size(); at += block) {
    for (int offset : factor_offsets(w.view.dtype))
      std::memcpy(w.bytes.data() + at + static_cast<size_t>(offset), &bits, 2);
  }
}

TEST(Interleaved, EveryBlockFormatHasALayoutOfItsSize) {
  for (DType dtype : weight_dtypes()) {
    const bool block_format = dtype_info(dtype).block_size > 1;
    EXPECT_EQ(cpu::interleaved_row_bytes(dtype, 256) > 0, block_format) << dtype_info(dtype).name;
    if (!block_format) continue;
    EXPECT_GE(cpu::interleaved_row_bytes(dtype, 1024), dtype_bytes(dtype, 1024)) << dtype_info(dtype).name;
    EXPECT_LE(100 * cpu::interleaved_row_bytes(dtype, 1024), 104 * dtype_bytes(dtype, 1024)) << dtype_info(dtype).name;
  }
}

TEST(Interleaved, RowsDecodeExactlyAsTheFileFormatDoes) {
  Random random(7);
  for (DType dtype : interleaved_dtypes()) {
    for (int64_t n_out : {1, 15, 16, 17, 48}) expect_exact(random_weight(random, {n_out, 512}, dtype));
  }
}

TEST(Interleaved, FactorsOfAnyKindDecodeExactly) {
  Random random(8);
  // 0, subnormal, largest, infinite, NaN
  const uint16_t factors[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x7bff, 0x7c00, 0xfc00, 0x7e00};
  for (DType dtype : interleaved_dtypes()) {
    for (uint16_t bits : factors) {
      SCOPED_TRACE(bits);
      HostWeight w = random_weight(random, {19, 256}, dtype);
      set_factors(w, bits);
      expect_exact(w);
    }
  }
}

TEST(Interleaved, RowsThatFillUpAGroupAreZero) {
  Random random(9);
  for (DType dtype : interleaved_dtypes()) {
    std::vector<uint8_t> bytes;
    const cpu::WeightMatrix m = interleave(random_weight(random, {3, 256}, dtype), bytes);
    std::vector<float> row(256);
    for (int64_t i = 3; i < cpu::kGroupRows; ++i) {
      cpu::decode_interleaved_row(m, i, row.data());
      for (float x : row) EXPECT_EQ(x, 0.0F) << dtype_info(dtype).name;
    }
  }
}

using InterleavedProducts = CpuTest;
MLA_FOR_EVERY_ISA(InterleavedProducts);

TEST_P(InterleavedProducts, HostileFactorsStayInTheirRows) {
  constexpr int64_t kRow = 5, kOut = 21, kIn = 256;
  for (DType dtype : interleaved_dtypes()) {
    for (uint16_t bits : {0x7c00, 0xfc00, 0x7e00, 0x0000}) {  // infinite, NaN, 0
      for (int64_t n_tokens : {1, 13}) {
        SCOPED_TRACE(std::string(dtype_info(dtype).name) + " factor " + std::to_string(bits));
        HostWeight w = random_weight(random_, {kOut, kIn}, dtype), hostile = random_weight(random_, {1, kIn}, dtype);
        Matrix x = Matrix::random(random_, n_tokens, kIn), got(n_tokens, kOut), want(n_tokens, kOut);
        cpu_->linear(x.view(), *w.pack(*cpu_), nullptr, want.view());
        set_factors(hostile, bits);
        std::copy(hostile.bytes.begin(), hostile.bytes.end(), w.bytes.begin() + kRow * w.view.row_bytes());
        cpu_->linear(x.view(), *w.pack(*cpu_), nullptr, got.view());
        for (int64_t t = 0; t < n_tokens; ++t) {
          float& y = got.view().row(t)[kRow];
          EXPECT_EQ(std::isfinite(y), bits == 0) << y;
          y = want.view().row(t)[kRow];
        }
        EXPECT_TRUE(all_equal(got.data, want.data));
      }
    }
  }
}

}  // namespace
}  // namespace mla::test
