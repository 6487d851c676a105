#pragma once

// How the units of cpu/interleaved.h are read into vectors. Included by the products of this instruction set and of AMX.
//
// A format F has
//   Unit, kParts             32 elements are a part
//   kScales                  scales in a part
//   kZeroBits                the code of zero is 2^kZeroBits; -1: the code of zero is 0
//   kOffsets                 offsets in a part: 0, or kScales
//   begin(unit)              what a unit's parts share
//   code<q>(unit, p)         quad q of part p, codes without sign
//   scale(f, unit, p, h), offset(f, unit, p, h)
// and stands for x = scale (code - zero) + offset.

#include <immintrin.h>

#include "cpu/interleaved.h"
#include "cpu/isa/inline.h"
#include "tensor/formats/iq4.h"

namespace mla::cpu::avx512vnni {

MLA_INLINE __m512 halves(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
MLA_INLINE __m128i sixteen(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
MLA_INLINE __m512 bytes_u8(__m128i bytes) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}
MLA_INLINE __m512 bytes_i8(__m128i bytes) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}
MLA_INLINE __m512 minus(__m512 x) {
  return _mm512_xor_ps(x, _mm512_set1_ps(-0.0F));
}

/// Bits `from` and up of every byte, moved to `to`; what the shift of 16 bits brings from the neighbour is to be masked out.
template <int from, int to>
MLA_INLINE __m512i move_bits(__m512i v) {
  if constexpr (from == to) return v;
  return from < to ? _mm512_slli_epi16(v, to - from) : _mm512_srli_epi16(v, from - to);
}
/// low | (high & mask)
MLA_INLINE __m512i merge(__m512i low, __m512i high, char mask) {
  return _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi8(mask), 0xf8);
}

template <int q>
MLA_INLINE __m512i nibbles(const uint8_t (&v)[4][64]) {
  return _mm512_and_si512(move_bits<q / 4 * 4, 0>(_mm512_loadu_si512(v[q % 4])), _mm512_set1_epi8(15));
}
template <int q>
MLA_INLINE __m512i pairs(const uint8_t (&v)[2][64]) {
  return _mm512_and_si512(move_bits<q % 4 * 2, 0>(_mm512_loadu_si512(v[q / 4])), _mm512_set1_epi8(3));
}
template <int q>
MLA_INLINE __m512i merge_pairs(__m512i low, const uint8_t (&v)[2][64]) {
  return merge(low, move_bits<q % 4 * 2, 4>(_mm512_loadu_si512(v[q / 4])), 0x30);
}
template <int q, int to>
MLA_INLINE __m512i merge_bit(__m512i low, const uint8_t (&v)[64]) {
  return merge(low, move_bits<q, to>(_mm512_loadu_si512(v)), 1 << to);
}
/// Codes of the 4-bit code book: its values + 128.
template <int q>
MLA_INLINE __m512i book(const uint8_t (&v)[4][64]) {
  const __m128i values = _mm_xor_si128(sixteen(kIQ4Values), _mm_set1_epi8(-128));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(values), nibbles<q>(v));
}

/// Blocks of 32 with one scale.
template <class UnitType, int zero_bits>
struct Scaled {
  using Unit = UnitType;
  static constexpr int kParts = 1, kScales = 1, kOffsets = 0, kZeroBits = zero_bits;
  __m512 d;
  MLA_INLINE Scaled begin(const Unit& u) { return {halves(u.d)}; }
  MLA_INLINE __m512 scale(const Scaled& f, const Unit&, int, int) { return f.d; }
};
/// ... and an offset.
template <class UnitType>
struct ScaledWithOffset {
  using Unit = UnitType;
  static constexpr int kParts = 1, kScales = 1, kOffsets = 1, kZeroBits = -1;
  __m512 d, m;
  MLA_INLINE ScaledWithOffset begin(const Unit& u) { return {halves(u.d), halves(u.m)}; }
  MLA_INLINE __m512 scale(const ScaledWithOffset& f, const Unit&, int, int) { return f.d; }
  MLA_INLINE __m512 offset(const ScaledWithOffset& f, const Unit&, int, int) { return f.m; }
};
/// Blocks of 256 with a signed scale for each 16 elements.
template <class UnitType, int zero_bits>
struct ScaledParts {
  using Unit = UnitType;
  static constexpr int kParts = 8, kScales = 2, kOffsets = 0, kZeroBits = zero_bits;
  __m512 d;
  MLA_INLINE ScaledParts begin(const Unit& u) { return {halves(u.d)}; }
  MLA_INLINE __m512 scale(const ScaledParts& f, const Unit& u, int p, int h) {
    return _mm512_mul_ps(f.d, bytes_i8(sixteen(u.parts[p].scale[h])));
  }
};
/// Blocks of 256 with a scale and a minimum for each 32 elements.
template <class UnitType>
struct ScaledPartsWithMinimum {
  using Unit = UnitType;
  static constexpr int kParts = 8, kScales = 1, kOffsets = 1, kZeroBits = -1;
  __m512 d, minus_dmin;
  MLA_INLINE ScaledPartsWithMinimum begin(const Unit& u) { return {halves(u.d), minus(halves(u.dmin))}; }
  MLA_INLINE __m512 scale(const ScaledPartsWithMinimum& f, const Unit& u, int p, int) {
    return _mm512_mul_ps(f.d, bytes_u8(sixteen(u.parts[p].scale)));
  }
  MLA_INLINE __m512 offset(const ScaledPartsWithMinimum& f, const Unit& u, int p, int) {
    return _mm512_mul_ps(f.minus_dmin, bytes_u8(sixteen(u.parts[p].min)));
  }
};

