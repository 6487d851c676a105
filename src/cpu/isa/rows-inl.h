// The formats of cached rows, one segment at a time. Compiled once per instruction set; see Kernels in
// cpu/kernels.h. Encoded bytes and decoded values are exactly those of the specification, ops/row_layout.cpp.

#include "cpu/isa/formats-inl.h"
#include "cpu/kernels.h"
#include "ops/row_layout.h"

namespace mla::cpu::MLA_CPU_ISA {

/// f32 to bf16 and back, as base/float16.h: its functions may not be compiled for one instruction set alone.
MLA_INLINE uint16_t bf16_bits(float x) {
  uint16_t bits[kLanes];
  store_bf16(bits, set1(x));
  return bits[0];
}
MLA_INLINE float bf16_value(uint16_t bits) {
  const uint32_t u = static_cast<uint32_t>(bits) << 16;
  float x;
  std::memcpy(&x, &u, sizeof x);
  return x;
}

/// Decodes n elements of `bytes` each; the last, incomplete vector goes through a padded copy.
template <class Load>
MLA_INLINE void decode_elements_of(const uint8_t* in, int64_t bytes, int64_t n, float* out, Load get) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, get(in + i * bytes));
  if (i == n) return;
  uint8_t last[4 * kLanes] = {};
  std::memcpy(last, in + i * bytes, static_cast<size_t>((n - i) * bytes));
  store_n(out + i, get(last), n - i);
}

// -- packed formats ---------------------------------------------------------------------------------------------------

inline constexpr int64_t kGroupBlocks = kScaleGroup / kPackedBlock;
static_assert(kPackedBlock == 32 && kScaleGroup % kPackedBlock == 0);

