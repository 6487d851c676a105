#include "cpu/interleaved.h"

#include <algorithm>
#include <cstring>

#include "base/float16.h"
#include "cpu/interleave_rows16.h"
#include "tensor/formats/iq4.h"
#include "tensor/formats/k_quants.h"
#include "tensor/formats/q32.h"

namespace mla::cpu {
namespace {

constexpr uint32_t kLow4 = 0x0f0f0f0fU, kLow2 = 0x03030303U, kLow1 = 0x01010101U;

uint32_t quad_at(const uint8_t* p) {
  uint32_t quad;
  std::memcpy(&quad, p, 4);
  return quad;
}
void put_quad(uint8_t* vector, int row, uint32_t quad) {
  std::memcpy(vector + 4 * row, &quad, 4);
}

template <class Block>
Block block_at(const uint8_t* p) {
  Block block;
  std::memcpy(&block, p, sizeof(block));
  return block;
}

// Codes of a part's row r, given the quads: code(q) holds quad q, one code in each byte.
template <class Code>
void put_nibbles(uint8_t (&nibbles)[4][64], int r, Code code) {
  for (int j = 0; j < 4; ++j) put_quad(nibbles[j], r, code(j) | code(j + 4) << 4);
}
template <class Code>
void put_pairs(uint8_t (&pairs)[2][64], int r, Code code) {
  for (int h = 0; h < 2; ++h)
    put_quad(pairs[h], r, code(4 * h) | code(4 * h + 1) << 2 | code(4 * h + 2) << 4 | code(4 * h + 3) << 6);
}
template <class Code>
void put_bits(uint8_t (&bits)[64], int r, Code code) {
  uint32_t all = 0;
  for (int q = 0; q < 8; ++q) all |= code(q) << q;
  put_quad(bits, r, all);
}

/// Blocks of 32 pair their nibbles as units do.
void put_packed_nibbles(const uint8_t* qs, int r, uint8_t (&nibbles)[4][64]) {
  for (int j = 0; j < 4; ++j) put_quad(nibbles[j], r, quad_at(qs + 4 * j));
}
/// Bit j of `qh` belongs to element j.
void put_packed_bits(const uint8_t* qh, int r, uint8_t (&bits)[64]) {
  const uint32_t packed = quad_at(qh);
  put_bits(bits, r, [&](int q) { return (packed >> (4 * q) & 15) * 0x00204081U & kLow1; });  // bit i to byte i
}

// put(): a block of the file becomes row `r` of a unit.

void put(const BlockQ4_0& b, int r, UnitQ4_0& u) {
  u.d[r] = b.d;
  put_packed_nibbles(b.qs, r, u.nibbles);
}

void put(const BlockIQ4_NL& b, int r, UnitIQ4_NL& u) {
  u.d[r] = b.d;
  put_packed_nibbles(b.qs, r, u.nibbles);
}

void put(const BlockQ4_1& b, int r, UnitQ4_1& u) {
  u.d[r] = b.d;
  u.m[r] = b.m;
  put_packed_nibbles(b.qs, r, u.nibbles);
}

void put(const BlockQ5_0& b, int r, UnitQ5_0& u) {
  u.d[r] = b.d;
  put_packed_nibbles(b.qs, r, u.nibbles);
  put_packed_bits(b.qh, r, u.bits);
}

void put(const BlockQ5_1& b, int r, UnitQ5_1& u) {
  u.d[r] = b.d;
  u.m[r] = b.m;
  put_packed_nibbles(b.qs, r, u.nibbles);
  put_packed_bits(b.qh, r, u.bits);
}

void put(const BlockQ8_0& b, int r, UnitQ8_0& u) {
  u.d[r] = b.d;
  const auto* qs = reinterpret_cast<const uint8_t*>(b.qs);
  for (int q = 0; q < 8; ++q) put_quad(u.codes[q], r, quad_at(qs + 4 * q) ^ 0x80808080U);
}

void put(const BlockQ2_K& b, int r, UnitQ2_K& u) {
  u.d[r] = b.d;
  u.dmin[r] = b.dmin;
  for (int s = 0; s < 8; ++s) {
    UnitQ2_K::Part& part = u.parts[s];
    for (int h = 0; h < 2; ++h) part.scale_min[h][r] = b.scales[2 * s + h];
    const uint8_t* qs = b.qs + s / 4 * 32;
    put_pairs(part.pairs, r, [&](int quad) { return quad_at(qs + 4 * quad) >> (2 * (s % 4)) & kLow2; });
  }
}

void put(const BlockQ3_K& b, int r, UnitQ3_K& u) {
  u.d[r] = b.d;
  int8_t scales[16];
  unpack_q3_k_scales(b.scales, scales);
  for (int s = 0; s < 8; ++s) {
    UnitQ3_K::Part& part = u.parts[s];
    for (int h = 0; h < 2; ++h) part.scale[h][r] = scales[2 * s + h];
    const uint8_t* qs = b.qs + s / 4 * 32;
    put_pairs(part.pairs, r, [&](int quad) { return quad_at(qs + 4 * quad) >> (2 * (s % 4)) & kLow2; });
    put_bits(part.bits, r, [&](int quad) { return quad_at(b.hmask + 4 * quad) >> s & kLow1; });
  }
}

/// Q4_K, and Q5_K but for its fifth bits.
template <class Block, class Unit>
void put_k(const Block& b, int r, Unit& u) {
  u.d[r] = b.d;
  u.dmin[r] = b.dmin;
  uint8_t scales[8], mins[8];
  unpack_k_scales(b.scales, scales, mins);
  for (int s = 0; s < 8; ++s) {
    typename Unit::Part& part = u.parts[s];
    part.scale[r] = scales[s];
    part.min[r] = mins[s];
    const uint8_t* qs = b.qs + s / 2 * 32;
    put_nibbles(part.nibbles, r, [&](int quad) { return quad_at(qs + 4 * quad) >> (4 * (s % 2)) & kLow4; });
  }
}

void put(const BlockQ4_K& b, int r, UnitQ4_K& u) {
  put_k(b, r, u);
}

void put(const BlockQ5_K& b, int r, UnitQ5_K& u) {
  put_k(b, r, u);
  for (int s = 0; s < 8; ++s)
    put_bits(u.parts[s].bits, r, [&](int quad) { return quad_at(b.qh + 4 * quad) >> s & kLow1; });
}

void put(const BlockQ6_K& b, int r, UnitQ6_K& u) {
  u.d[r] = b.d;
  for (int s = 0; s < 8; ++s) {
    UnitQ6_K::Part& part = u.parts[s];
    for (int h = 0; h < 2; ++h) part.scale[h][r] = b.scales[2 * s + h];
    const uint8_t* ql = b.ql + s / 4 * 64 + s % 2 * 32;
    const uint8_t* qh = b.qh + s / 4 * 32;
    put_nibbles(part.nibbles, r, [&](int quad) { return quad_at(ql + 4 * quad) >> (s % 4 / 2 * 4) & kLow4; });
    put_pairs(part.pairs, r, [&](int quad) { return quad_at(qh + 4 * quad) >> (s % 4 * 2) & kLow2; });
  }
}

void put(const BlockIQ4_XS& b, int r, UnitIQ4_XS& u) {
  u.d[r] = b.d;
  for (int s = 0; s < 8; ++s) {
    u.parts[s].scale[r] = static_cast<int8_t>(b.scale(s));
    put_packed_nibbles(b.qs + 16 * s, r, u.parts[s].nibbles);
  }
}

template <class Block, class Unit>
void interleave(const WeightMatrix& source, int64_t row, uint8_t* to) {
  const auto rows = static_cast<int>(std::min(kGroupRows, source.n_out - row));
  for (int64_t k = 0; k < source.n_in; k += Unit::kElements, to += sizeof(Unit)) {
    Unit unit{};
    for (int r = 0; r < rows; ++r) {
      put(block_at<Block>(source.row(row + r) + k / Unit::kElements * static_cast<int64_t>(sizeof(Block))), r, unit);
    }
    std::memcpy(to, &unit, sizeof(unit));
  }
}

// Element i's code, or its part, of row r.
int nibble(const uint8_t (&nibbles)[4][64], int r, int i) {
  return nibbles[i % 16 / 4][4 * r + i % 4] >> (i / 16 * 4) & 15;
}
int pair(const uint8_t (&pairs)[2][64], int r, int i) {
  return pairs[i / 16][4 * r + i % 4] >> (i % 16 / 4 * 2) & 3;
}
int bit(const uint8_t (&bits)[64], int r, int i) {
  return bits[4 * r + i % 4] >> (i / 4) & 1;
}

float number(uint16_t half) {
  return f16_to_f32(half);
}

// get(): row r of a unit.

void get(const UnitQ4_0& u, int r, float* out) {
  const float d = number(u.d[r]);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(nibble(u.nibbles, r, i) - 8);
}

void get(const UnitIQ4_NL& u, int r, float* out) {
  const float d = number(u.d[r]);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kIQ4Values[nibble(u.nibbles, r, i)]);
}

void get(const UnitQ4_1& u, int r, float* out) {
  const float d = number(u.d[r]), m = number(u.m[r]);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(nibble(u.nibbles, r, i)) + m;
}

void get(const UnitQ5_0& u, int r, float* out) {
  const float d = number(u.d[r]);
  for (int i = 0; i < 32; ++i)
    out[i] = d * static_cast<float>((nibble(u.nibbles, r, i) | bit(u.bits, r, i) << 4) - 16);
}

void get(const UnitQ5_1& u, int r, float* out) {
  const float d = number(u.d[r]), m = number(u.m[r]);
  for (int i = 0; i < 32; ++i)
    out[i] = d * static_cast<float>(nibble(u.nibbles, r, i) | bit(u.bits, r, i) << 4) + m;
}

void get(const UnitQ8_0& u, int r, float* out) {
  const float d = number(u.d[r]);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(u.codes[i / 4][4 * r + i % 4] - 128);
}

void get(const UnitQ2_K& u, int r, float* out) {
  for (const UnitQ2_K::Part& part : u.parts) {
    for (int i = 0; i < 32; ++i) {
      const uint8_t both = part.scale_min[i / 16][r];
      const float scale = number(u.d[r]) * static_cast<float>(both & 15);
      const float min = number(u.dmin[r]) * static_cast<float>(both >> 4);
      *out++ = scale * static_cast<float>(pair(part.pairs, r, i)) - min;
    }
  }
}

void get(const UnitQ3_K& u, int r, float* out) {
  for (const UnitQ3_K::Part& part : u.parts) {
    for (int i = 0; i < 32; ++i) {
      const float scale = number(u.d[r]) * static_cast<float>(part.scale[i / 16][r]);
      *out++ = scale * static_cast<float>((pair(part.pairs, r, i) | bit(part.bits, r, i) << 2) - 4);
    }
  }
}

void get(const UnitQ4_K& u, int r, float* out) {
  for (const UnitQ4_K::Part& part : u.parts) {
    const float scale = number(u.d[r]) * static_cast<float>(part.scale[r]);
    const float min = number(u.dmin[r]) * static_cast<float>(part.min[r]);
    for (int i = 0; i < 32; ++i) *out++ = scale * static_cast<float>(nibble(part.nibbles, r, i)) - min;
  }
}

void get(const UnitQ5_K& u, int r, float* out) {
  for (const UnitQ5_K::Part& part : u.parts) {
    const float scale = number(u.d[r]) * static_cast<float>(part.scale[r]);
    const float min = number(u.dmin[r]) * static_cast<float>(part.min[r]);
    for (int i = 0; i < 32; ++i)
      *out++ = scale * static_cast<float>(nibble(part.nibbles, r, i) | bit(part.bits, r, i) << 4) - min;
  }
}

void get(const UnitQ6_K& u, int r, float* out) {
  for (const UnitQ6_K::Part& part : u.parts) {
    for (int i = 0; i < 32; ++i) {
      const float scale = number(u.d[r]) * static_cast<float>(part.scale[i / 16][r]);
      *out++ = scale * static_cast<float>((nibble(part.nibbles, r, i) | pair(part.pairs, r, i) << 4) - 32);
    }
  }
}

void get(const UnitIQ4_XS& u, int r, float* out) {
  for (const UnitIQ4_XS::Part& part : u.parts) {
    const float scale = number(u.d[r]) * static_cast<float>(part.scale[r]);
    for (int i = 0; i < 32; ++i) *out++ = scale * static_cast<float>(kIQ4Values[nibble(part.nibbles, r, i)]);
  }
}

template <class Unit>
void decode(const WeightMatrix& matrix, int64_t row, float* out) {
  const uint8_t* group = matrix.row(row / kGroupRows * kGroupRows);
  for (int64_t k = 0; k < matrix.n_in; k += Unit::kElements, group += sizeof(Unit)) {
    get(*reinterpret_cast<const Unit*>(group), static_cast<int>(row % kGroupRows), out + k);
  }
}

template <class Unit>
int64_t row_bytes(int64_t n_in) {
  static_assert(sizeof(Unit) % kGroupRows == 0);
  return n_in / Unit::kElements * static_cast<int64_t>(sizeof(Unit)) / kGroupRows;
}

}  // namespace

