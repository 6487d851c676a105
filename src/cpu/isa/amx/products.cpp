// x W^T for many tokens on the matrix unit: 64 rows of weights are decoded to bf16 panels that stay in the cache, and all
// tokens pass over them. bf16 alone would put models' logits off by up to 1 % and change the choice of experts, so numbers
// are the sum of two: x w = (xh + xl) (wh + wl), with xl wl left out: within 2^-16 of exact, for three products (two where
// weights are bf16 themselves).

#define MLA_CPU_ISA amx
#define MLA_CPU_SIMD "cpu/isa/simd_avx512.h"
#include "cpu/isa/avx512vnni/formats.h"
#include "cpu/isa/bf16_tiles.h"

#include <type_traits>

namespace mla::cpu::amx {
namespace {

namespace units = avx512vnni;

/// A right side as a sum: [kPanelRows / 16] blocks of [kPanelDepth / 2][16][2] each.
struct Panels {
  uint16_t* high;
  uint16_t* low;
};

MLA_INLINE __m512 widen(__m256i halves) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

/// Two vectors of 16 rows' elements, one after the other in each row, as a pair row. Returns what rounding took away.
struct PairRow {
  __m512 even, odd;
};
MLA_INLINE PairRow store_pair_row(PairRow x, uint16_t* out) {
  const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(x.odd, x.even));
  const __m256i even = _mm512_castsi512_si256(both), odd = _mm512_extracti64x4_epi64(both, 1);
  _mm512_storeu_si512(out, low_pairs(both, _mm512_castsi256_si512(odd)));
  return {sub(x.even, widen(even)), sub(x.odd, widen(odd))};
}

/// Elements [k, k + depth) of the 16 rows from `row` on become a block of each panel, [depth / 2][16][2].
template <class Format>
void decode_units(const WeightMatrix& w, int64_t row, int64_t k, int64_t depth, Panels out) {
  using Unit = typename Format::Unit;
  const auto* unit = reinterpret_cast<const Unit*>(w.row(row)) + k / Unit::kElements;
  for (const uint16_t* end = out.high + depth * kBlockColumns; out.high < end; ++unit) {
    const auto shared = Format::begin(*unit);
    for (int p = 0; p < Format::kParts; ++p, out.high += 32 * kBlockColumns, out.low += 32 * kBlockColumns) {
      each<Format::kScales>([&]<int h>() MLA_INLINE_LAMBDA {
        const __m512 scale = Format::scale(shared, *unit, p, h);
        __m512 zero = _mm512_setzero_ps();
        if constexpr (Format::kOffsets > 0) zero = Format::offset(shared, *unit, p, Format::kOffsets == 1 ? 0 : h);
        if constexpr (Format::kZeroBits >= 0) zero = mul(scale, set1(-static_cast<float>(1 << Format::kZeroBits)));
        constexpr int kQuads = 8 / Format::kScales;
        each<kQuads>([&]<int i>() MLA_INLINE_LAMBDA {
          constexpr int q = h * kQuads + i;
          const __m512i codes = Format::template code<q>(*unit, p);
          __m512 x[4];
          each<4>([&]<int j>() MLA_INLINE_LAMBDA {
            const __m512i code = _mm512_and_si512(_mm512_srli_epi32(codes, 8 * j), _mm512_set1_epi32(255));
            x[j] = fma(_mm512_cvtepi32_ps(code), scale, zero);
          });
          each<2>([&]<int pair>() MLA_INLINE_LAMBDA {
            constexpr int64_t at = (4 * q + 2 * pair) * kBlockColumns;
            store_pair_row(store_pair_row({x[2 * pair], x[2 * pair + 1]}, out.high + at), out.low + at);
          });
        });
      });
    }
  }
}

/// x becomes what rounding to bf16 takes away from it.
MLA_INLINE void take_rounded(float* x, int64_t n) {
  for (int64_t k = 0; k < n; k += kLanes) {
    const __mmask16 some = first_floats(n - k);
    const __m512 v = _mm512_maskz_loadu_ps(some, x + k);
    _mm512_mask_storeu_ps(x + k, some, sub(v, widen(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)))));
  }
}

/// The same of rows as their file has them.
void decode_rows(const Kernels& kernels, WeightMatrix w, int64_t row, int64_t n_rows, int64_t k, int64_t depth,
                 Panels out) {
  alignas(64) float values[kBlockColumns * kPanelDepth];
  const float* rows[kBlockColumns];
  const DTypeInfo& type = dtype_info(w.dtype);
  w.data += k / type.block_size * type.block_bytes;
  w.n_in = depth;
  if (w.block_scale != nullptr) w.block_scale += k / w.scale_block;
  for (int64_t r = 0; r < n_rows; ++r) {
    rows[r] = values + r * kPanelDepth;
    kernels.decode_row[static_cast<size_t>(w.dtype)](w, row + r, values + r * kPanelDepth);
  }
  pack_block(rows, n_rows, depth, out.high);
  if (w.dtype == DType::kBF16) return;
  for (int64_t r = 0; r < n_rows; ++r) take_rounded(values + r * kPanelDepth, depth);
  pack_block(rows, n_rows, depth, out.low);
}

struct FileFormat {};