struct PackedInt4 {
  static constexpr int64_t kBytes = 16;
  static constexpr float kUnit = 127.0F;  // of the scale: the value of largest magnitude becomes this
  static constexpr uint8_t kZero = 7;     // code of 0
  using Scale = NibbleCode;
  MLA_INLINE Scale scale(float s) { return nibble_code(kInt4Levels, s); }
  MLA_INLINE void decode(const uint8_t* block, const Scale& s, F32* w) { decode_nibbles(block, s, w); }
  /// Codes of x / scale.
  MLA_INLINE F32 quantize(F32 x) {
    F32 code = zero();
    each<15>([&]<int i>() MLA_INLINE_LAMBDA {
      code = add(code, one_above(x, set1(0.5F * static_cast<float>(kInt4Levels[i] + kInt4Levels[i + 1]))));
    });
    return code;
  }
  MLA_INLINE void pack(const uint8_t* codes, uint8_t* block) {
    for (int i = 0; i < 16; ++i) block[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
  }
};

struct PackedInt6 {
  static constexpr int64_t kBytes = 24;
  static constexpr float kUnit = -32.0F;
  static constexpr uint8_t kZero = 32;
  using Scale = float;
  MLA_INLINE Scale scale(float s) { return s; }
  MLA_INLINE void decode(const uint8_t* block, Scale s, F32* w) {
    const Bytes32 codes = or_bytes(unpack_nibbles(block), shift_left(unpack_pairs(block + 16), 4));
    scale_bytes(sub_bytes(codes, set_bytes(32)), s, w);
  }
  MLA_INLINE F32 quantize(F32 x) {
    return add(max2(set1(-32.0F), min2(set1(31.0F), round(x))), set1(32.0F));
  }
  MLA_INLINE void pack(const uint8_t* codes, uint8_t* block) {
    for (int i = 0; i < 16; ++i) block[i] = static_cast<uint8_t>((codes[i] & 15) | codes[i + 16] << 4);
    for (int i = 0; i < 8; ++i) {
      block[16 + i] = static_cast<uint8_t>(codes[i] >> 4 | codes[i + 8] >> 4 << 2 | codes[i + 16] >> 4 << 4 | codes[i + 24] >> 4 << 6);
    }
  }
};

template <class Format>
static void decode_packed(const RowSegment& segment, const uint8_t* row, float* out) {
  const uint8_t* block = row + segment.byte_offset;
  const uint8_t* scales = row + segment.scale_offset;
  int64_t i = 0;
  for (; i < segment.width; scales += 2) {
    uint16_t bits;
    std::memcpy(&bits, scales, sizeof bits);
    const typename Format::Scale scale = Format::scale(bf16_value(bits));
    for (int64_t b = 0; b < kGroupBlocks && i < segment.width; ++b, i += kPackedBlock, block += Format::kBytes) {
      F32 w[kVectors];
      Format::decode(block, scale, w);
      const int64_t n = segment.width - i;
      if (n >= kPackedBlock) {
        each<kVectors>([&]<int j>() MLA_INLINE_LAMBDA { store(out + i + j * kLanes, w[j]); });
      } else {
        alignas(64) float last[kPackedBlock];
        each<kVectors>([&]<int j>() MLA_INLINE_LAMBDA { store(last + j * kLanes, w[j]); });
        std::memcpy(out + i, last, static_cast<size_t>(n) * sizeof(float));
      }
    }
  }
}

/// The value of largest magnitude among n, a multiple of kLanes; NaN when one is not finite.
static float extreme(const float* values, int64_t n) {
  F32 most = zero(), least = zero(), nan = zero();  // x * 0 is NaN for infinities and NaN, and stays NaN in the sum
  for (int64_t i = 0; i < n; i += kLanes) {
    const F32 x = load(values + i);
    most = max2(most, x);
    least = min2(least, x);
    nan = fma(x, zero(), nan);
  }
  const float zero_or_nan = sum(nan), highest = max_lane(most), lowest = -max_lane(sub(zero(), least));
  if (zero_or_nan != 0.0F) return __builtin_nanf("");
  return highest >= -lowest ? highest : lowest;
}

template <class Format>
static void encode_packed(const RowSegment& segment, const float* values, uint8_t* row) {
  uint8_t* block = row + segment.byte_offset;
  uint8_t* scales = row + segment.scale_offset;
  for (int64_t i = 0; i < segment.width; i += kScaleGroup, scales += 2) {
    const int64_t n = segment.width - i < kScaleGroup ? segment.width - i : kScaleGroup;
    alignas(64) float x[kScaleGroup] = {};
    alignas(64) uint8_t codes[kScaleGroup];
    std::memcpy(x, values + i, static_cast<size_t>(n) * sizeof(float));
    const float unrounded = extreme(x, kScaleGroup) / Format::kUnit;
    const uint16_t bits = unrounded == 0.0F ? uint16_t{0} : bf16_bits(unrounded);
    std::memcpy(scales, &bits, sizeof bits);
    const float scale = bf16_value(bits);
    if (scale < 0.0F || scale > 0.0F) {
      for (int64_t j = 0; j < kScaleGroup; j += kLanes) store_i8(codes + j, Format::quantize(div(load(x + j), set1(scale))));
    } else {
      std::memset(codes, Format::kZero, sizeof codes);
    }
    std::memset(codes + n, 0, static_cast<size_t>(kScaleGroup - n));
    for (int64_t j = 0; j < n; j += kPackedBlock, block += Format::kBytes) Format::pack(codes + j, block);
  }
}

// -- segments ---------------------------------------------------------------------------------------------------------

static void decode_segment(const RowSegment& segment, const uint8_t* row, float* out) noexcept {
  const uint8_t* in = row + segment.byte_offset;
  switch (segment.format) {
    case RowFormat::kF32:
      std::memcpy(out, in, static_cast<size_t>(segment.width) * sizeof(float));
      return;
    case RowFormat::kBF16:
      return decode_elements_of(in, 2, segment.width, out,
                                [](const uint8_t* p) MLA_INLINE_LAMBDA { return load_bf16(p); });
    case RowFormat::kInt8: {
      float scale;
      std::memcpy(&scale, row + segment.scale_offset, sizeof(scale));
      const F32 s = set1(scale);
      return decode_elements_of(in, 1, segment.width, out,
                                [&](const uint8_t* p) MLA_INLINE_LAMBDA { return mul(load_i8(p), s); });
    }
    case RowFormat::kInt6:
      return decode_packed<PackedInt6>(segment, row, out);
    case RowFormat::kInt4:
      return decode_packed<PackedInt4>(segment, row, out);
  }
}

/// max|x| / 127; NaN when a value is not finite, so that the fault stays visible.
static float int8_scale(const float* values, int64_t n) {
  F32 most = zero(), nan = zero();  // x * 0 is NaN for infinities and NaN, and stays NaN in the sum
  const auto look = [&](F32 x) MLA_INLINE_LAMBDA {
    most = max2(most, abs(x));
    nan = fma(x, zero(), nan);
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) look(load(values + i));
  if (i < n) look(load_n(values + i, n - i));
  const float zero_or_nan = sum(nan);
  return zero_or_nan == 0.0F ? max_lane(most) / 127.0F : __builtin_nanf("");
}

static void encode_segment(const RowSegment& segment, const float* values, uint8_t* row) noexcept {
  uint8_t* to = row + segment.byte_offset;
  const int64_t n = segment.width;
  const int64_t whole = n / kLanes * kLanes;
  alignas(64) uint8_t last[4 * kLanes];
  switch (segment.format) {
    case RowFormat::kF32:
      std::memcpy(to, values, static_cast<size_t>(n) * sizeof(float));
      return;
    case RowFormat::kBF16:
      for (int64_t i = 0; i < whole; i += kLanes) store_bf16(to + 2 * i, load(values + i));
      if (whole == n) return;
      store_bf16(last, load_n(values + whole, n - whole));
      std::memcpy(to + 2 * whole, last, static_cast<size_t>(2 * (n - whole)));
      return;
    case RowFormat::kInt8: {
      const float scale = int8_scale(values, n);
      std::memcpy(row + segment.scale_offset, &scale, sizeof(scale));
      if (!(scale > 0.0F)) {
        std::memset(to, 0, static_cast<size_t>(n));
        return;
      }
      const auto code = [s = set1(scale)](F32 x)
                            MLA_INLINE_LAMBDA {  // a subnormal scale is rounded itself: clamp
                              return max2(set1(-127.0F), min2(set1(127.0F), round(div(x, s))));
                            };
      for (int64_t i = 0; i < whole; i += kLanes) store_i8(to + i, code(load(values + i)));
      if (whole == n) return;
      store_i8(last, code(load_n(values + whole, n - whole)));
      std::memcpy(to + whole, last, static_cast<size_t>(n - whole));
      return;
    }
    case RowFormat::kInt6:
      return encode_packed<PackedInt6>(segment, values, row);
    case RowFormat::kInt4:
      return encode_packed<PackedInt4>(segment, values, row);
  }
}

void fill_rows(Kernels& kernels) {
  kernels.decode_segment = decode_segment;
  kernels.encode_segment = encode_segment;
}

}  // namespace mla::cpu::MLA_CPU_ISA
