#include "cpu/interleave_rows16.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "base/cpu_features.h"
#include "cpu/backend.h"
#include "cpu/interleaved.h"
#include "cpu/weight.h"
#include "tensor/dtype.h"

namespace mla {
namespace {
using cpu::WeightMatrix;

/// Types with the fast form, and one without.
constexpr DType kTypes[] = {DType::kQ4_0, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K, DType::kQ5_0};

/// A matrix of any bytes at an odd multiple of two, as a file's blocks may lie.
class InterleaveRows16 : public testing::TestWithParam<DType> {
 protected:
  TensorView random_bytes(std::vector<int64_t> shape, std::vector<uint8_t>& storage) {
    TensorView view{.name = "w", .dtype = GetParam(), .shape = std::move(shape)};
    storage.resize(static_cast<size_t>(view.n_bytes()) + 2);
    for (uint8_t& byte : storage) byte = static_cast<uint8_t>(random_());
    view.data = reinterpret_cast<const std::byte*>(storage.data() + 2);
    return view;
  }

  /// What the plain form makes of a matrix.
  std::vector<uint8_t> plainly(const WeightMatrix& matrix) {
    const int64_t group_bytes = cpu::kGroupRows * cpu::interleaved_row_bytes(matrix.dtype, matrix.n_in);
    std::vector<uint8_t> out(static_cast<size_t>((matrix.n_out + 15) / 16 * group_bytes), 0xee);
    for (int64_t row = 0; row < matrix.n_out; row += cpu::kGroupRows) {
      cpu::interleave_group_plainly(matrix, row, out.data() + row / cpu::kGroupRows * group_bytes);
    }
    return out;
  }

  std::minstd_rand random_{7};
};

TEST_P(InterleaveRows16, SixteenRowsAtOnceAreTheSameAsRowByRow) {
  const bool has_fast_form = GetParam() != DType::kQ5_0;
  std::vector<uint8_t> storage;
  for (const int64_t n_in : {256, 512, 1280}) {
    const TensorView view = random_bytes({32, n_in}, storage);
    const WeightMatrix matrix = cpu::CpuWeight(std::span(&view, 1)).matrix();
    const std::vector<uint8_t> want = plainly(matrix);
    std::vector<uint8_t> got(want.size(), 0x11);
    ASSERT_EQ(cpu::interleave_rows16(matrix, 0, got.data()), has_fast_form);
    if (!has_fast_form) {
      EXPECT_EQ(got, std::vector<uint8_t>(want.size(), 0x11)) << "nothing is written";
      continue;
    }
    ASSERT_TRUE(cpu::interleave_rows16(matrix, 16, got.data() + got.size() / 2));
    EXPECT_EQ(got, want) << n_in;
  }
}

/// As in a mapped file whose last tensor ends with its last page.
TEST_P(InterleaveRows16, ReadsNothingBehindTheLastRow) {
  std::vector<uint8_t> storage;
  const TensorView view = random_bytes({16, 512}, storage);
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), bytes = static_cast<size_t>(view.n_bytes());
  const size_t readable = (bytes + page - 1) / page * page;
  void* memory = mmap(nullptr, readable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* end = static_cast<std::byte*>(memory) + readable;
  ASSERT_EQ(mprotect(end, page, PROT_NONE), 0);
  std::copy_n(view.data, bytes, end - bytes);
  TensorView at_the_end = view;
  at_the_end.data = end - bytes;
  const WeightMatrix matrix = cpu::CpuWeight(std::span(&at_the_end, 1)).matrix();
  const std::vector<uint8_t> want = plainly(matrix);
  std::vector<uint8_t> got(want.size());
  cpu::interleave_group(matrix, 0, got.data());
  EXPECT_EQ(got, want);
  munmap(memory, readable + page);
}

/// Whole groups, odd numbers of rows, stacks in one piece and in many: a loaded weight is what the plain form makes,
/// whichever thread packs which part (the last is large enough for pieces of a huge page).
TEST_P(InterleaveRows16, LoadedWeightsAreTheSameWhicheverWayTheyArePacked) {
  const std::vector<Isa> isas = available_isas();
  if (cpu::kernels_for(isas.back()).interleaved_product[static_cast<size_t>(GetParam())] == nullptr) {
    GTEST_SKIP() << "no kernels for interleaved matrices on this machine";
  }
  cpu::CpuBackend backend(cpu::kernels_for(isas.back()), "test", "test", 3);
  std::vector<uint8_t> storage;
  for (const std::vector<int64_t>& shape :
       std::vector<std::vector<int64_t>>{{16, 256}, {1, 256}, {15, 512}, {17, 256}, {3, 37, 512}, {65, 31, 768}, {9, 3333, 1024}}) {
    const TensorView view = random_bytes(shape, storage);
    const cpu::CpuWeight in_place(std::span(&view, 1));
    const Weight weight = backend.pack(view).value();
    const auto& interleaved = cpu::packed(*weight);
    int64_t bytes = 0;
    for (int64_t s = 0; s < in_place.n_stack; ++s) {
      const std::vector<uint8_t> want = plainly(in_place.matrix(s));
      ASSERT_TRUE(interleaved.matrix(s).interleaved);
      ASSERT_TRUE(std::equal(want.begin(), want.end(), interleaved.matrix(s).data)) << shape_string(shape) << " matrix " << s;
      bytes += static_cast<int64_t>(want.size());
    }
    EXPECT_EQ(interleaved.owned_bytes, bytes);
    EXPECT_EQ(backend.packed_bytes(view), bytes) << "as it was announced before";
  }
}

INSTANTIATE_TEST_SUITE_P(Types, InterleaveRows16, testing::ValuesIn(kTypes),
                         [](const auto& type) { return std::string(dtype_info(type.param).name); });

}  // namespace
}  // namespace mla
