#pragma once

// Vector primitives without any instruction set beyond the target's baseline: 4 lanes as a plain array. The
// same names as in simd_avx2.h and simd_avx512.h.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/float16.h"
#include "cpu/isa/inline.h"

namespace mla::cpu::MLA_CPU_ISA {

inline constexpr int kLanes = 4;
inline constexpr int kThinBlock = 1;
inline constexpr int kThinRows = 1;
inline constexpr int kTileTokens = 2;
inline constexpr int kTileQueries = 4;

typedef float F32 __attribute__((vector_size(16)));
typedef int32_t I32 __attribute__((vector_size(16)));

template <class Function>
MLA_INLINE F32 each_lane(Function f) {
  return F32{f(0), f(1), f(2), f(3)};
}

MLA_INLINE F32 set1(float x) {
  return F32{x, x, x, x};
}
MLA_INLINE F32 zero() {
  return set1(0.0F);
}
MLA_INLINE F32 load(const float* p) {
  F32 v;
  std::memcpy(&v, p, sizeof(v));  // files align nothing
  return v;
}
MLA_INLINE void store(float* p, F32 v) {
  std::memcpy(p, &v, sizeof(v));
}
/// The first n < kLanes lanes; the others are 0.
MLA_INLINE F32 load_n(const float* p, int64_t n) {
  return F32{n > 0 ? p[0] : 0.0F, n > 1 ? p[1] : 0.0F, n > 2 ? p[2] : 0.0F, 0.0F};
}
MLA_INLINE void store_n(float* p, F32 v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}

MLA_INLINE F32 add(F32 a, F32 b) {
  return a + b;
}
MLA_INLINE F32 sub(F32 a, F32 b) {
  return a - b;
}
MLA_INLINE F32 mul(F32 a, F32 b) {
  return a * b;
}
MLA_INLINE F32 div(F32 a, F32 b) {
  return a / b;
}
/// a * b + c
MLA_INLINE F32 fma(F32 a, F32 b, F32 c) {
  return a * b + c;
}
/// The second argument where either is NaN.
MLA_INLINE F32 min2(F32 a, F32 b) {
  return a < b ? a : b;
}
MLA_INLINE F32 max2(F32 a, F32 b) {
  return a > b ? a : b;
}
/// 1 where a > b, else 0.
MLA_INLINE F32 one_above(F32 a, F32 b) {
  return each_lane([&](int i) { return a[i] > b[i] ? 1.0F : 0.0F; });
}
MLA_INLINE F32 abs(F32 a) {
  return reinterpret_cast<F32>(reinterpret_cast<I32>(a) & 0x7fffffff);
}
/// Magnitude of a, sign of b.
MLA_INLINE F32 copy_sign(F32 a, F32 b) {
  return reinterpret_cast<F32>(reinterpret_cast<I32>(abs(a)) | (reinterpret_cast<I32>(b) & INT32_MIN));
}
/// To the nearest integer, ties to even.
MLA_INLINE F32 round(F32 a) {
  return each_lane([&](int i) { return std::nearbyint(a[i]); });
}
/// 2^n for integral n in [-126, 127].
MLA_INLINE F32 pow2(F32 n) {
  return each_lane([&](int i) {
    const int32_t exponent = n[i] == n[i] ? static_cast<int32_t>(n[i]) + 127 : 0;
    return std::bit_cast<float>(exponent << 23);
  });
}

MLA_INLINE float sum(F32 v) {
  return (v[0] + v[1]) + (v[2] + v[3]);
}
/// The sums of four vectors.
MLA_INLINE void store_sums(float* out, F32 a, F32 b, F32 c, F32 d) {
  out[0] = sum(a);
  out[1] = sum(b);
  out[2] = sum(c);
  out[3] = sum(d);
}
MLA_INLINE float max_lane(F32 v) {
  const float a = v[0] > v[1] ? v[0] : v[1];
  const float b = v[2] > v[3] ? v[2] : v[3];
  return a > b ? a : b;
}

// -- element formats
// --------------------------------------------------------------------------------------------------

MLA_INLINE uint16_t half_at(const void* p, int i) {
  uint16_t h;
  std::memcpy(&h, static_cast<const uint8_t*>(p) + 2 * i, 2);
  return h;
}
MLA_INLINE F32 load_bf16(const void* p) {
  return each_lane([&](int i) { return bf16_to_f32(half_at(p, i)); });
}
MLA_INLINE F32 load_f16(const void* p) {
  return each_lane([&](int i) { return f16_to_f32(half_at(p, i)); });
}
MLA_INLINE F32 load_i8(const void* p) {
  return each_lane([&](int i) { return static_cast<float>(static_cast<const int8_t*>(p)[i]); });
}
/// load_f8() gives values / kF8Unit.
inline constexpr float kF8Unit = 256.0F;
/// FP8 E4M3 is binary16 with 8 less in the exponent once its bits are moved into place; 0x7f and 0xff are
/// NaN.
MLA_INLINE F32 load_f8(const void* p) {
  return each_lane([&](int i) {
    const uint32_t b = static_cast<const uint8_t*>(p)[i];
    if ((b & 0x7fU) == 0x7fU) return std::bit_cast<float>(0x7fc00000U);
    return f16_to_f32(static_cast<uint16_t>(((b & 0x7fU) << 7) | ((b & 0x80U) << 8)));
  });
}
/// Round to nearest even; NaN stays NaN (quieted).
MLA_INLINE void store_bf16(void* p, F32 v) {
  for (int i = 0; i < kLanes; ++i) {
    const uint16_t h = f32_to_bf16(v[i]);
    std::memcpy(static_cast<uint8_t*>(p) + 2 * i, &h, 2);
  }
}
/// Integral values in [-128, 127]; NaN gives 0.
MLA_INLINE void store_i8(void* p, F32 v) {
  for (int i = 0; i < kLanes; ++i) {
    static_cast<int8_t*>(p)[i] = v[i] == v[i] ? static_cast<int8_t>(v[i]) : int8_t{0};
  }
}
/// out[i] = scale * byte i, signed, for the eight bytes of a word.
MLA_INLINE void store_scaled(uint64_t bytes, float scale, float* out) {
  for (int i = 0; i < 8; ++i) out[i] = scale * static_cast<float>(static_cast<int8_t>(bytes >> (8 * i)));
}
MLA_INLINE float f16_at(const uint8_t* p) {
  return f16_to_f32(half_at(p, 0));
}

MLA_INLINE void prefetch(const void* p) {
  __builtin_prefetch(p);
}

// -- 4-bit codes: value = scale * table[code] + offset
// ----------------------------------------------------------------

struct NibbleCode {
  const int8_t* table;
  float scale, offset;
};
MLA_INLINE NibbleCode nibble_code(const int8_t* table, float scale, float offset) {
  return {table, scale, offset};
}
MLA_INLINE NibbleCode nibble_code(const int8_t* table, float scale) {
  return {table, scale, -0.0F};
}
/// 16 packed bytes: low nibbles are 16 consecutive elements, high nibbles 16 others.
struct Nibbles {
  const uint8_t* packed;
};
MLA_INLINE Nibbles load_nibbles(const uint8_t* p) {
  return {p};
}
/// Vector j of the 16 elements in the low (high) nibbles, j < 16 / kLanes.
template <int j>
MLA_INLINE F32 decode_low(Nibbles n, const NibbleCode& code) {
  return each_lane([&](int i) {
    return static_cast<float>(code.table[n.packed[kLanes * j + i] & 15]) * code.scale + code.offset;
  });
}
template <int j>
MLA_INLINE F32 decode_high(Nibbles n, const NibbleCode& code) {
  return each_lane([&](int i) {
    return static_cast<float>(code.table[n.packed[kLanes * j + i] >> 4]) * code.scale + code.offset;
  });
}

// -- 32 bytes
// ---------------------------------------------------------------------------------------------------------

typedef uint8_t Bytes16 __attribute__((vector_size(16)));
struct Bytes32 {
  Bytes16 low, high;
};
MLA_INLINE Bytes32 load_bytes(const void* p) {
  Bytes32 out;
  std::memcpy(&out, p, 32);
  return out;
}
MLA_INLINE Bytes16 set_bytes16(int value) {
  return Bytes16{} + static_cast<uint8_t>(value);
}
MLA_INLINE Bytes32 set_bytes(int value) {
  return {set_bytes16(value), set_bytes16(value)};
}
MLA_INLINE Bytes32 or_bytes(Bytes32 a, Bytes32 b) {
  return {a.low | b.low, a.high | b.high};
}
MLA_INLINE Bytes32 sub_bytes(Bytes32 a, Bytes32 b) {
  return {a.low - b.low, a.high - b.high};
}
/// (a >> shift) & mask in every byte.
MLA_INLINE Bytes32 bits_of(Bytes32 a, int shift, int mask) {
  const Bytes16 m = set_bytes16(mask), s = set_bytes16(shift);
  return {(a.low >> s) & m, (a.high >> s) & m};
}
/// (a << shift) in every byte; no set bit may leave its byte.
MLA_INLINE Bytes32 shift_left(Bytes32 a, int shift) {
  const Bytes16 s = set_bytes16(shift);
  return {a.low << s, a.high << s};
}
/// 16 packed bytes as 32 codes: the low nibbles, then the high nibbles in the upper half.
MLA_INLINE Bytes32 unpack_nibbles(const uint8_t* p) {
  Bytes16 packed;
  std::memcpy(&packed, p, 16);
  return {packed & set_bytes16(15), packed >> set_bytes16(4)};
}
/// 8 packed bytes as 32 codes of two bits: the lowest bits of all bytes, then the next, ...
MLA_INLINE Bytes32 unpack_pairs(const uint8_t* p) {
  Bytes32 out;
  for (int i = 0; i < 16; ++i) {
    out.low[i] = static_cast<uint8_t>((p[i % 8] >> (i / 8 * 2)) & 3);
    out.high[i] = static_cast<uint8_t>((p[i % 8] >> (4 + i / 8 * 2)) & 3);
  }
  return out;
}
/// `value` in every byte whose bit is set.
MLA_INLINE Bytes32 spread_bits(uint32_t bits, int value) {
  Bytes32 out;
  for (int i = 0; i < 16; ++i) {
    out.low[i] = static_cast<uint8_t>(((bits >> i) & 1U) * static_cast<uint32_t>(value));
    out.high[i] = static_cast<uint8_t>(((bits >> (16 + i)) & 1U) * static_cast<uint32_t>(value));
  }
  return out;
}
/// Vector j of 32 signed bytes.
template <int j>
MLA_INLINE F32 to_f32(Bytes32 b) {
  const Bytes16 half = j < 4 ? b.low : b.high;
  return each_lane(
      [&](int i) { return static_cast<float>(static_cast<int8_t>(half[kLanes * (j % 4) + i])); });
}

}  // namespace mla::cpu::MLA_CPU_ISA
