// x W^T for matrices in the layout of cpu/interleaved.h: activations are 16-bit fixed-point numbers, and every product of a
// code with one goes through VPDPBUSD twice, for its high and its low byte. Sums within a block of 32 (16 where the type
// scales so few) are exact integers; block sums are added up in f32 in the order of the blocks. A token's numbers therefore
// do not depend on how many others there are. Where 8-bit activations are asked for, the low bytes are left out.
//
// Measured on one Zen 4 core, 2048 x 2048, weights from memory that gives the core 30 GB/s. One token: 28-30 GB/s, but Q5_0 22,
// Q3_K 22 and Q2_K 19. 8 tokens and more: 186-205 GFLOP/s with one scale a part, 165-175 with two, where VPDPBUSD alone would
// do 239 (one a cycle, on the two pipes that multiply floats too: 16 + 2 to 6 of them for a part and a token) and
// multiply-adds in f32 118.

#include <immintrin.h>

#include <limits>

#include "cpu/isa/avx512vnni/formats.h"

namespace mla::cpu::avx512vnni {
namespace {

constexpr int64_t kTokenChunk = 64;  // fixed-point rows that stay in the L2 cache while groups pass over them

/// Weights are fetched so far ahead, a part at a time: more at once would fill the core's line buffers and stall it. With
/// many tokens, whose activations need the L1 cache, they come as near as the L2 cache.
constexpr int64_t kPrefetchBytes = 4096;
template <int bytes, int n_tokens>
MLA_INLINE void prefetch_part(const void* part) {
  const char* ahead = static_cast<const char*>(part) + kPrefetchBytes;
  MLA_UNROLL for (int at = 0; at < bytes; at += 64) _mm_prefetch(ahead + at, n_tokens < 3 ? _MM_HINT_T0 : _MM_HINT_T1);
}

MLA_INLINE __m512i quad(const int8_t* p) {
  int32_t bytes;
  __builtin_memcpy(&bytes, p, 4);
  return _mm512_set1_epi32(bytes);
}

/// total[t] += the part's 32 elements of 16 rows times those of token t. kLow: whether low bytes count.
template <class Format, bool kLow, int T, class Shared>
MLA_INLINE void add_part(const Shared& format, const typename Format::Unit& unit, int p, const FixedBlock* const (&x)[T],
                         __m512 (&total)[T]) {
  __m512 part[T];
  each<Format::kScales>([&]<int h>() MLA_INLINE_LAMBDA {
    __m512i hi[T], lo[T];
    each<T>([&]<int t>() MLA_INLINE_LAMBDA {
      __m512i zero = _mm512_setzero_si512();
      if constexpr (Format::kZeroBits >= 0) {
        const int32_t minus = Format::kScales == 1 ? x[t]->minus_sum : x[t]->minus_half[h];
        zero = _mm512_slli_epi32(_mm512_set1_epi32(minus), Format::kZeroBits);
      }
      hi[t] = kLow ? _mm512_setzero_si512() : zero;
      lo[t] = zero;
    });
    constexpr int kQuads = 8 / Format::kScales;
    each<kQuads>([&]<int i>() MLA_INLINE_LAMBDA {
      constexpr int q = h * kQuads + i;
      const __m512i codes = Format::template code<q>(unit, p);
      each<T>([&]<int t>() MLA_INLINE_LAMBDA {
        hi[t] = _mm512_dpbusd_epi32(hi[t], codes, quad(x[t]->hi + 4 * q));
        if constexpr (kLow) lo[t] = _mm512_dpbusd_epi32(lo[t], codes, quad(x[t]->lo + 4 * q));
      });
    });
    const __m512 scale = Format::scale(format, unit, p, h);
    each<T>([&]<int t>() MLA_INLINE_LAMBDA {
      const __m512 sum = _mm512_cvtepi32_ps(kLow ? _mm512_add_epi32(_mm512_slli_epi32(hi[t], 8), lo[t]) : hi[t]);
      part[t] = h == 0 ? _mm512_mul_ps(sum, scale) : _mm512_fmadd_ps(sum, scale, part[t]);
      if (h == Format::kScales - 1) total[t] = _mm512_fmadd_ps(part[t], _mm512_set1_ps(x[t]->scale), total[t]);
    });
  });
  if constexpr (Format::kOffsets > 0) {
    each<Format::kOffsets>([&]<int h>() MLA_INLINE_LAMBDA {
      const __m512 offset = Format::offset(format, unit, p, h);
      each<T>([&]<int t>() MLA_INLINE_LAMBDA {
        const float sum = Format::kOffsets == 1 ? x[t]->sum : x[t]->half_sum[h];
        total[t] = _mm512_fmadd_ps(offset, _mm512_set1_ps(sum), total[t]);
      });
    });
  }
}

/// Rows row ... row + 15 times T tokens. Returns T.
template <class Format, bool kLow, int T>
int64_t group_tokens(const ProductArgs& a, int64_t row, int64_t first_token) {
  using Unit = typename Format::Unit;
  constexpr int kPartBytes = static_cast<int>(sizeof(Unit)) / Format::kParts;
  const auto* unit = reinterpret_cast<const Unit*>(a.weight.row(row));
  const FixedBlock* x[T];
  __m512 total[T];
  each<T>([&]<int t>() MLA_INLINE_LAMBDA {
    x[t] = a.fixed[first_token + t];
    total[t] = _mm512_setzero_ps();
  });
  for (int64_t k = 0; k < a.weight.n_in; k += Unit::kElements, ++unit) {
    const auto format = Format::begin(*unit);
    for (int p = 0; p < Format::kParts; ++p) {
      prefetch_part<kPartBytes, T>(reinterpret_cast<const char*>(unit) + p * kPartBytes);
      add_part<Format, kLow>(format, *unit, p, x, total);
      each<T>([&]<int t>() MLA_INLINE_LAMBDA { ++x[t]; });
    }
  }
  const int64_t n_rows = a.row_end - row;
  const auto mask = static_cast<__mmask16>(n_rows >= kGroupRows ? 0xffff : (1 << n_rows) - 1);
  const __m512 bias = a.bias != nullptr ? _mm512_maskz_loadu_ps(mask, a.bias + row) : _mm512_setzero_ps();
  each<T>([&]<int t>() MLA_INLINE_LAMBDA {
    _mm512_mask_storeu_ps(a.out + (first_token + t) * a.out_stride + row, mask, _mm512_add_ps(total[t], bias));
  });
  return T;
}

/// The first few of n tokens. One is left over only where it is the only one: alone it takes half as long again. Eight
/// tokens with two scales a part do not fit into the registers.
template <class Format, bool kLow>
int64_t some_tokens(const ProductArgs& a, int64_t row, int64_t first_token, int64_t n) {
  if constexpr (Format::kScales == 1 || !kLow) {
    if (n >= 8) return group_tokens<Format, kLow, 8>(a, row, first_token);
  }
  if (n == 4 || n >= 6) return group_tokens<Format, kLow, 4>(a, row, first_token);
  if (n >= 3) return group_tokens<Format, kLow, 3>(a, row, first_token);
  return n == 2 ? group_tokens<Format, kLow, 2>(a, row, first_token) : group_tokens<Format, kLow, 1>(a, row, first_token);
}

template <class Format, bool kLow>
void product(const ProductArgs& a) noexcept {
  for (int64_t chunk = 0; chunk < a.n_tokens; chunk += kTokenChunk) {
    const int64_t end = a.n_tokens - chunk < kTokenChunk ? a.n_tokens : chunk + kTokenChunk;
    for (int64_t row = a.row_begin; row < a.row_end; row += kGroupRows) {
      for (int64_t t = chunk; t < end;) t += some_tokens<Format, kLow>(a, row, t, end - t);
    }
  }
}

/// n activations, a multiple of 32.
template <bool kLow>
void fix(const float* x, int64_t n, FixedBlock* out) noexcept {
  constexpr float kLargest = kLow ? 32639.0F : 127.0F;  // 256 * 127 + 127: the high byte stays within a signed byte
  for (int64_t k = 0; k < n; k += kFixedElements, ++out) {
    const __m512 a = _mm512_loadu_ps(x + k), b = _mm512_loadu_ps(x + k + 16);
    const __m512 largest = _mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b));
    const float most = _mm512_reduce_max_ps(largest);
    const __m512 zero = _mm512_setzero_ps();  // x * 0 is NaN for infinities and NaN
    const float fault = _mm512_reduce_add_ps(_mm512_fmadd_ps(a, zero, _mm512_mul_ps(b, zero)));
    const bool any = most > 1e-30F && fault == 0.0F;
    const __m512 inverse = _mm512_set1_ps(any ? kLargest / most : 0.0F);
    const __m512i ia = any ? _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse)) : _mm512_setzero_si512();
    const __m512i ib = any ? _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse)) : _mm512_setzero_si512();
    const __m512i round = _mm512_set1_epi32(128);
    const __m512i ha = kLow ? _mm512_srai_epi32(_mm512_add_epi32(ia, round), 8) : ia;
    const __m512i hb = kLow ? _mm512_srai_epi32(_mm512_add_epi32(ib, round), 8) : ib;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out->hi), _mm512_cvtepi32_epi8(ha));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out->hi + 16), _mm512_cvtepi32_epi8(hb));
    if constexpr (kLow) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out->lo), _mm512_cvtepi32_epi8(_mm512_sub_epi32(ia, _mm512_slli_epi32(ha, 8))));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out->lo + 16), _mm512_cvtepi32_epi8(_mm512_sub_epi32(ib, _mm512_slli_epi32(hb, 8))));
    }
    out->minus_half[0] = -_mm512_reduce_add_epi32(ia);
    out->minus_half[1] = -_mm512_reduce_add_epi32(ib);
    out->minus_sum = out->minus_half[0] + out->minus_half[1];
    out->scale = fault == 0.0F ? (any ? most / kLargest : 0.0F) : std::numeric_limits<float>::quiet_NaN();
    out->sum = -out->scale * static_cast<float>(out->minus_sum);
    for (int h = 0; h < 2; ++h) out->half_sum[h] = -out->scale * static_cast<float>(out->minus_half[h]);
  }
}

