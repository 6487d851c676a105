#pragma once

// Vector primitives over AVX-512 F, BW, DQ, VL: 16 lanes. The same names as in simd_avx2.h and simd_scalar.h;
// only files of src/cpu/isa/avx512 include this. Everything is static: nothing compiled with these flags can
// be shared with other files.

// GCC 12 takes the deliberately undefined operands inside its own intrinsics for mistakes (GCC bug 105593).
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/isa/inline.h"

namespace mla::cpu::MLA_CPU_ISA {

using F32 = __m512;
inline constexpr int kLanes = 16;
inline constexpr int kThinBlock = 4;  // tokens that share the decoding of a weight
inline constexpr int kThinRows = 2;   // weight rows decoded side by side
inline constexpr int kTileTokens =
    6;  // register block of a product: 6 x 4 sums + 4 weights + 1 token = 29 of 32
inline constexpr int kTileQueries = 12;  // register block of probabilities x values: 12 x 2 sums

MLA_INLINE __mmask16 first_lanes(int64_t n) {
  return static_cast<__mmask16>((1U << n) - 1U);
}

MLA_INLINE F32 zero() {
  return _mm512_setzero_ps();
}
MLA_INLINE F32 set1(float x) {
  return _mm512_set1_ps(x);
}
MLA_INLINE F32 load(const float* p) {
  return _mm512_loadu_ps(p);
}
MLA_INLINE void store(float* p, F32 v) {
  _mm512_storeu_ps(p, v);
}
/// The first n < kLanes lanes; the others are 0.
MLA_INLINE F32 load_n(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
MLA_INLINE void store_n(float* p, F32 v, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), v);
}

MLA_INLINE F32 add(F32 a, F32 b) {
  return _mm512_add_ps(a, b);
}
MLA_INLINE F32 sub(F32 a, F32 b) {
  return _mm512_sub_ps(a, b);
}
MLA_INLINE F32 mul(F32 a, F32 b) {
  return _mm512_mul_ps(a, b);
}
MLA_INLINE F32 div(F32 a, F32 b) {
  return _mm512_div_ps(a, b);
}
/// a * b + c
MLA_INLINE F32 fma(F32 a, F32 b, F32 c) {
  return _mm512_fmadd_ps(a, b, c);
}
/// The second argument where either is NaN.
MLA_INLINE F32 min2(F32 a, F32 b) {
  return _mm512_min_ps(a, b);
}
MLA_INLINE F32 max2(F32 a, F32 b) {
  return _mm512_max_ps(a, b);
}
/// 1 where a > b, else 0.
MLA_INLINE F32 one_above(F32 a, F32 b) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), _mm512_set1_ps(1.0F));
}
MLA_INLINE F32 abs(F32 a) {
  return _mm512_abs_ps(a);
}
/// Magnitude of a, sign of b.
MLA_INLINE F32 copy_sign(F32 a, F32 b) {
  const __m512i sign = _mm512_set1_epi32(static_cast<int>(0x80000000U));
  return _mm512_castsi512_ps(
      _mm512_ternarylogic_epi32(sign, _mm512_castps_si512(b), _mm512_castps_si512(a), 0xca));
}
/// To the nearest integer, ties to even.
MLA_INLINE F32 round(F32 a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/// 2^n for integral n in [-126, 127].
MLA_INLINE F32 pow2(F32 n) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}

/// Halves 16 lanes to 8, 8 to 4, ...: the order in which every reduction adds.
MLA_INLINE __m256 fold(F32 v) {
  return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}
