// BlockProduct on the matrix unit (TDPBF16PS): a tile of 16 x 16 sums takes 16 rows of 32 elements of the left side and 16
// pair rows of 16 columns of the right one, both as they lie. Registers: sums 0-3, left 4-5, right 6-7.

#include <immintrin.h>

#include <cstring>

#include "cpu/isa/inline.h"
#include "cpu/kernels.h"

namespace mla::cpu::amx {
namespace {

constexpr int64_t kTile = 16;  // rows

/// What LDTILECFG reads (Intel SDM, volume 1, section 18.4).
struct TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t n_rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

/// Makes the thread's left tiles and sums `n_rows` high. A thread keeps its configuration: most calls find what they want.
void configure(int64_t n_rows) {
  thread_local int64_t configured = 0;
  if (configured == n_rows) return;
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = 64;
    config.n_rows[tile] = static_cast<uint8_t>(tile < 6 ? n_rows : kTile);
  }
  __asm__ volatile("" : : "r"(&config) : "memory");  // GCC 12 takes the intrinsic to read only 8 bytes of it
  _tile_loadconfig(&config);
  configured = n_rows;
}

/// Fetches as many lines as keep a step of the products busy.
void fetch(Ahead& ahead) {
  for (int i = 0; i < 32 && ahead.bytes > 0; ++i, ahead.data += 64, ahead.bytes -= 64) {
    _mm_prefetch(reinterpret_cast<const char*>(ahead.data), _MM_HINT_T1);
  }
}

/// R tiles of rows (the last of the configured height) times N blocks of columns.
template <int R, int N>
void tiles(const BlockProduct& p, int64_t row, int64_t block, Ahead& ahead) {
  const uint16_t* a = p.a + row * p.a_stride;
  const uint16_t* b = p.b + block * p.b_block;
  float* c = p.c + row * p.c_stride + block * kBlockColumns;
  const int64_t a_bytes = p.a_stride * 2, c_bytes = p.c_stride * 4;
  constexpr int64_t kPairRow = 2 * kBlockColumns * 2;  // bytes
  if (p.accumulate) {
    _tile_loadd(0, c, c_bytes);
    if constexpr (N == 2) _tile_loadd(1, c + kBlockColumns, c_bytes);
    if constexpr (R == 2) _tile_loadd(2, c + kTile * p.c_stride, c_bytes);
    if constexpr (R == 2 && N == 2) _tile_loadd(3, c + kTile * p.c_stride + kBlockColumns, c_bytes);
  } else {
    _tile_zero(0);
    if constexpr (N == 2) _tile_zero(1);
    if constexpr (R == 2) _tile_zero(2);
    if constexpr (R == 2 && N == 2) _tile_zero(3);
  }
  for (int64_t k = 0; k < p.k; k += kDepthStep) {
    fetch(ahead);
    _tile_loadd(4, a + k, a_bytes);
    _tile_loadd(6, b + k * kBlockColumns, kPairRow);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (N == 2) {
      _tile_loadd(7, b + p.b_block + k * kBlockColumns, kPairRow);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (R == 2) {
      _tile_loadd(5, a + kTile * p.a_stride + k, a_bytes);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (R == 2 && N == 2) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (N == 2) _tile_stored(1, c + kBlockColumns, c_bytes);
  if constexpr (R == 2) _tile_stored(2, c + kTile * p.c_stride, c_bytes);
  if constexpr (R == 2 && N == 2) _tile_stored(3, c + kTile * p.c_stride + kBlockColumns, c_bytes);
}

template <int R>
void rows(const BlockProduct& p, int64_t row, Ahead& ahead) {
  const int64_t blocks = p.n / kBlockColumns;
  int64_t j = 0;
  for (; j + 2 <= blocks; j += 2) tiles<R, 2>(p, row, j, ahead);
  if (j < blocks) tiles<R, 1>(p, row, j, ahead);
}

void block_product(const BlockProduct& p) noexcept {
  Ahead ahead = p.ahead;
  int64_t row = 0;
  if (p.m >= kTile) configure(kTile);
  for (; row + 2 * kTile <= p.m; row += 2 * kTile) rows<2>(p, row, ahead);
  for (; row + kTile <= p.m; row += kTile) rows<1>(p, row, ahead);
  if (row == p.m) return;
  configure(p.m - row);
  rows<1>(p, row, ahead);
}

}  // namespace

void fill_block_product(Kernels& kernels) { kernels.block_product = block_product; }

}  // namespace mla::cpu::amx
