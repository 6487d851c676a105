#pragma once

#include <cstdint>

#include "cpu/kernels.h"

// Quantised matrices for kernels whose vectors hold one number of each of 16 output rows, so that one token needs no sums
// across a vector and many tokens share what was unpacked. It is also what a tile of the matrix unit wants: four
// consecutive elements of a row, 16 rows side by side.
//
// 16 consecutive rows are a group; a group is a sequence of units along the summed dimension; a unit holds the same
// elements of its 16 rows. A "quad" is four consecutive elements: byte 4 r + i of a 64-byte vector is element i of row r's
// quad. Units are as large as 16 of the file's blocks, or up to 3.7 % larger (Q3_K). Rows that fill up the last group are zero.

namespace mla::cpu {

inline constexpr int64_t kGroupRows = 16;

// Codes are kept in vectors of three kinds:
//   nibbles [4][64]   quad j in the low, quad j + 4 in the high nibbles of vector j
//   pairs   [2][64]   bits 2 i of a byte of vector h belong to quad 4 h + i
//   bits    [64]      bit q of a byte belongs to quad q

/// 32 elements. x = d (code - 8)
struct UnitQ4_0 {
  static constexpr int kElements = 32;
  uint16_t d[16];  // binary16, as every d, dmin and m
  uint8_t nibbles[4][64];
};

/// As Q4_0 with x = d kIQ4Values[code].
struct UnitIQ4_NL : UnitQ4_0 {};

/// 32 elements. x = d code + m
struct UnitQ4_1 {
  static constexpr int kElements = 32;
  uint16_t d[16];
  uint16_t m[16];
  uint8_t nibbles[4][64];
};

/// 32 elements, the fifth bits apart. x = d (code - 16)
struct UnitQ5_0 {
  static constexpr int kElements = 32;
  uint16_t d[16];
  uint8_t nibbles[4][64];
  uint8_t bits[64];
};

/// As Q5_0 with x = d code + m.
struct UnitQ5_1 {
  static constexpr int kElements = 32;
  uint16_t d[16];
  uint16_t m[16];
  uint8_t nibbles[4][64];
  uint8_t bits[64];
};

/// 32 elements, vector q is quad q. x = d (code - 128)
struct UnitQ8_0 {
  static constexpr int kElements = 32;
  uint16_t d[16];
  uint8_t codes[8][64];
};

/// 256 elements in parts of 32, as all that follow. x = d scale code - dmin min; a scale (low nibble) and a min (high
/// nibble) for each 16 elements
struct UnitQ2_K {
  static constexpr int kElements = 256;
  struct Part {
    uint8_t scale_min[2][16];
    uint8_t pairs[2][64];
  };
  uint16_t d[16];
  uint16_t dmin[16];
  Part parts[8];
};

/// x = d scale (code - 4), a scale for each 16 elements; the third bits of the codes apart
struct UnitQ3_K {
  static constexpr int kElements = 256;
  struct Part {
    int8_t scale[2][16];
    uint8_t pairs[2][64];
    uint8_t bits[64];
  };
  uint16_t d[16];
  Part parts[8];
};

/// x = d scale code - dmin min
struct UnitQ4_K {
  static constexpr int kElements = 256;
  struct Part {
    uint8_t scale[16];
    uint8_t min[16];
    uint8_t nibbles[4][64];
  };
  uint16_t d[16];
  uint16_t dmin[16];
  Part parts[8];
};

/// As Q4_K, the fifth bits apart.
struct UnitQ5_K {
  static constexpr int kElements = 256;
  struct Part {
    uint8_t scale[16];
    uint8_t min[16];
    uint8_t nibbles[4][64];
    uint8_t bits[64];
  };
  uint16_t d[16];
  uint16_t dmin[16];
  Part parts[8];
};

/// x = d scale (code - 32), a scale for each 16 elements; the upper two bits of the codes apart
struct UnitQ6_K {
  static constexpr int kElements = 256;
  struct Part {
    int8_t scale[2][16];
    uint8_t nibbles[4][64];
    uint8_t pairs[2][64];
  };
  uint16_t d[16];
  Part parts[8];
};

/// x = d scale kIQ4Values[code]
struct UnitIQ4_XS {
  static constexpr int kElements = 256;
  struct Part {
    int8_t scale[16];
    uint8_t nibbles[4][64];
  };
  uint16_t d[16];
  Part parts[8];
};

/// 32 activations as 16-bit fixed-point numbers, x = scale (256 hi + lo): within max|x| / 65278 of x, so that a product is
/// nearly as exact as in f32 and yet runs on the 8-bit integer units. Blocks of less than 1e-30 count as zero; a block with
/// an infinity or NaN has scale NaN. As 8-bit numbers, x = scale hi, within max|x| / 254; lo has no meaning then.
struct FixedBlock {
  int8_t hi[32];
  int8_t lo[32];
  float scale;
  float sum;              ///< of the 32 numbers
  float half_sum[2];      ///< of numbers 0 ... 15 and 16 ... 31
  int32_t minus_sum;      ///< minus the sum of the 32 integers: what a code's zero point multiplies
  int32_t minus_half[2];  ///< the same of elements 0 ... 15 and 16 ... 31
};
inline constexpr int64_t kFixedElements = 32;

/// Bytes of a row in this layout (of 16 of them, a 16th); 0 for a type without one. n_in: whole blocks of the type.
int64_t interleaved_row_bytes(DType dtype, int64_t n_in);

/// Rows [row, row + 16) of `source`, fewer at its end, become a group of 16 * interleaved_row_bytes() at `to`.
void interleave_group(const WeightMatrix& source, int64_t row, uint8_t* to);
/// The same, row by row: for the last group of a matrix and for types without a faster form (cpu/interleave_rows16.h).
void interleave_group_plainly(const WeightMatrix& source, int64_t row, uint8_t* to);

/// Row `row` of an interleaved matrix as f32, [n_in], in the formats' own arithmetic.
void decode_interleaved_row(const WeightMatrix& matrix, int64_t row, float* out);

}  // namespace mla::cpu
