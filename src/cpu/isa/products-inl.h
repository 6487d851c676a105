// x W^T for weights that stay in their file's format. Compiled once per instruction set; see Kernels in
// cpu/kernels.h.
//
// Few tokens ("thin"): every weight is decoded in registers and multiplied at once; bound by the bytes read.
// Many tokens ("panel"): kPanelRows x kPanelDepth weights are decoded to f32 into the L2 cache, then all
// tokens pass over them in register blocks (tile-inl.h); bound by multiply-adds. Both sum in f32 with kLanes
// or more partial sums: error about sqrt(n_in) * 2^-24 of the sum of magnitudes.
//
// Measured on one Zen 4 core with AVX-512, 2048 x 2048. One token, GB/s of weights from memory that gives the core 30: F32, F16
// and BF16 20-28 from huge pages (BF16 16 from small ones, as a mapped file has them), FP8 13.6, Q4_0 10, Q8_0 12.6, Q4_K 8.4.
// Four tokens: BF16 109 GFLOP/s, FP8 71, Q4_0 52. 256 tokens: 95-105 GFLOP/s whatever the type, of 118 that the core's
// multiply-adds reach.

#include <type_traits>

#include "cpu/isa/formats-inl.h"
#include "cpu/isa/tile-inl.h"

namespace mla::cpu::MLA_CPU_ISA {

/// How far ahead of a thin product its weights are fetched, about.
inline constexpr int64_t kPrefetchBytes = 4096;

/// Partial-sum registers of one (row, token) pair.
constexpr int sum_registers(int n_rows, int n_tokens) {
  if (n_rows * n_tokens >= 16) return 1;
  return kLanes == 16 ? 2 : n_tokens == 1 ? 4 : n_tokens == 2 ? 2 : 1;
}

/// FP8's factor for the 32 elements of row `row` from element k on; 1 where there are none.
MLA_INLINE float factor_at(const WeightMatrix& w, int64_t row, int64_t k) {
  return w.block_scale == nullptr ? 1.0F
                                  : w.block_scale[row / w.scale_block * w.scale_stride + k / w.scale_block];
}
/// Where the elements that share k's factor end.
MLA_INLINE int64_t factor_end(const WeightMatrix& w, int64_t k) {
  if (w.block_scale == nullptr) return w.n_in;
  const int64_t end = (k / w.scale_block + 1) * w.scale_block;
  return end < w.n_in ? end : w.n_in;
}
template <class Format>
MLA_INLINE void apply_factor(const WeightMatrix& weight, int64_t row, int64_t k, F32* w) {
  if constexpr (std::is_same_v<Format, FormatF8E4M3>) {
    const F32 factor = set1(factor_at(weight, row, k));
    each<kVectors>([&]<int j>() MLA_INLINE_LAMBDA { w[j] = mul(mul(w[j], set1(kF8Unit)), factor); });
  }
}

/// Plain types may have rows of any length; block formats have whole blocks.
template <class Format>
constexpr bool is_plain() {
  return Format::kBytes % 32 == 0 && Format::kSize == 32;
}

/// Weight rows multiplied side by side. Plain types take little decoding: one or two tokens read one row after the other, a single
/// stream that the hardware fetches ahead; four tokens are bound by multiply-adds and share what is loaded of them.
template <class Format>
constexpr int thin_rows_of(int n_tokens) {
  if (!is_plain<Format>()) return kThinRows;
  return n_tokens <= 2 ? 1 : kLanes == 16 ? 4 : kThinRows;
}

/// Elements k ... n_in - 1 of a row of a plain type, fewer than 32, as f32 (with zeros behind them).
template <class Format>
static void decode_tail(const WeightMatrix& weight, int64_t row, int64_t k, float* out) {
  uint8_t padded[Format::kBytes] = {};
  std::memcpy(padded, weight.row(row) + k * (Format::kBytes / 32),
              static_cast<size_t>((weight.n_in - k) * (Format::kBytes / 32)));
  F32 w[kVectors];
  Format::decode(padded, {}, 0, w);
  apply_factor<Format>(weight, row, k, w);
  each<kVectors>([&]<int j>() MLA_INLINE_LAMBDA { store(out + j * kLanes, w[j]); });
}
template <class Format>
static float tail_product(const WeightMatrix& weight, int64_t row, int64_t k, const float* x) {
  if (k == weight.n_in) return 0.0F;
  float w[32];
  decode_tail<Format>(weight, row, k, w);
  float total = 0.0F;
  for (int64_t i = k; i < weight.n_in; ++i) total += w[i - k] * x[i];
  return total;
}

template <class Format, int T, int R>
struct ThinSums {
  static constexpr int kRegisters = sum_registers(R, T);
  F32 v[R][T][kRegisters];

