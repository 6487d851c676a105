#include "io/gguf_types.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mla {
namespace {
using testing::HasSubstr;

TEST(GgufTypes, NumbersRoundTrip) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    const auto number = ggml_from_dtype(dtype);
    if (dtype == DType::kF8E4M3 || dtype == DType::kU8) {
      EXPECT_FALSE(number.has_value());
      continue;
    }
    ASSERT_TRUE(number.has_value()) << dtype_info(dtype).name;
    EXPECT_EQ(dtype_from_ggml(*number).value(), dtype);
  }
}

// Numbers as ggml's enumeration has them.
TEST(GgufTypes, NumbersAreGgmls) {
  EXPECT_EQ(dtype_from_ggml(0).value(), DType::kF32);
  EXPECT_EQ(dtype_from_ggml(8).value(), DType::kQ8_0);
  EXPECT_EQ(dtype_from_ggml(14).value(), DType::kQ6_K);
  EXPECT_EQ(dtype_from_ggml(20).value(), DType::kIQ4_NL);
  EXPECT_EQ(dtype_from_ggml(23).value(), DType::kIQ4_XS);
  EXPECT_EQ(dtype_from_ggml(30).value(), DType::kBF16);
}

TEST(GgufTypes, EveryOtherNumberIsAnErrorThatNamesTheSupportedTypes) {
  for (uint32_t id = 0; id < 300; ++id) {
    const auto dtype = dtype_from_ggml(id);
    if (dtype.ok()) continue;
    EXPECT_THAT(dtype.error().message, HasSubstr(std::to_string(id)));
    EXPECT_THAT(dtype.error().message, HasSubstr("Q4_K, Q5_K, Q6_K"));
  }
}

}  // namespace
}  // namespace mla