int64_t interleaved_row_bytes(DType dtype, int64_t n_in) {
  switch (dtype) {
    case DType::kQ4_0: return row_bytes<UnitQ4_0>(n_in);
    case DType::kQ4_1: return row_bytes<UnitQ4_1>(n_in);
    case DType::kQ5_0: return row_bytes<UnitQ5_0>(n_in);
    case DType::kQ5_1: return row_bytes<UnitQ5_1>(n_in);
    case DType::kQ8_0: return row_bytes<UnitQ8_0>(n_in);
    case DType::kQ2_K: return row_bytes<UnitQ2_K>(n_in);
    case DType::kQ3_K: return row_bytes<UnitQ3_K>(n_in);
    case DType::kQ4_K: return row_bytes<UnitQ4_K>(n_in);
    case DType::kQ5_K: return row_bytes<UnitQ5_K>(n_in);
    case DType::kQ6_K: return row_bytes<UnitQ6_K>(n_in);
    case DType::kIQ4_NL: return row_bytes<UnitIQ4_NL>(n_in);
    case DType::kIQ4_XS: return row_bytes<UnitIQ4_XS>(n_in);
    default: return 0;
  }
}

void interleave_group(const WeightMatrix& source, int64_t row, uint8_t* to) {
  if (row + kGroupRows <= source.n_out && interleave_rows16(source, row, to)) return;
  interleave_group_plainly(source, row, to);
}

