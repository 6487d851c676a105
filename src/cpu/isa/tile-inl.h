// The register block that every product of many rows with many rows is made of. Includes the primitives that
// MLA_CPU_SIMD names.

#pragma once

#include MLA_CPU_SIMD

namespace mla::cpu::MLA_CPU_ISA {

/// out[m][i] (+)= x[m] . w[i] over n elements, for M rows of x and N rows of w (N = 4 or 1). Both sides lie
/// along the summed dimension, so neither needs packing; every sum has a register of kLanes partial sums. The
/// order of additions depends on n alone: an element is the same whichever block it falls into.
template <int M, int N>
MLA_INLINE void dot_block(const float* const* x, const float* w, int64_t w_stride, int64_t n, bool accumulate,
                          float* out, int64_t out_stride) {
  F32 sums[M][N];
  each<M>([&]<int m>()
              MLA_INLINE_LAMBDA { each<N>([&]<int i>() MLA_INLINE_LAMBDA { sums[m][i] = zero(); }); });
  const auto step = [&](auto load_part, int64_t k) MLA_INLINE_LAMBDA {
    F32 weights[N];
    each<N>([&]<int i>() MLA_INLINE_LAMBDA { weights[i] = load_part(w + i * w_stride + k); });
    each<M>([&]<int m>() MLA_INLINE_LAMBDA {
      const F32 token = load_part(x[m] + k);
      each<N>([&]<int i>() MLA_INLINE_LAMBDA { sums[m][i] = fma(token, weights[i], sums[m][i]); });
    });
  };
  int64_t k = 0;
  for (; k + kLanes <= n; k += kLanes) step([](const float* p) MLA_INLINE_LAMBDA { return load(p); }, k);
  if (k < n) step([&](const float* p) MLA_INLINE_LAMBDA { return load_n(p, n - k); }, k);

  each<M>([&]<int m>() MLA_INLINE_LAMBDA {
    float* o = out + m * out_stride;
    float totals[N];
    if constexpr (N == 4) {
      store_sums(totals, sums[m][0], sums[m][1], sums[m][2], sums[m][3]);
    } else {
      totals[0] = sum(sums[m][0]);
    }
    for (int i = 0; i < N; ++i) o[i] = accumulate ? o[i] + totals[i] : totals[i];
  });
}

/// dot_block for a number of rows of x known at run time, 1 ... kTileTokens.
template <int N>
MLA_INLINE void dot_block_of(int64_t m, const float* const* x, const float* w, int64_t w_stride, int64_t n,
                             bool accumulate, float* out, int64_t out_stride) {
  each<kTileTokens>([&]<int i>() MLA_INLINE_LAMBDA {
    if (m == i + 1) dot_block<i + 1, N>(x, w, w_stride, n, accumulate, out, out_stride);
  });
}

/// out[m][i] (+)= x[m] . w[i] for all m < n_x, i < n_w.
static void dot_tile(const float* const* x, int64_t n_x, const float* w, int64_t n_w, int64_t w_stride,
                     int64_t n, bool accumulate, float* out, int64_t out_stride) {
  for (int64_t m = 0; m < n_x; m += kTileTokens) {
    const int64_t rows = n_x - m < kTileTokens ? n_x - m : kTileTokens;
    float* o = out + m * out_stride;
    int64_t i = 0;
    for (; i + 4 <= n_w; i += 4)
      dot_block_of<4>(rows, x + m, w + i * w_stride, w_stride, n, accumulate, o + i, out_stride);
    for (; i < n_w; ++i)
      dot_block_of<1>(rows, x + m, w + i * w_stride, w_stride, n, accumulate, o + i, out_stride);
  }
}

}  // namespace mla::cpu::MLA_CPU_ISA