  MLA_INLINE void clear(ThinSums& s) {
    each<R * T * kRegisters>([&]<int i>() MLA_INLINE_LAMBDA {
      s.v[i / (T * kRegisters)][i / kRegisters % T][i % kRegisters] = zero();
    });
  }

  /// Adds the sums of an FP8 factor's elements, times the factor of each row.
  MLA_INLINE void add_scaled(ThinSums& s, const ThinSums& sums, const float (&factor)[R]) {
    each<R * T * kRegisters>([&]<int i>() MLA_INLINE_LAMBDA {
      constexpr int r = i / (T * kRegisters), t = i / kRegisters % T, j = i % kRegisters;
      s.v[r][t][j] = fma(mul(sums.v[r][t][j], set1(kF8Unit)), set1(factor[r]), s.v[r][t][j]);
    });
  }

  /// Adds the products of 32 decoded weights of each row.
  MLA_INLINE void add_products(ThinSums& s, const F32 (&w)[R][kVectors], const float* const* x, int64_t k) {
    each<T>([&]<int t>() MLA_INLINE_LAMBDA {
      each<kVectors>([&]<int j>() MLA_INLINE_LAMBDA {
        const F32 token = load(x[t] + k + j * kLanes);
        each<R>([&]<int r>() MLA_INLINE_LAMBDA {
          F32& sum = s.v[r][t][j % kRegisters];
          sum = fma(w[r][j], token, sum);
        });
      });
    });
  }
};

/// One block of R rows, `p` its bytes; x at element k.
template <class Format, int T, int R>
MLA_INLINE void thin_block(ThinSums<Format, T, R>& sums, const uint8_t* const (&p)[R], const float* const* x,
                           int64_t k) {
  typename Format::Header header[R];
  each<R>([&]<int r>() MLA_INLINE_LAMBDA { header[r] = Format::header(p[r]); });
  const auto part = [&](int s) MLA_INLINE_LAMBDA {
    F32 w[R][kVectors];
    each<R>([&]<int r>() MLA_INLINE_LAMBDA { Format::decode(p[r], header[r], s, w[r]); });
    ThinSums<Format, T, R>::add_products(sums, w, x, k + 32 * s);
  };
  if constexpr (Format::kSize == 32) {
    part(0);
  } else {
    for (int pair = 0; pair < Format::kSize / 64; ++pair) {  // two at a time: decoders tell even from odd
      part(2 * pair);
      part(2 * pair + 1);
    }
  }
}

/// All whole blocks of R rows from element k up to `end`; moves p and k past them.
template <class Format, int T, int R>
MLA_INLINE void thin_blocks(ThinSums<Format, T, R>& sums, const WeightMatrix& weight, const uint8_t* (&p)[R],
                            const float* const* x, int64_t& k, int64_t end) {
  // R rows make R streams, each of which jumps over the others' rows: that defeats the hardware's prefetcher.
  const int64_t group_bytes = R * weight.row_bytes;
  const int64_t ahead = (kPrefetchBytes + group_bytes - 1) / group_bytes * group_bytes;
  for (; k + Format::kSize <= end; k += Format::kSize) {
    each<R>([&]<int r>() MLA_INLINE_LAMBDA {
      MLA_UNROLL for (int at = 0; at < Format::kBytes; at += 64) prefetch(p[r] + ahead + at);
    });
    thin_block<Format, T, R>(sums, p, x, k);
    each<R>([&]<int r>() MLA_INLINE_LAMBDA { p[r] += Format::kBytes; });
  }
}

/// R weight rows times T tokens. Past the last row of the matrix it works on that row again and drops the
/// result.
template <class Format, int T, int R>
MLA_INLINE void thin_rows(const ProductArgs& a, int64_t row) {
  const int64_t n_in = a.weight.n_in;
  ThinSums<Format, T, R> sums;
  ThinSums<Format, T, R>::clear(sums);
  const uint8_t* p[R];
  const float* x[T];
  each<R>([&]<int r>() MLA_INLINE_LAMBDA { p[r] = a.weight.row(row + r < a.row_end ? row + r : row); });
  each<T>([&]<int t>() MLA_INLINE_LAMBDA { x[t] = a.x[t]; });
  int64_t k = 0;
  if constexpr (std::is_same_v<Format, FormatF8E4M3>) {
    ThinSums<Format, T, R> part;  // of the elements that share a factor
    while (k + Format::kSize <= n_in) {
      float factor[R];
      each<R>([&]<int r>() MLA_INLINE_LAMBDA { factor[r] = factor_at(a.weight, row + r < a.row_end ? row + r : row, k); });
      ThinSums<Format, T, R>::clear(part);
      thin_blocks(part, a.weight, p, x, k, factor_end(a.weight, k));
      ThinSums<Format, T, R>::add_scaled(sums, part, factor);
    }
  } else {
    thin_blocks(sums, a.weight, p, x, k, n_in);
  }
  each<R>([&]<int r>() MLA_INLINE_LAMBDA {
    if (row + r >= a.row_end) return;
    const float bias = a.bias != nullptr ? a.bias[row + r] : 0.0F;
    each<T>([&]<int t>() MLA_INLINE_LAMBDA {
      F32 total = sums.v[r][t][0];
      for (int j = 1; j < sum_registers(R, T); ++j) total = add(total, sums.v[r][t][j]);
      float rest = 0.0F;
      if constexpr (is_plain<Format>()) rest = tail_product<Format>(a.weight, row + r, k, a.x[t]);
      a.out[t * a.out_stride + row + r] = sum(total) + rest + bias;
    });
  });
}

template <class Format, int T>
static void thin_tokens(ProductArgs& a) {
  constexpr int kRows = thin_rows_of<Format>(T);
  for (int64_t row = a.row_begin; row < a.row_end; row += kRows) thin_rows<Format, T, kRows>(a, row);
  a.x += T;
  a.out += T * a.out_stride;
  a.n_tokens -= T;
}

template <class Format>
static void thin_product(const ProductArgs& a) noexcept {
  ProductArgs rest = a;
  if constexpr (kThinBlock >= 4) {
    while (rest.n_tokens >= 4) thin_tokens<Format, 4>(rest);
    while (rest.n_tokens >= 2) thin_tokens<Format, 2>(rest);
  }
  while (rest.n_tokens >= 1) thin_tokens<Format, 1>(rest);
}

/// Elements [k, k + n) of a row as f32; k a multiple of the block size, and n too but at the end of a row.
template <class Format>
static void decode_elements(const WeightMatrix& weight, int64_t row, int64_t k, int64_t n, float* out) {
  const uint8_t* p = weight.row(row) + k / Format::kSize * Format::kBytes;
  const auto block = [&](const uint8_t* bytes, int64_t at, float* to) MLA_INLINE_LAMBDA {
    const typename Format::Header header = Format::header(bytes);
    const auto part = [&](int s) MLA_INLINE_LAMBDA {
      F32 w[kVectors];
      Format::decode(bytes, header, s, w);
      apply_factor<Format>(weight, row, k + at, w);
      each<kVectors>([&]<int j>() MLA_INLINE_LAMBDA { store(to + 32 * s + j * kLanes, w[j]); });
    };
    if constexpr (Format::kSize == 32) {
      part(0);
    } else {
      for (int pair = 0; pair < Format::kSize / 64; ++pair) {
        part(2 * pair);
        part(2 * pair + 1);
      }
    }
  };
  int64_t i = 0;
  for (; i + Format::kSize <= n; i += Format::kSize, p += Format::kBytes) block(p, i, out + i);
  if constexpr (is_plain<Format>()) {
    if (i == n) return;
    float last[32];
    decode_tail<Format>(weight, row, k + i, last);
    std::memcpy(out + i, last, static_cast<size_t>(n - i) * sizeof(float));
  }
}

template <class Format>
static void decode_row(const WeightMatrix& weight, int64_t row, float* out) noexcept {
  decode_elements<Format>(weight, row, 0, weight.n_in, out);
}

/// Blocks of the panel's depth outermost: a block of tokens then stays in the nearer caches for all rows of
/// the panel.
template <class Format>
static void panel_product(const ProductArgs& a) noexcept {
  const int64_t n_in = a.weight.n_in;
  for (int64_t first = a.row_begin; first < a.row_end; first += kPanelRows) {
    const int64_t n_rows = a.row_end - first < kPanelRows ? a.row_end - first : kPanelRows;
    for (int64_t k = 0; k < n_in; k += kPanelDepth) {
      const int64_t depth = n_in - k < kPanelDepth ? n_in - k : kPanelDepth;
      for (int64_t r = 0; r < n_rows; ++r)
        decode_elements<Format>(a.weight, first + r, k, depth, a.panel + r * kPanelDepth);
      for (int64_t t = 0; t < a.n_tokens; t += kTileTokens) {
        const float* x[kTileTokens];
        const int64_t n = a.n_tokens - t < kTileTokens ? a.n_tokens - t : kTileTokens;
        for (int64_t m = 0; m < n; ++m) x[m] = a.x[t + m] + k;
        dot_tile(x, n, a.panel, n_rows, kPanelDepth, depth, k > 0, a.out + t * a.out_stride + first,
                 a.out_stride);
      }
    }
    if (a.bias == nullptr) continue;
    for (int64_t t = 0; t < a.n_tokens; ++t) {
      for (int64_t r = first; r < first + n_rows; ++r) a.out[t * a.out_stride + r] += a.bias[r];
    }
  }
}

template <class Format>
static void fill_format(Kernels& kernels, DType dtype) {
  kernels.thin_product[static_cast<int>(dtype)] = thin_product<Format>;
  kernels.panel_product[static_cast<int>(dtype)] = panel_product<Format>;
  kernels.decode_row[static_cast<int>(dtype)] = decode_row<Format>;
}

void fill_products(Kernels& kernels) {
  fill_format<FormatF32>(kernels, DType::kF32);
  fill_format<FormatF16>(kernels, DType::kF16);
  fill_format<FormatBF16>(kernels, DType::kBF16);
  fill_format<FormatF8E4M3>(kernels, DType::kF8E4M3);
  fill_format<FormatQ4_0>(kernels, DType::kQ4_0);
  fill_format<FormatQ4_1>(kernels, DType::kQ4_1);
  fill_format<FormatQ5_0>(kernels, DType::kQ5_0);
  fill_format<FormatQ5_1>(kernels, DType::kQ5_1);
  fill_format<FormatQ8_0>(kernels, DType::kQ8_0);
  fill_format<FormatQ2_K>(kernels, DType::kQ2_K);
  fill_format<FormatQ3_K>(kernels, DType::kQ3_K);
  fill_format<FormatQ4_K>(kernels, DType::kQ4_K);
  fill_format<FormatQ5_K>(kernels, DType::kQ5_K);
  fill_format<FormatQ6_K>(kernels, DType::kQ6_K);
  fill_format<FormatIQ4_NL>(kernels, DType::kIQ4_NL);
  fill_format<FormatIQ4_XS>(kernels, DType::kIQ4_XS);
}

}  // namespace mla::cpu::MLA_CPU_ISA
