#include "base/float16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace mla {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The value of a 16-bit float from the definition of its fields.
float value_of(uint32_t bits, int mantissa_bits, int bias) {
  const int exponent_max = (1 << (15 - mantissa_bits)) - 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits & static_cast<uint32_t>(exponent_max));
  const auto mantissa = static_cast<float>(bits & ((1U << mantissa_bits) - 1));
  const float sign = bits & 0x8000U ? -1.0F : 1.0F;
  if (exponent == exponent_max) return mantissa == 0 ? sign * kInfinity : std::nanf("");
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign *
         std::ldexp(mantissa + static_cast<float>(1 << mantissa_bits), exponent - bias - mantissa_bits);
}

TEST(Float16, EveryHalfDecodesByDefinitionAndRoundTrips) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float expected = value_of(bits, 10, 15);
    const float value = f16_to_f32(half);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value)))) << bits;
      continue;
    }
    ASSERT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(expected)) << bits;
    ASSERT_EQ(f32_to_f16(value), half) << bits;
  }
}

TEST(Float16, EveryBf16DecodesByDefinitionAndRoundTrips) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto bf16 = static_cast<uint16_t>(bits);
    const float expected = value_of(bits, 7, 127);
    const float value = bf16_to_f32(bf16);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(value)))) << bits;
      continue;
    }
    ASSERT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(expected)) << bits;
    ASSERT_EQ(f32_to_bf16(value), bf16) << bits;
  }
}

// Between two neighbours: the midpoint goes to the even one, anything else to the nearer one.
TEST(Float16, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {
    const auto low = static_cast<uint16_t>(bits);
    const auto high = static_cast<uint16_t>(bits + 1);
    const float middle = (f16_to_f32(low) + f16_to_f32(high)) / 2;
    ASSERT_EQ(f32_to_f16(middle), bits % 2 == 0 ? low : high) << bits;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0F)), low) << bits;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, kInfinity)), high) << bits;
    ASSERT_EQ(f32_to_f16(-middle), (bits % 2 == 0 ? low : high) | 0x8000) << bits;
  }
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000U)), 0x3f80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808001U)), 0x3f81);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000U)), 0x3f82);
}

TEST(Float16, OverflowsToInfinity) {
  EXPECT_EQ(f32_to_f16(65519.0F), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0F), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30F), 0xfc00);
  EXPECT_EQ(f32_to_f16(kInfinity), 0x7c00);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(f32_to_f16(1e-30F), 0x0000);
  EXPECT_EQ(f32_to_f16(-1e-30F), 0x8000);
}

}  // namespace
}  // namespace mla