template <bool kLow>
void fill(Kernels& kernels) {
  kernels.fix = fix<kLow>;
  const auto set = [&](DType dtype, auto product) { kernels.interleaved_product[static_cast<size_t>(dtype)] = product; };
  set(DType::kQ4_0, product<FormatQ4_0, kLow>);
  set(DType::kQ4_1, product<FormatQ4_1, kLow>);
  set(DType::kQ5_0, product<FormatQ5_0, kLow>);
  set(DType::kQ5_1, product<FormatQ5_1, kLow>);
  set(DType::kQ8_0, product<FormatQ8_0, kLow>);
  set(DType::kQ2_K, product<FormatQ2_K, kLow>);
  set(DType::kQ3_K, product<FormatQ3_K, kLow>);
  set(DType::kQ4_K, product<FormatQ4_K, kLow>);
  set(DType::kQ5_K, product<FormatQ5_K, kLow>);
  set(DType::kQ6_K, product<FormatQ6_K, kLow>);
  set(DType::kIQ4_NL, product<FormatIQ4_NL, kLow>);
  set(DType::kIQ4_XS, product<FormatIQ4_XS, kLow>);
}

}  // namespace

void fill_interleaved(Kernels& kernels) {
  fill<true>(kernels);
}

void fill_interleaved_8_bit(Kernels& kernels) {
  fill<false>(kernels);
}

}  // namespace mla::cpu::avx512vnni
