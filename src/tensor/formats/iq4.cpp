#include "tensor/formats/iq4.h"

#include "base/float16.h"

namespace mla {
namespace {

void decode_codes(const uint8_t qs[16], float scale, float* out) {
  for (int j = 0; j < 16; ++j) {
    out[j] = scale * static_cast<float>(kIQ4Values[qs[j] & 0xF]);
    out[j + 16] = scale * static_cast<float>(kIQ4Values[qs[j] >> 4]);
  }
}

}  // namespace

void decode_block(const BlockIQ4_NL& block, float* out) {
  decode_codes(block.qs, f16_to_f32(block.d), out);
}

void decode_block(const BlockIQ4_XS& block, float* out) {
  const float d = f16_to_f32(block.d);
  for (int s = 0; s < 8; ++s) {
    decode_codes(block.qs + s * 16, d * static_cast<float>(block.scale(s)), out + s * 32);
  }
}

}  // namespace mla
