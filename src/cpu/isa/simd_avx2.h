#pragma once

// Vector primitives over AVX2, FMA and F16C: 8 lanes. The same names as in simd_avx512.h and simd_scalar.h;
// only files of src/cpu/isa/avx2 include this. Everything is static: nothing compiled with these flags can be
// shared with other files.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/isa/inline.h"

namespace mla::cpu::MLA_CPU_ISA {

using F32 = __m256;
inline constexpr int kLanes = 8;
inline constexpr int kThinBlock = 4;  // tokens that share the decoding of a weight
inline constexpr int kThinRows = 2;   // weight rows decoded side by side
inline constexpr int kTileTokens =
    2;  // register block of a product: 2 x 4 sums + 4 weights + 1 token = 13 of 16
inline constexpr int kTileQueries = 6;  // register block of probabilities x values: 6 x 2 sums

MLA_INLINE __m256i first_lanes(int64_t n) {
  alignas(32) static constexpr int32_t kMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask + 8 - n));
}

MLA_INLINE F32 zero() {
  return _mm256_setzero_ps();
}
MLA_INLINE F32 set1(float x) {
  return _mm256_set1_ps(x);
}
MLA_INLINE F32 load(const float* p) {
  return _mm256_loadu_ps(p);
}
MLA_INLINE void store(float* p, F32 v) {
  _mm256_storeu_ps(p, v);
}
/// The first n < kLanes lanes; the others are 0.
MLA_INLINE F32 load_n(const float* p, int64_t n) {
  return _mm256_maskload_ps(p, first_lanes(n));
}
MLA_INLINE void store_n(float* p, F32 v, int64_t n) {
  _mm256_maskstore_ps(p, first_lanes(n), v);
}

MLA_INLINE F32 add(F32 a, F32 b) {
  return _mm256_add_ps(a, b);
}
MLA_INLINE F32 sub(F32 a, F32 b) {
  return _mm256_sub_ps(a, b);
}
MLA_INLINE F32 mul(F32 a, F32 b) {
  return _mm256_mul_ps(a, b);
}
MLA_INLINE F32 div(F32 a, F32 b) {
  return _mm256_div_ps(a, b);
}
/// a * b + c
MLA_INLINE F32 fma(F32 a, F32 b, F32 c) {
  return _mm256_fmadd_ps(a, b, c);
}
/// The second argument where either is NaN.
MLA_INLINE F32 min2(F32 a, F32 b) {
  return _mm256_min_ps(a, b);
}
MLA_INLINE F32 max2(F32 a, F32 b) {
  return _mm256_max_ps(a, b);
}
/// 1 where a > b, else 0.
MLA_INLINE F32 one_above(F32 a, F32 b) {
  return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ), _mm256_set1_ps(1.0F));
}
MLA_INLINE F32 abs(F32 a) {
  return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a);
}
/// Magnitude of a, sign of b.
MLA_INLINE F32 copy_sign(F32 a, F32 b) {
  return _mm256_or_ps(abs(a), _mm256_and_ps(_mm256_set1_ps(-0.0F), b));
}
/// To the nearest integer, ties to even.
MLA_INLINE F32 round(F32 a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/// 2^n for integral n in [-126, 127].
MLA_INLINE F32 pow2(F32 n) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

/// The sums of four vectors.
MLA_INLINE void store_sums(float* out, F32 a, F32 b, F32 c, F32 d) {
  const __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
MLA_INLINE float sum(F32 v) {
  const __m256 h = _mm256_hadd_ps(v, v);
  const __m256 s = _mm256_hadd_ps(h, h);
  return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
MLA_INLINE float max_lane(F32 v) {
  const __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 p = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(p, _mm_shuffle_ps(p, p, 1)));
}

// -- element formats
// --------------------------------------------------------------------------------------------------

MLA_INLINE F32 load_bf16(const void* p) {
  const __m128i h = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
MLA_INLINE F32 load_f16(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
MLA_INLINE F32 load_i8(const void* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(p))));
}
/// load_f8() gives values / kF8Unit.
inline constexpr float kF8Unit = 256.0F;
/// FP8 E4M3 is binary16 with 8 less in the exponent once its seven lower bits are moved below the sign. One more in the last
/// of them carries out of 0x7f and 0xff alone, which are NaN: the carry goes to the exponent's highest bit.
MLA_INLINE F32 load_f8(const void* p) {
  const __m128i high = _mm_slli_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(p))), 8);
  const __m128i moved = _mm_srai_epi16(high, 1);  // the sign twice, then the seven bits
  const __m128i carried = _mm_add_epi16(moved, _mm_set1_epi16(0x80));
  return _mm256_cvtph_ps(_mm_xor_si128(moved, _mm_and_si128(carried, _mm_set1_epi16(0x4000))));
}
/// Round to nearest even; NaN stays NaN (quieted). Same bits as f32_to_bf16().
MLA_INLINE void store_bf16(void* p, F32 v) {
  const __m256i u = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  const __m256i bits = _mm256_blendv_epi8(rounded, quiet, nan);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(bits, bits), 0x08);
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
/// Integral values in [-128, 127].
MLA_INLINE void store_i8(void* p, F32 v) {
  const __m256i i = _mm256_cvtps_epi32(v);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
  _mm_storel_epi64(static_cast<__m128i*>(p), _mm_packs_epi16(words, words));
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

struct NibbleCode {
  __m128i table;  // 16 signed bytes
  __m256 scale, offset;
};
MLA_INLINE NibbleCode nibble_code(const int8_t* table, float scale, float offset) {
  return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)), _mm256_set1_ps(scale),
          _mm256_set1_ps(offset)};
}
MLA_INLINE NibbleCode nibble_code(const int8_t* table, float scale) {
  return nibble_code(table, scale, -0.0F);
}
/// 16 packed bytes: low nibbles are 16 consecutive elements, high nibbles 16 others.
struct Nibbles {
  __m128i packed;
};
MLA_INLINE Nibbles load_nibbles(const uint8_t* p) {
  return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))};
}
MLA_INLINE F32 decode_codes(__m128i codes, const NibbleCode& code) {
  const __m128i bytes = _mm_shuffle_epi8(code.table, codes);
  const F32 values = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  return _mm256_add_ps(_mm256_mul_ps(values, code.scale), code.offset);
}
/// Vector j of the 16 elements in the low (high) nibbles, j < 16 / kLanes.
template <int j>
MLA_INLINE F32 decode_low(Nibbles n, const NibbleCode& code) {
  return decode_codes(_mm_and_si128(_mm_srli_si128(n.packed, 8 * j), _mm_set1_epi8(15)), code);
}
template <int j>
MLA_INLINE F32 decode_high(Nibbles n, const NibbleCode& code) {
  return decode_codes(_mm_and_si128(_mm_srli_epi16(_mm_srli_si128(n.packed, 8 * j), 4), _mm_set1_epi8(15)),
                      code);
}

#include "cpu/isa/bytes32_avx.inc"

/// `value` in every byte whose bit is set.
MLA_INLINE Bytes32 spread_bits(uint32_t bits, int value) {
  const __m256i which_byte =
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i which_bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201ULL));
  const __m256i spread = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), which_byte);
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, which_bit), which_bit);
  return _mm256_and_si256(set, set_bytes(value));
}
/// Vector j of 32 signed bytes.
template <int j>
MLA_INLINE F32 to_f32(Bytes32 b) {
  const __m128i half = _mm256_extracti128_si256(b, j / 2);
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(half, 8 * (j % 2))));
}

}  // namespace mla::cpu::MLA_CPU_ISA