void interleave_group_plainly(const WeightMatrix& source, int64_t row, uint8_t* to) {
  switch (source.dtype) {
    case DType::kQ4_0: return interleave<BlockQ4_0, UnitQ4_0>(source, row, to);
    case DType::kQ4_1: return interleave<BlockQ4_1, UnitQ4_1>(source, row, to);
    case DType::kQ5_0: return interleave<BlockQ5_0, UnitQ5_0>(source, row, to);
    case DType::kQ5_1: return interleave<BlockQ5_1, UnitQ5_1>(source, row, to);
    case DType::kQ8_0: return interleave<BlockQ8_0, UnitQ8_0>(source, row, to);
    case DType::kQ2_K: return interleave<BlockQ2_K, UnitQ2_K>(source, row, to);
    case DType::kQ3_K: return interleave<BlockQ3_K, UnitQ3_K>(source, row, to);
    case DType::kQ4_K: return interleave<BlockQ4_K, UnitQ4_K>(source, row, to);
    case DType::kQ5_K: return interleave<BlockQ5_K, UnitQ5_K>(source, row, to);
    case DType::kQ6_K: return interleave<BlockQ6_K, UnitQ6_K>(source, row, to);
    case DType::kIQ4_NL: return interleave<BlockIQ4_NL, UnitIQ4_NL>(source, row, to);
    case DType::kIQ4_XS: return interleave<BlockIQ4_XS, UnitIQ4_XS>(source, row, to);
    default: return;
  }
}

void decode_interleaved_row(const WeightMatrix& matrix, int64_t row, float* out) {
  switch (matrix.dtype) {
    case DType::kQ4_0: return decode<UnitQ4_0>(matrix, row, out);
    case DType::kQ4_1: return decode<UnitQ4_1>(matrix, row, out);
    case DType::kQ5_0: return decode<UnitQ5_0>(matrix, row, out);
    case DType::kQ5_1: return decode<UnitQ5_1>(matrix, row, out);
    case DType::kQ8_0: return decode<UnitQ8_0>(matrix, row, out);
    case DType::kQ2_K: return decode<UnitQ2_K>(matrix, row, out);
    case DType::kQ3_K: return decode<UnitQ3_K>(matrix, row, out);
    case DType::kQ4_K: return decode<UnitQ4_K>(matrix, row, out);
    case DType::kQ5_K: return decode<UnitQ5_K>(matrix, row, out);
    case DType::kQ6_K: return decode<UnitQ6_K>(matrix, row, out);
    case DType::kIQ4_NL: return decode<UnitIQ4_NL>(matrix, row, out);
    case DType::kIQ4_XS: return decode<UnitIQ4_XS>(matrix, row, out);
    default: return;
  }
}

}  // namespace mla::cpu