/// c (+)= x w, of the panels' columns from block `block` on; x lies `pad` elements before its low parts.
void multiply(const Kernels& kernels, BlockProduct p, const Panels& panels, int64_t block, int64_t pad, bool exact_weights) {
  const uint16_t* x = p.a;
  p.b = panels.high + block * p.b_block;
  kernels.block_product(p);
  p.accumulate = true;
  p.a = x + pad;
  kernels.block_product(p);
  if (exact_weights) return;
  p.a = x;
  p.b = panels.low + block * p.b_block;
  kernels.block_product(p);
}

/// Rows [row_begin, row_end), at most kPanelRows. A last block of fewer than 16 goes through a buffer, which has room for all
/// its columns.
template <class Format>
void product(const Kernels& kernels, const ProductArgs& a) noexcept {
  const Panels panels{reinterpret_cast<uint16_t*>(a.panel), reinterpret_cast<uint16_t*>(a.panel) + kPanelRows * kPanelDepth};
  const int64_t n_rows = a.row_end - a.row_begin, whole = n_rows / kBlockColumns * kBlockColumns;
  const int64_t pad = pad_depth(a.weight.n_in);
  const bool exact_weights = a.weight.dtype == DType::kBF16;
  for (int64_t k = 0; k < a.weight.n_in; k += kPanelDepth) {
    const int64_t depth = a.weight.n_in - k < kPanelDepth ? a.weight.n_in - k : kPanelDepth;
    const int64_t block_size = pad_depth(depth) * kBlockColumns;
    for (int64_t r = 0; r < n_rows; r += kBlockColumns) {
      const int64_t at = r / kBlockColumns * block_size;
      const Panels block{panels.high + at, panels.low + at};
      if constexpr (std::is_same_v<Format, FileFormat>) {
        const int64_t n = n_rows - r < kBlockColumns ? n_rows - r : kBlockColumns;
        decode_rows(kernels, a.weight, a.row_begin + r, n, k, depth, block);
      } else {
        decode_units<Format>(a.weight, a.row_begin + r, k, depth, block);
      }
    }
    BlockProduct p{.a = a.bf16 + k, .a_stride = a.bf16_stride, .b_block = block_size, .c = a.out + a.row_begin,
                   .c_stride = a.out_stride, .m = a.n_tokens, .n = whole, .k = pad_depth(depth), .accumulate = k > 0};
    if (whole > 0) multiply(kernels, p, panels, 0, pad, exact_weights);
    if (whole == n_rows) continue;
    alignas(64) float last[32 * kBlockColumns];
    p.n = kBlockColumns;
    p.c = last;
    p.c_stride = kBlockColumns;
    p.accumulate = false;
    for (int64_t t = 0; t < a.n_tokens; t += 32) {
      p.a = a.bf16 + t * a.bf16_stride + k;
      p.m = a.n_tokens - t < 32 ? a.n_tokens - t : 32;
      multiply(kernels, p, panels, whole / kBlockColumns, pad, exact_weights);
      for (int64_t i = 0; i < p.m; ++i) {
        float* out = a.out + (t + i) * a.out_stride + a.row_begin + whole;
        for (int64_t j = 0; j < n_rows - whole; ++j) out[j] = (k > 0 ? out[j] : 0.0F) + last[i * kBlockColumns + j];
      }
    }
  }
  if (a.bias == nullptr) return;
  for (int64_t t = 0; t < a.n_tokens; ++t) {
    for (int64_t r = a.row_begin; r < a.row_end; ++r) a.out[t * a.out_stride + r] += a.bias[r];
  }
}

void split(const float* x, int64_t n, uint16_t* out) noexcept {
  for (int64_t k = 0; k < n; k += 32) {
    const __m512i high = bf16_of(x + k, n - k);
    const __m512 a = _mm512_maskz_loadu_ps(first_floats(n - k), x + k);
    const __m512 b = _mm512_maskz_loadu_ps(first_floats(n - k - 16), x + k + 16);
    const __m512 a_low = sub(a, widen(_mm512_castsi512_si256(high))), b_low = sub(b, widen(_mm512_extracti64x4_epi64(high, 1)));
    _mm512_storeu_si512(out + k, high);
    _mm512_storeu_si512(out + pad_depth(n) + k, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b_low, a_low)));
  }
}

}  // namespace

void fill_products(Kernels& kernels) {
  kernels.split = split;
  const auto set = [&](DType dtype, auto product) { kernels.matrix_product[static_cast<size_t>(dtype)] = product; };
  set(DType::kF16, product<FileFormat>);
  set(DType::kBF16, product<FileFormat>);
  set(DType::kF8E4M3, product<FileFormat>);
  set(DType::kQ4_0, product<units::FormatQ4_0>);
  set(DType::kQ4_1, product<units::FormatQ4_1>);
  set(DType::kQ5_0, product<units::FormatQ5_0>);
  set(DType::kQ5_1, product<units::FormatQ5_1>);
  set(DType::kQ8_0, product<units::FormatQ8_0>);
  set(DType::kQ2_K, product<units::FormatQ2_K>);
  set(DType::kQ3_K, product<units::FormatQ3_K>);
  set(DType::kQ4_K, product<units::FormatQ4_K>);
  set(DType::kQ5_K, product<units::FormatQ5_K>);
  set(DType::kQ6_K, product<units::FormatQ6_K>);
  set(DType::kIQ4_NL, product<units::FormatIQ4_NL>);
  set(DType::kIQ4_XS, product<units::FormatIQ4_XS>);
}

}  // namespace mla::cpu::amx
