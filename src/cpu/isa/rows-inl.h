// The formats of cached rows, one segment at a time. Compiled once per instruction set; see Kernels in
// cpu/kernels.h. Encoded bytes and decoded values are exactly those of the specification, ops/row_layout.cpp.

#include MLA_CPU_SIMD

#include "cpu/kernels.h"
#include "ops/row_layout.h"

namespace mla::cpu::MLA_CPU_ISA {

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
  }
}

void fill_rows(Kernels& kernels) {
  kernels.decode_segment = decode_segment;
  kernels.encode_segment = encode_segment;
}

}  // namespace mla::cpu::MLA_CPU_ISA
