#include "cli/machine.h"

#include <fmt/format.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cli/terminal.h"
#include "cpu/kernels.h"

namespace mla::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

/// Sum of n words, so that the reads cannot be left out.
__attribute__((target("avx2"))) uint64_t read_avx2(const uint64_t* words, size_t n) {
  __m256i sum[4] = {};
  for (size_t i = 0; i + 16 <= n; i += 16) {
    for (int k = 0; k < 4; ++k) {
      sum[k] = _mm256_add_epi64(sum[k], _mm256_load_si256(reinterpret_cast<const __m256i*>(words + i) + k));
    }
  }
  const __m256i all = _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3]));
  return static_cast<uint64_t>(_mm256_extract_epi64(all, 0)) + static_cast<uint64_t>(_mm256_extract_epi64(all, 3));
}

uint64_t read_scalar(const uint64_t* words, size_t n) {
  uint64_t sum = 0;
  for (size_t i = 0; i < n; ++i) sum += words[i];
  return sum;
}

constexpr int64_t kRounds = 4'000'000;  // of 12 accumulators each: long enough to hide the loop's start
constexpr int kAccumulators = 12;       // covers a latency of 4-6 cycles on two pipes

__attribute__((target("avx512f"))) float multiply_add_avx512(int64_t rounds) {
  __m512 a[kAccumulators];
  for (int k = 0; k < kAccumulators; ++k) a[k] = _mm512_set1_ps(static_cast<float>(k));
  const __m512 x = _mm512_set1_ps(0.999F), y = _mm512_set1_ps(1e-3F);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int k = 0; k < kAccumulators; ++k) a[k] = _mm512_fmadd_ps(a[k], x, y);
  }
  float sum = 0.0F;
  for (int k = 0; k < kAccumulators; ++k) sum += _mm512_cvtss_f32(a[k]);
  return sum;
}

__attribute__((target("avx2,fma"))) float multiply_add_avx2(int64_t rounds) {
  __m256 a[kAccumulators];
  for (int k = 0; k < kAccumulators; ++k) a[k] = _mm256_set1_ps(static_cast<float>(k));
  const __m256 x = _mm256_set1_ps(0.999F), y = _mm256_set1_ps(1e-3F);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int k = 0; k < kAccumulators; ++k) a[k] = _mm256_fmadd_ps(a[k], x, y);
  }
  float sum = 0.0F;
  for (int k = 0; k < kAccumulators; ++k) sum += _mm256_cvtss_f32(a[k]);
  return sum;
}

float multiply_add_scalar(int64_t rounds) {
  float a[kAccumulators];
  for (int k = 0; k < kAccumulators; ++k) a[k] = static_cast<float>(k);
  for (int64_t r = 0; r < rounds; ++r) {
    for (float& v : a) v = v * 0.999F + 1e-3F;
  }
  float sum = 0.0F;
  for (float v : a) sum += v;
  return sum;
}

double measure_bandwidth(ThreadPool& pool, bool avx2) {
  // 96 MiB are beyond one core's share of any cache. Hundreds of threads share 4 GiB, which is beyond all caches too.
  const size_t n_bytes = std::min(size_t{96} << 20, (size_t{4} << 30) / static_cast<size_t>(pool.size())) / 128 * 128;
  std::vector<std::unique_ptr<uint64_t, decltype(&std::free)>> buffers;
  for (int t = 0; t < pool.size(); ++t) {
    buffers.emplace_back(static_cast<uint64_t*>(std::aligned_alloc(64, n_bytes)), &std::free);
    if (!buffers.back()) return 0.0;
  }
  std::vector<uint64_t> sums(static_cast<size_t>(pool.size()));
  pool.run([&](int t) { std::memset(buffers[static_cast<size_t>(t)].get(), 1, n_bytes); });
  double best = 0.0;
  for (int repeat = 0; repeat < 4; ++repeat) {
    const Clock::time_point begin = Clock::now();
    pool.run([&](int t) {
      const uint64_t* words = buffers[static_cast<size_t>(t)].get();
      sums[static_cast<size_t>(t)] += avx2 ? read_avx2(words, n_bytes / 8) : read_scalar(words, n_bytes / 8);
    });
    best = std::max(best, static_cast<double>(pool.size()) * static_cast<double>(n_bytes) / since(begin));
  }
  volatile uint64_t keep = 0;
  for (uint64_t s : sums) keep = keep + s;
  return best;
}

