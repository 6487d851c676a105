#include "tensor/formats/k_quants.h"

#include "base/float16.h"

namespace mla {
namespace {

/// 2-bit code of element i, in the layout of Q2_K and Q3_K.
int code2(const uint8_t* qs, int i) {
  return qs[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3;
}

/// 4-bit code of element i, in the layout of Q4_K and Q5_K.
int code4(const uint8_t* qs, int i) {
  return qs[i / 64 * 32 + i % 32] >> (4 * (i % 64 / 32)) & 0xF;
}

}  // namespace

void unpack_k_scales(const uint8_t packed[12], uint8_t scales[8], uint8_t mins[8]) {
  for (int s = 0; s < 4; ++s) {  // the first four of each: low six bits of bytes 0..3 and 4..7
    scales[s] = packed[s] & 0x3F;
    mins[s] = packed[s + 4] & 0x3F;
  }
  for (int s = 0; s < 4;
       ++s) {  // the last four: low nibbles in bytes 8..11, two high bits in the top of bytes 0..7
    scales[s + 4] = static_cast<uint8_t>((packed[s + 8] & 0x0F) | (packed[s] >> 6 << 4));
    mins[s + 4] = static_cast<uint8_t>((packed[s + 8] >> 4) | (packed[s + 4] >> 6 << 4));
  }
}

void unpack_q3_k_scales(const uint8_t packed[12], int8_t scales[16]) {
  for (int s = 0; s < 16; ++s) {  // low nibbles in bytes 0..7, two high bits in bytes 8..11
    const int low = packed[s % 8] >> (4 * (s / 8)) & 0xF;
    const int high = packed[8 + s % 4] >> (2 * (s / 4)) & 3;
    scales[s] = static_cast<int8_t>((low | high << 4) - 32);
  }
}

void decode_block(const BlockQ2_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  for (int s = 0; s < 16; ++s) {
    const float scale = d * static_cast<float>(block.scales[s] & 0xF);
    const float min = dmin * static_cast<float>(block.scales[s] >> 4);
    for (int i = s * 16; i < (s + 1) * 16; ++i) out[i] = scale * static_cast<float>(code2(block.qs, i)) - min;
  }
}

void decode_block(const BlockQ3_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  int8_t scales[16];
  unpack_q3_k_scales(block.scales, scales);
  for (int s = 0; s < 16; ++s) {
    const float scale = d * static_cast<float>(scales[s]);
    for (int i = s * 16; i < (s + 1) * 16; ++i) {
      const int high = block.hmask[i % 32] >> (i / 32) & 1;
      out[i] = scale * static_cast<float>(code2(block.qs, i) - (high ? 0 : 4));
    }
  }
}

void decode_block(const BlockQ4_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  uint8_t scales[8];
  uint8_t mins[8];
  unpack_k_scales(block.scales, scales, mins);
  for (int s = 0; s < 8; ++s) {
    const float scale = d * static_cast<float>(scales[s]);
    const float min = dmin * static_cast<float>(mins[s]);
    for (int i = s * 32; i < (s + 1) * 32; ++i) out[i] = scale * static_cast<float>(code4(block.qs, i)) - min;
  }
}

void decode_block(const BlockQ5_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  const float dmin = f16_to_f32(block.dmin);
  uint8_t scales[8];
  uint8_t mins[8];
  unpack_k_scales(block.scales, scales, mins);
  for (int s = 0; s < 8; ++s) {
    const float scale = d * static_cast<float>(scales[s]);
    const float min = dmin * static_cast<float>(mins[s]);
    for (int i = s * 32; i < (s + 1) * 32; ++i) {
      const int high = block.qh[i % 32] >> s & 1;
      out[i] = scale * static_cast<float>(code4(block.qs, i) | high << 4) - min;
    }
  }
}

void decode_block(const BlockQ6_K& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int s = 0; s < 16; ++s) {
    const float scale = d * static_cast<float>(block.scales[s]);
    for (int i = s * 16; i < (s + 1) * 16; ++i) {
      const int group = i / 128;
      const int low = block.ql[group * 64 + i % 64] >> (4 * (i % 128 / 64)) & 0xF;
      const int high = block.qh[group * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3;
      out[i] = scale * static_cast<float>((low | high << 4) - 32);
    }
  }
}

}  // namespace mla