/// The sums of four vectors.
MLA_INLINE void store_sums(float* out, F32 a, F32 b, F32 c, F32 d) {
  const __m256 ab = _mm256_hadd_ps(fold(a), fold(b));
  const __m256 cd = _mm256_hadd_ps(fold(c), fold(d));
  const __m256 s = _mm256_hadd_ps(ab, cd);
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
MLA_INLINE float sum(F32 v) {
  const __m256 f = fold(v);
  const __m256 h = _mm256_hadd_ps(f, f);
  const __m256 s = _mm256_hadd_ps(h, h);
  return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
MLA_INLINE float max_lane(F32 v) {
  return _mm512_reduce_max_ps(v);
}

// -- element formats
// --------------------------------------------------------------------------------------------------

MLA_INLINE F32 load_bf16(const void* p) {
  const __m256i h = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
MLA_INLINE F32 load_f16(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
MLA_INLINE F32 load_i8(const void* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
}
/// load_f8() gives values / kF8Unit.
inline constexpr float kF8Unit = 256.0F;
/// FP8 E4M3 is binary16 with 8 less in the exponent once its seven lower bits are moved below the sign. One more in the last
/// of them carries out of 0x7f and 0xff alone, which are NaN: the carry goes to the exponent's highest bit.
MLA_INLINE F32 load_f8(const void* p) {
  const __m256i high = _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p))), 8);
  const __m256i moved = _mm256_srai_epi16(high, 1);  // the sign twice, then the seven bits
  const __m256i carried = _mm256_add_epi16(moved, _mm256_set1_epi16(0x80));
  // moved ^ (carried & 0x4000)
  return _mm512_cvtph_ps(_mm256_ternarylogic_epi32(moved, carried, _mm256_set1_epi16(0x4000), 0x78));
}
/// Round to nearest even; NaN stays NaN (quieted). Same bits as f32_to_bf16().
MLA_INLINE void store_bf16(void* p, F32 v) {
  const __m512i u = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  const __m512i bits = _mm512_mask_mov_epi32(rounded, nan, quiet);
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(bits));
}
/// Integral values in [-128, 127].
MLA_INLINE void store_i8(void* p, F32 v) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v)));
}
/// out[i] = scale * byte i, signed, for the eight bytes of a word.
MLA_INLINE void store_scaled(uint64_t bytes, float scale, float* out) {
  const __m256i values = _mm256_cvtepi8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(bytes)));
  _mm256_store_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(values), _mm256_set1_ps(scale)));
}
MLA_INLINE float f16_at(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  return _cvtsh_ss(h);
}

MLA_INLINE void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}

// -- 4-bit codes: value = scale * table[code] + offset
// ----------------------------------------------------------------

/// The 16 values of a code, in one register: a permutation by the code bits decodes 16 elements.
using NibbleCode = __m512;
MLA_INLINE NibbleCode nibble_code(const int8_t* table, float scale) {
  return _mm512_mul_ps(load_i8(table), _mm512_set1_ps(scale));
}
MLA_INLINE NibbleCode nibble_code(const int8_t* table, float scale, float offset) {
  return _mm512_add_ps(nibble_code(table, scale), _mm512_set1_ps(offset));
}
/// 16 packed bytes: low nibbles are 16 consecutive elements, high nibbles 16 others.
struct Nibbles {
  __m512i codes;
};
MLA_INLINE Nibbles load_nibbles(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
/// Vector j of the 16 elements in the low (high) nibbles, j < 16 / kLanes.
template <int j>
MLA_INLINE F32 decode_low(Nibbles n, NibbleCode code) {
  static_assert(j == 0);
  return _mm512_permutexvar_ps(n.codes, code);  // looks at the low 4 bits only
}
template <int j>
MLA_INLINE F32 decode_high(Nibbles n, NibbleCode code) {
  static_assert(j == 0);
  return _mm512_permutexvar_ps(_mm512_srli_epi32(n.codes, 4), code);
}

#include "cpu/isa/bytes32_avx.inc"

/// `value` in every byte whose bit is set.
MLA_INLINE Bytes32 spread_bits(uint32_t bits, int value) {
  return _mm256_maskz_set1_epi8(bits, static_cast<char>(value));
}
/// Vector j of 32 signed bytes.
template <int j>
MLA_INLINE F32 to_f32(Bytes32 b) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(b, j)));
}

}  // namespace mla::cpu::MLA_CPU_ISA