double measure_flops(ThreadPool& pool, Isa isa) {
  const double lanes = isa >= Isa::kAvx512 ? 16.0 : isa == Isa::kAvx2 ? 8.0 : 1.0;
  std::vector<float> sums(static_cast<size_t>(pool.size()));
  double best = 0.0;
  for (int repeat = 0; repeat < 4; ++repeat) {
    const Clock::time_point begin = Clock::now();
    pool.run([&](int t) {
      float& sum = sums[static_cast<size_t>(t)];
      sum = isa >= Isa::kAvx512 ? multiply_add_avx512(kRounds) : isa == Isa::kAvx2 ? multiply_add_avx2(kRounds) : multiply_add_scalar(kRounds);
    });
    best = std::max(best, 2.0 * lanes * kAccumulators * static_cast<double>(kRounds) * pool.size() / since(begin));
  }
  volatile float keep = 0.0F;
  for (float s : sums) keep = keep + s;
  return best;
}

/// The product that attention and, on the matrix unit, everything else is made of, with operands that stay in the first cache.
double measure_bf16(ThreadPool& pool, Isa isa) {
  const auto block_product = cpu::kernels_for(isa).block_product;
  if (block_product == nullptr) return 0.0;
  constexpr int64_t kRows = 32, kDepth = 128, kCalls = 10'000;
  double best = 0.0;
  for (int repeat = 0; repeat < 4; ++repeat) {
    const Clock::time_point begin = Clock::now();
    pool.run([&](int) {
      alignas(64) uint16_t a[kRows * kDepth] = {}, b[kRows * kDepth] = {};
      alignas(64) float c[kRows * kRows] = {};
      const cpu::BlockProduct product{.a = a, .a_stride = kDepth, .b = b, .b_block = kDepth * cpu::kBlockColumns, .c = c,
                                      .c_stride = kRows, .m = kRows, .n = kRows, .k = kDepth};
      for (int64_t i = 0; i < kCalls; ++i) block_product(product);
    });
    best = std::max(best, 2.0 * kRows * kRows * kDepth * static_cast<double>(kCalls) * pool.size() / since(begin));
  }
  return best;
}

fs::path memory_file() {
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  if (xdg != nullptr && *xdg != '\0') return fs::path(xdg) / "mla" / "read-bandwidth";
  const char* home = std::getenv("HOME");
  return home != nullptr && *home != '\0' ? fs::path(home) / ".cache" / "mla" / "read-bandwidth" : fs::path();
}

}  // namespace

MachineLimits measure_limits(Isa isa, int n_threads) {
  const Clock::time_point begin = Clock::now();
  ThreadPool pool(n_threads);
  MachineLimits limits;
  limits.read_bytes_per_second = measure_bandwidth(pool, cpu_features().avx2);
  limits.f32_flop_per_second = measure_flops(pool, isa);
  limits.bf16_flop_per_second = measure_bf16(pool, isa);
  limits.seconds = since(begin);
  return limits;
}

std::string limits_text(const MachineLimits& limits) {
  std::string text = fmt::format("reads {} GB/s, f32 {} GFLOP/s", short_number(limits.read_bytes_per_second / 1e9),
                                 short_number(limits.f32_flop_per_second / 1e9));
  if (limits.bf16_flop_per_second > 0.0) text += fmt::format(", bf16 {} GFLOP/s", short_number(limits.bf16_flop_per_second / 1e9));
  return text;
}

double remembered_bandwidth() {
  std::ifstream file(memory_file());
  std::string model;
  double bandwidth = 0.0;
  return std::getline(file, model) && model == cpu_features().model && file >> bandwidth ? bandwidth : 0.0;
}

void remember_bandwidth(double bytes_per_second) {
  const fs::path path = memory_file();
  if (path.empty()) return;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (!error) std::ofstream(path) << cpu_features().model << "\n" << bytes_per_second << "\n";
}

}  // namespace mla::cli
