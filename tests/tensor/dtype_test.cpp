#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace mla {
namespace {

TEST(DType, NamesAreUniqueAndRoundTrip) {
  std::set<std::string> names;
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    const std::string name(dtype_info(dtype).name);
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(dtype_from_name(name), dtype) << name;
  }
  EXPECT_EQ(dtype_from_name("Q4"), std::nullopt);
  EXPECT_EQ(dtype_from_name("q4_0"), std::nullopt);
  EXPECT_EQ(dtype_from_name(""), std::nullopt);
}

// Sizes as the GGUF specification and PyTorch give them, written out independently of the block structures.
TEST(DType, SizesAreTheFormats) {
  struct Expected {
    const char* name;
    int block_size, block_bytes;
  };
  for (const Expected& e :
       {Expected{"F32", 1, 4}, {"F16", 1, 2},      {"BF16", 1, 2},     {"F8_E4M3", 1, 1},  {"Q4_0", 32, 18},
        {"Q4_1", 32, 20},      {"Q5_0", 32, 22},   {"Q5_1", 32, 24},   {"Q8_0", 32, 34},   {"Q2_K", 256, 84},
        {"Q3_K", 256, 110},    {"Q4_K", 256, 144}, {"Q5_K", 256, 176}, {"Q6_K", 256, 210}, {"IQ4_NL", 32, 18},
        {"IQ4_XS", 256, 136},  {"I8", 1, 1},       {"I16", 1, 2},      {"I32", 1, 4},      {"I64", 1, 8},
        {"U8", 1, 1},          {"F64", 1, 8}}) {
    const auto dtype = dtype_from_name(e.name);
    ASSERT_TRUE(dtype.has_value()) << e.name;
    EXPECT_EQ(dtype_info(*dtype).block_size, e.block_size) << e.name;
    EXPECT_EQ(dtype_info(*dtype).block_bytes, e.block_bytes) << e.name;
    EXPECT_EQ(dtype_bytes(*dtype, 3 * e.block_size), 3 * e.block_bytes) << e.name;
    EXPECT_EQ(dtype_bytes(*dtype, 0), 0) << e.name;
  }
}

TEST(DType, OnlyDecodableTypesAreWeights) {
  EXPECT_TRUE(is_weight_dtype(DType::kF32));
  EXPECT_TRUE(is_weight_dtype(DType::kF8E4M3));
  EXPECT_TRUE(is_weight_dtype(DType::kIQ4_XS));
  EXPECT_FALSE(is_weight_dtype(DType::kI8));
  EXPECT_FALSE(is_weight_dtype(DType::kF64));
}

}  // namespace
}  // namespace mla