struct FormatQ4_0 : Scaled<UnitQ4_0, 3> {
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int) {
    return nibbles<q>(u.nibbles);
  }
};
struct FormatIQ4_NL : Scaled<UnitIQ4_NL, 7> {
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int) {
    return book<q>(u.nibbles);
  }
};
struct FormatQ4_1 : ScaledWithOffset<UnitQ4_1> {
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int) {
    return nibbles<q>(u.nibbles);
  }
};
struct FormatQ5_0 : Scaled<UnitQ5_0, 4> {
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int) {
    return merge_bit<q, 4>(nibbles<q>(u.nibbles), u.bits);
  }
};
struct FormatQ5_1 : ScaledWithOffset<UnitQ5_1> {
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int) {
    return merge_bit<q, 4>(nibbles<q>(u.nibbles), u.bits);
  }
};
struct FormatQ8_0 : Scaled<UnitQ8_0, 7> {
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int) {
    return _mm512_loadu_si512(u.codes[q]);
  }
};
struct FormatQ2_K {
  using Unit = UnitQ2_K;
  static constexpr int kParts = 8, kScales = 2, kOffsets = 2, kZeroBits = -1;
  __m512 d, minus_dmin;
  MLA_INLINE FormatQ2_K begin(const Unit& u) { return {halves(u.d), minus(halves(u.dmin))}; }
  MLA_INLINE __m512 scale(const FormatQ2_K& f, const Unit& u, int p, int h) {
    return _mm512_mul_ps(f.d, bytes_u8(_mm_and_si128(sixteen(u.parts[p].scale_min[h]), _mm_set1_epi8(15))));
  }
  MLA_INLINE __m512 offset(const FormatQ2_K& f, const Unit& u, int p, int h) {
    const __m128i mins = _mm_srli_epi16(sixteen(u.parts[p].scale_min[h]), 4);
    return _mm512_mul_ps(f.minus_dmin, bytes_u8(_mm_and_si128(mins, _mm_set1_epi8(15))));
  }
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int p) {
    return pairs<q>(u.parts[p].pairs);
  }
};
struct FormatQ3_K : ScaledParts<UnitQ3_K, 2> {
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int p) {
    return merge_bit<q, 2>(pairs<q>(u.parts[p].pairs), u.parts[p].bits);
  }
};
struct FormatQ4_K : ScaledPartsWithMinimum<UnitQ4_K> {
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int p) {
    return nibbles<q>(u.parts[p].nibbles);
  }
};
struct FormatQ5_K : ScaledPartsWithMinimum<UnitQ5_K> {
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int p) {
    return merge_bit<q, 4>(nibbles<q>(u.parts[p].nibbles), u.parts[p].bits);
  }
};
struct FormatQ6_K : ScaledParts<UnitQ6_K, 5> {
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int p) {
    return merge_pairs<q>(nibbles<q>(u.parts[p].nibbles), u.parts[p].pairs);
  }
};
struct FormatIQ4_XS {
  using Unit = UnitIQ4_XS;
  static constexpr int kParts = 8, kScales = 1, kOffsets = 0, kZeroBits = 7;
  __m512 d;
  MLA_INLINE FormatIQ4_XS begin(const Unit& u) { return {halves(u.d)}; }
  MLA_INLINE __m512 scale(const FormatIQ4_XS& f, const Unit& u, int p, int) {
    return _mm512_mul_ps(f.d, bytes_i8(sixteen(u.parts[p].scale)));
  }
  template <int q>
  MLA_INLINE __m512i code(const Unit& u, int p) {
    return book<q>(u.parts[p].nibbles);
  }
};

}  // namespace mla::cpu::avx512vnni
