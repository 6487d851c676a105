#pragma once

// Arranging bf16 matrices for the instructions that multiply them (BlockProduct in cpu/kernels.h says how they lie). AVX-512
// F, BW and BF16; static for the reason given in simd_avx512.h, which this includes.

#include MLA_CPU_SIMD

#include "cpu/kernels.h"

namespace mla::cpu::MLA_CPU_ISA {

/// The first n (at most 32) of 32 16-bit lanes.
MLA_INLINE __mmask32 first_halves(int64_t n) {
  return n >= 32 ? ~__mmask32{0} : static_cast<__mmask32>((uint32_t{1} << n) - 1U);
}
MLA_INLINE __mmask16 first_floats(int64_t n) {
  return n >= 16 ? static_cast<__mmask16>(0xffff) : n <= 0 ? __mmask16{0} : first_lanes(n);
}

/// 32 consecutive numbers as bf16, the first n of them; zeros follow.
MLA_INLINE __m512i bf16_of(const float* p, int64_t n) {
  const __m512 low = _mm512_maskz_loadu_ps(first_floats(n), p), high = _mm512_maskz_loadu_ps(first_floats(n - 16), p + 16);
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
}

/// 16 rows of 16 32-bit elements become columns.
MLA_INLINE void transpose(__m512i (&r)[16]) {
  __m512i t[16];
  each<8>([&]<int i>() MLA_INLINE_LAMBDA {  // pairs of rows, 32 bits
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  });
  each<4>([&]<int i>() MLA_INLINE_LAMBDA {  // fours of rows, 64 bits: r[4 i + c] holds column c of each 128-bit lane
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  });
  each<4>([&]<int c>() MLA_INLINE_LAMBDA {  // the 4 x 4 lanes
    const __m512i a = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88), b = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
    const __m512i d = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88), e = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
    t[c] = _mm512_shuffle_i32x4(a, d, 0x88);
    t[8 + c] = _mm512_shuffle_i32x4(a, d, 0xdd);
    t[4 + c] = _mm512_shuffle_i32x4(b, e, 0x88);
    t[12 + c] = _mm512_shuffle_i32x4(b, e, 0xdd);
  });
  each<16>([&]<int i>() MLA_INLINE_LAMBDA { r[i] = t[i]; });
}

/// n <= 16 rows of `depth` numbers become a block of columns, [pad_depth(depth) / 2][16][2]; absent ones are zero.
MLA_INLINE void pack_block(const float* const* rows, int64_t n, int64_t depth, uint16_t* out) {
  for (int64_t k = 0; k < depth; k += kDepthStep, out += kDepthStep * kBlockColumns) {
    __m512i r[16];
    each<16>([&]<int i>() MLA_INLINE_LAMBDA { r[i] = i < n ? bf16_of(rows[i] + k, depth - k) : _mm512_setzero_si512(); });
    transpose(r);
    each<16>([&]<int i>() MLA_INLINE_LAMBDA { _mm512_storeu_si512(out + i * 2 * kBlockColumns, r[i]); });
  }
}

/// 32 elements of two rows side by side: the first 16 pairs, and the others.
MLA_INLINE __m512i low_pairs(__m512i a, __m512i b) {
  const __m512i index = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4,
                                         35, 3, 34, 2, 33, 1, 32, 0);
  return _mm512_permutex2var_epi16(a, index, b);
}
MLA_INLINE __m512i high_pairs(__m512i a, __m512i b) {
  const __m512i index = _mm512_set_epi16(63, 31, 62, 30, 61, 29, 60, 28, 59, 27, 58, 26, 57, 25, 56, 24, 55, 23, 54, 22, 53, 21,
                                         52, 20, 51, 19, 50, 18, 49, 17, 48, 16);
  return _mm512_permutex2var_epi16(a, index, b);
}

}  // namespace mla::cpu::MLA_CPU_ISA
