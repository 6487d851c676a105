#pragma once

#include <bit>
#include <cstdint>

namespace mla {

/// FP8 E4M3 (OCP "fn" variant: sign, 4 exponent bits with bias 7, 3 mantissa bits; no infinities, 0x7f and
/// 0xff are NaN, largest value 448) -> f32: exact, subnormals included.
inline float f8_e4m3_to_f32(uint8_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80U) << 24;
  const uint32_t magnitude = bits & 0x7fU;
  if (magnitude == 0x7f) return std::bit_cast<float>(sign | 0x7ff00000U);
  if (magnitude >= 0x08) return std::bit_cast<float>(sign | ((magnitude << 20) + (120U << 23)));
  const float subnormal = static_cast<float>(magnitude) * 0x1p-9F;
  return sign ? -subnormal : subnormal;
}

}  // namespace mla
