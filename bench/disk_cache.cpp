// How fast the disk cache brings pages back, against reading the same files plainly, and how long store() holds its caller
// up. Pages are as large as DeepSeek-V2-Lite's in bf16. Usage: bench_disk_cache FOLDER (new or empty; it is wiped at the end).

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "cache/disk/disk_cache.h"
#include "cache/disk/maintenance.h"

namespace {
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using mla::kPageRows;

constexpr int64_t kLayers = 27, kRowBytes = 2 * (512 + 64);
constexpr size_t kPageBytes = static_cast<size_t>(kLayers * kPageRows * kRowBytes);
constexpr size_t kPages = 128, kChunkPages = 8;  ///< 8,192 tokens in chunks of 512
constexpr int kRounds = 5;

double seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }
double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// fn(descriptor) of every run.
void each_run(const fs::path& folder, const std::function<void(int)>& fn) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".run") continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY);
    fn(fd);
    ::close(fd);
  }
}

/// The next reader gets the runs from the disk and not from the system's memory.
void forget(const fs::path& folder) {
  each_run(folder, [](int fd) {
    ::fsync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  });
}

double read_plainly(const fs::path& folder, std::vector<std::byte>& memory) {
  const auto start = Clock::now();
  size_t total = 0;
  each_run(folder, [&](int fd) {
    for (;;) {
      const ssize_t got = ::read(fd, memory.data() + total, std::min<size_t>(size_t{8} << 20, memory.size() - total));
      if (got <= 0) return;
      total += static_cast<size_t>(got);
    }
  });
  return static_cast<double>(total) / seconds(start);
}

int run(const fs::path& folder) {
  const mla::CacheIdentity identity{.text = "bench", .label = "bench", .n_layers = kLayers, .row_bytes = kRowBytes};
  auto opened = mla::DiskCache::open({.folder = folder}, identity);
  if (!opened.ok()) {
    fmt::print(stderr, "{}\n", opened.error().message);
    return 1;
  }
  mla::DiskCache& cache = **opened;
  std::vector<std::byte> memory(kPages * (kPageBytes + 4096) + (size_t{1} << 20));
  for (size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<std::byte>(i * 2654435761u >> 13);
  std::vector<int32_t> tokens(kPages * kPageRows);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 31 % 100'000);
  std::vector<std::byte*> pages;
  for (size_t i = 0; i < kPages; ++i) pages.push_back(memory.data() + i * kPageBytes);

  std::vector<double> stalls;
  const auto start = Clock::now();
  for (size_t n = kChunkPages; n <= kPages; n += kChunkPages) {
    const std::vector<const std::byte*> known(pages.begin(), pages.begin() + static_cast<std::ptrdiff_t>(n));
    const auto before = Clock::now();
    cache.store("", std::span(tokens).first(n * kPageRows), known);
    stalls.push_back(seconds(before) * 1e3);
    cache.wait_until_idle();
  }
  const double total = static_cast<double>(kPages * kPageBytes);
  fmt::print("store of {} pages ({:.1f} MB): median {:.2f} ms, worst {:.2f} ms; written at {:.0f} MB/s\n", kChunkPages,
             static_cast<double>(kChunkPages * kPageBytes) / 1e6, median(stalls), *std::max_element(stalls.begin(), stalls.end()),
             total / seconds(start) / 1e6);

  for (const bool cold : {true, false}) {
    std::vector<double> plain, loaded;
    for (int round = 0; round < kRounds; ++round) {
      if (cold) forget(folder);
      plain.push_back(read_plainly(folder, memory) / 1e6);
      if (cold) forget(folder);
      const auto before = Clock::now();
      const auto load = cache.load("", tokens, 0, pages);
      while (!load->done()) load->wait(std::chrono::milliseconds(1000));
      if (load->n_loaded() != static_cast<int64_t>(kPages)) return 1;
      loaded.push_back(total / seconds(before) / 1e6);
    }
    fmt::print("{}: plain read {:.0f} MB/s ({:.0f} to {:.0f}), load {:.0f} MB/s ({:.0f} to {:.0f})\n",
               cold ? "from the disk" : "from the system's memory", median(plain), *std::min_element(plain.begin(), plain.end()),
               *std::max_element(plain.begin(), plain.end()), median(loaded), *std::min_element(loaded.begin(), loaded.end()),
               *std::max_element(loaded.begin(), loaded.end()));
  }
  opened->reset();
  return mla::disk::wipe(folder).ok() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: bench_disk_cache FOLDER\n");
    return 2;
  }
  return run(argv[1]);
}
