#include "tensor/formats/q32.h"

#include <algorithm>
#include <cmath>

#include "base/float16.h"

namespace mla {
namespace {

constexpr int kHalf = 16;

/// Fifth bits of elements j and 16 + j, moved to bit 4.
struct HighBits {
  explicit HighBits(const uint8_t (&qh)[4])
      : bits(static_cast<uint32_t>(qh[0]) | static_cast<uint32_t>(qh[1]) << 8 |
             static_cast<uint32_t>(qh[2]) << 16 | static_cast<uint32_t>(qh[3]) << 24) {}
  int of(int element) const { return static_cast<int>(bits >> element & 1U) << 4; }
  uint32_t bits;
};

/// Clamps a value that is about to become an integer; NaN becomes `low`.
float clamp_code(float value, float low, float high) {
  return value > low ? std::min(value, high) : low;
}

}  // namespace

void decode_block(const BlockQ4_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int j = 0; j < kHalf; ++j) {
    out[j] = d * static_cast<float>((block.qs[j] & 0xF) - 8);
    out[j + kHalf] = d * static_cast<float>((block.qs[j] >> 4) - 8);
  }
}

void decode_block(const BlockQ4_1& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  for (int j = 0; j < kHalf; ++j) {
    out[j] = d * static_cast<float>(block.qs[j] & 0xF) + m;
    out[j + kHalf] = d * static_cast<float>(block.qs[j] >> 4) + m;
  }
}

void decode_block(const BlockQ5_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  const HighBits high(block.qh);
  for (int j = 0; j < kHalf; ++j) {
    out[j] = d * static_cast<float>(((block.qs[j] & 0xF) | high.of(j)) - 16);
    out[j + kHalf] = d * static_cast<float>(((block.qs[j] >> 4) | high.of(j + kHalf)) - 16);
  }
}

void decode_block(const BlockQ5_1& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float m = f16_to_f32(block.m);
  const HighBits high(block.qh);
  for (int j = 0; j < kHalf; ++j) {
    out[j] = d * static_cast<float>((block.qs[j] & 0xF) | high.of(j)) + m;
    out[j + kHalf] = d * static_cast<float>((block.qs[j] >> 4) | high.of(j + kHalf)) + m;
  }
}

void decode_block(const BlockQ8_0& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int j = 0; j < BlockQ8_0::kSize; ++j) out[j] = static_cast<float>(block.qs[j]) * d;
}

void encode_block(const float* values, BlockQ4_0& block) {
  float largest = 0.0F;  // with its sign
  for (int j = 0; j < BlockQ4_0::kSize; ++j) {
    if (std::fabs(values[j]) > std::fabs(largest)) largest = values[j];
  }
  const float d = largest / -8.0F;
  const float inverse = d == 0.0F ? 0.0F : 1.0F / d;
  const auto code = [&](int j) {
    return static_cast<uint8_t>(clamp_code(values[j] * inverse + 8.5F, 0.0F, 15.0F));
  };
  block.d = f32_to_f16(d);
  for (int j = 0; j < kHalf; ++j) block.qs[j] = static_cast<uint8_t>(code(j) | code(j + kHalf) << 4);
}

void encode_block(const float* values, BlockQ8_0& block) {
  float largest = 0.0F;
  for (int j = 0; j < BlockQ8_0::kSize; ++j) largest = std::max(largest, std::fabs(values[j]));
  const float d = largest / 127.0F;
  const float inverse = d == 0.0F ? 0.0F : 1.0F / d;
  block.d = f32_to_f16(d);
  for (int j = 0; j < BlockQ8_0::kSize; ++j) {
    block.qs[j] = static_cast<int8_t>(clamp_code(std::round(values[j] * inverse), -127.0F, 127.0F));
  }
}

}  // namespace mla
