// BlockProduct through VDPBF16PS: a register holds the sums of 16 columns, and every pair of the left side is broadcast to it.

#define MLA_CPU_ISA avx512bf16
#define MLA_CPU_SIMD "cpu/isa/simd_avx512.h"
#include "cpu/isa/bf16_tiles.h"

namespace mla::cpu::avx512bf16 {
namespace {

/// M rows times N blocks of columns. Fetches a line of `ahead` with every pair of summed elements.
template <int M, int N>
MLA_INLINE void block(const BlockProduct& p, int64_t row, int64_t block_index, Ahead& ahead) {
  const uint16_t* a = p.a + row * p.a_stride;
  const uint16_t* b = p.b + block_index * p.b_block;
  float* c = p.c + row * p.c_stride + block_index * kBlockColumns;
  __m512 sums[M][N];
  each<M>([&]<int m>() MLA_INLINE_LAMBDA {
    each<N>([&]<int j>() MLA_INLINE_LAMBDA {
      sums[m][j] = p.accumulate ? load(c + m * p.c_stride + j * kBlockColumns) : zero();
    });
  });
  for (int64_t k = 0; k < p.k; k += 2) {
    if (ahead.bytes > 0) {
      prefetch(ahead.data);
      ahead.data += 64;
      ahead.bytes -= 64;
    }
    __m512bh columns[N];
    each<N>([&]<int j>() MLA_INLINE_LAMBDA {
      columns[j] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + j * p.b_block + k * kBlockColumns));
    });
    each<M>([&]<int m>() MLA_INLINE_LAMBDA {
      int32_t pair;
      std::memcpy(&pair, a + m * p.a_stride + k, sizeof(pair));
      const auto both = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      each<N>([&]<int j>() MLA_INLINE_LAMBDA { sums[m][j] = _mm512_dpbf16_ps(sums[m][j], both, columns[j]); });
    });
  }
  each<M>([&]<int m>() MLA_INLINE_LAMBDA {
    each<N>([&]<int j>() MLA_INLINE_LAMBDA { store(c + m * p.c_stride + j * kBlockColumns, sums[m][j]); });
  });
}

template <int N>
void columns(const BlockProduct& p, int64_t block_index, Ahead& ahead) {
  constexpr int kRows = 16 / N;
  int64_t row = 0;
  for (; row + kRows <= p.m; row += kRows) block<kRows, N>(p, row, block_index, ahead);
  for (; row + 4 <= p.m; row += 4) block<4, N>(p, row, block_index, ahead);
  for (; row < p.m; ++row) block<1, N>(p, row, block_index, ahead);
}

void block_product(const BlockProduct& p) noexcept {
  const int64_t blocks = p.n / kBlockColumns;
  Ahead ahead = p.ahead;
  int64_t j = 0;
  for (; j + 2 <= blocks; j += 2) columns<2>(p, j, ahead);
  if (j < blocks) columns<1>(p, j, ahead);
}

}  // namespace

void fill_block_product(Kernels& kernels) { kernels.block_product = block_product; }

}  // namespace mla::cpu::avx512bf16
