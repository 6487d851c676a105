// Sixteen rows' blocks become one unit by 4 x 4 transpositions of quads: about 80 instructions for a unit of Q4_0 (288
// bytes), against 16 x 5 loads and stores of four bytes and a copy in the plain form.

#include "cpu/interleave_rows16.h"

#include <emmintrin.h>

#include <cstddef>
#include <cstring>

#include "cpu/interleaved.h"
#include "tensor/formats/k_quants.h"
#include "tensor/formats/q32.h"

namespace mla::cpu {
namespace {

constexpr int kRows = static_cast<int>(kGroupRows);

__m128i load(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
void store(void* p, __m128i v) {
  _mm_storeu_si128(static_cast<__m128i*>(p), v);
}

/// Two bits or four of every byte, from bit `shift` on.
template <int kBits>
__m128i bits_from(__m128i v, int shift) {
  return _mm_and_si128(_mm_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm_set1_epi8((1 << kBits) - 1));
}

/// Two codes in each byte, `low` in its low half.
__m128i pack_nibbles(__m128i low, __m128i high) {
  return _mm_or_si128(low, _mm_slli_epi16(high, 4));
}

/// quads(r): quads 0 ... 3 of row r. Vector j of `codes` becomes quad j of every row.
template <class Quads>
void put_quads(const Quads& quads, uint8_t (*codes)[64]) {
  for (int r = 0; r < kRows; r += 4) {
    const __m128i a = quads(r), b = quads(r + 1), c = quads(r + 2), d = quads(r + 3);
    const __m128i ab01 = _mm_unpacklo_epi32(a, b), ab23 = _mm_unpackhi_epi32(a, b);
    const __m128i cd01 = _mm_unpacklo_epi32(c, d), cd23 = _mm_unpackhi_epi32(c, d);
    store(codes[0] + 4 * r, _mm_unpacklo_epi64(ab01, cd01));
    store(codes[1] + 4 * r, _mm_unpackhi_epi64(ab01, cd01));
    store(codes[2] + 4 * r, _mm_unpacklo_epi64(ab23, cd23));
    store(codes[3] + 4 * r, _mm_unpackhi_epi64(ab23, cd23));
  }
}

/// Blocks of the same elements of 16 consecutive rows, which lie anywhere.
template <class Block>
struct Blocks {
  const uint8_t* first;  ///< of row 0
  int64_t row_bytes;
  const uint8_t* at(int r, size_t offset) const { return first + r * row_bytes + offset; }
  uint16_t half(int r, size_t offset) const {
    uint16_t value;
    std::memcpy(&value, at(r, offset), sizeof(value));
    return value;
  }
};

void put(const Blocks<BlockQ4_0>& blocks, UnitQ4_0& u) {
  for (int r = 0; r < kRows; ++r) u.d[r] = blocks.half(r, offsetof(BlockQ4_0, d));
  put_quads([&](int r) { return load(blocks.at(r, offsetof(BlockQ4_0, qs))); }, u.nibbles);
}

void put(const Blocks<BlockQ8_0>& blocks, UnitQ8_0& u) {
  const __m128i zero_point = _mm_set1_epi8(static_cast<char>(0x80));
  for (int r = 0; r < kRows; ++r) u.d[r] = blocks.half(r, offsetof(BlockQ8_0, d));
  for (int half = 0; half < 2; ++half) {
    const size_t offset = offsetof(BlockQ8_0, qs) + 16 * static_cast<size_t>(half);
    put_quads([&](int r) { return _mm_xor_si128(load(blocks.at(r, offset)), zero_point); }, u.codes + 4 * half);
  }
}

void put(const Blocks<BlockQ4_K>& blocks, UnitQ4_K& u) {
  for (int r = 0; r < kRows; ++r) {
    u.d[r] = blocks.half(r, offsetof(BlockQ4_K, d));
    u.dmin[r] = blocks.half(r, offsetof(BlockQ4_K, dmin));
    uint8_t scales[8], mins[8];
    unpack_k_scales(blocks.at(r, offsetof(BlockQ4_K, scales)), scales, mins);
    for (int s = 0; s < 8; ++s) {
      u.parts[s].scale[r] = scales[s];
      u.parts[s].min[r] = mins[s];
    }
  }
  for (int s = 0; s < 8; ++s) {
    const size_t offset = offsetof(BlockQ4_K, qs) + 32 * static_cast<size_t>(s / 2);
    const auto half = [&](int r, size_t h) { return bits_from<4>(load(blocks.at(r, offset + 16 * h)), s % 2 * 4); };
    put_quads([&](int r) { return pack_nibbles(half(r, 0), half(r, 1)); }, u.parts[s].nibbles);
  }
}

/// A vector of `pairs`: the two bits from `shift` on of 16 bytes of every row.
void put_pairs(const Blocks<BlockQ6_K>& blocks, size_t offset, int shift, uint8_t* pairs) {
  alignas(16) uint8_t quads[4][64];
  put_quads([&](int r) { return bits_from<2>(load(blocks.at(r, offset)), shift); }, quads);
  for (int i = 0; i < 64; i += 16) {
    const __m128i even = _mm_or_si128(load(quads[0] + i), _mm_slli_epi16(load(quads[2] + i), 4));
    const __m128i odd = _mm_or_si128(load(quads[1] + i), _mm_slli_epi16(load(quads[3] + i), 4));
    store(pairs + i, _mm_or_si128(even, _mm_slli_epi16(odd, 2)));
  }
}

void put(const Blocks<BlockQ6_K>& blocks, UnitQ6_K& u) {
  for (int r = 0; r < kRows; ++r) {
    u.d[r] = blocks.half(r, offsetof(BlockQ6_K, d));
    const uint8_t* scales = blocks.at(r, offsetof(BlockQ6_K, scales));
    for (int s = 0; s < 16; ++s) u.parts[s / 2].scale[s % 2][r] = static_cast<int8_t>(scales[s]);
  }
  for (int s = 0; s < 8; ++s) {
    const size_t low = offsetof(BlockQ6_K, ql) + 64 * static_cast<size_t>(s / 4) + 32 * static_cast<size_t>(s % 2);
    const auto half = [&](int r, size_t h) { return bits_from<4>(load(blocks.at(r, low + 16 * h)), s % 4 / 2 * 4); };
    put_quads([&](int r) { return pack_nibbles(half(r, 0), half(r, 1)); }, u.parts[s].nibbles);
    for (size_t h = 0; h < 2; ++h) {
      put_pairs(blocks, offsetof(BlockQ6_K, qh) + 32 * static_cast<size_t>(s / 4) + 16 * h, s % 4 * 2, u.parts[s].pairs[h]);
    }
  }
}

template <class Block, class Unit>
bool interleave(const WeightMatrix& source, int64_t row, uint8_t* to) {
  Blocks<Block> blocks{source.row(row), source.row_bytes};
  for (int64_t k = 0; k < source.n_in; k += Unit::kElements, to += sizeof(Unit), blocks.first += sizeof(Block)) {
    put(blocks, *reinterpret_cast<Unit*>(to));
  }
  return true;
}

}  // namespace

bool interleave_rows16(const WeightMatrix& source, int64_t row, uint8_t* to) {
  switch (source.dtype) {
    case DType::kQ4_0: return interleave<BlockQ4_0, UnitQ4_0>(source, row, to);
    case DType::kQ8_0: return interleave<BlockQ8_0, UnitQ8_0>(source, row, to);
    case DType::kQ4_K: return interleave<BlockQ4_K, UnitQ4_K>(source, row, to);
    case DType::kQ6_K: return interleave<BlockQ6_K, UnitQ6_K>(source, row, to);
    default: return false;
  }
}

}  // namespace mla::cpu
