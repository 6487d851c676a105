// The disk cache under kill -9 and beside other processes.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "cache/disk/disk_cache.h"
#include "cache/disk/maintenance.h"
#include "support/paths.h"
#include "support/prefix_chains.h"
#include "support/random.h"

namespace mla {
namespace {
namespace fs = std::filesystem;
using namespace test;

constexpr uint32_t kChains = 24;
constexpr int64_t kMaxPages = 9;
constexpr uint64_t kBudget = 200'000;  ///< some thirty runs: less than all chains take

DiskCacheOptions crash_options(const fs::path& folder, Random& random) {
  constexpr CacheSync kPolicies[] = {CacheSync::kNone, CacheSync::kEntry, CacheSync::kInterval};
  return {.folder = folder, .budget_bytes = kBudget, .sync = kPolicies[random.integer(0, 2)], .max_run_bytes = 3 * kSmallPageBytes,
          .sync_seconds = 0.003};
}

/// Opens, stores, loads and closes until it is killed.
[[noreturn]] void live_until_killed(const fs::path& folder, uint64_t seed) {
  Random random(seed);
  for (;;) {
    auto cache = DiskCache::open(crash_options(folder, random), small_identity());
    if (!cache.ok()) {  // another process looks after it for a moment
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    for (int64_t n = random.integer(1, 12); n > 0; --n) {
      const auto chain = static_cast<uint32_t>(random.integer(0, kChains - 1));
      store_chain(**cache, chain, random.integer(1, kMaxPages), "", random.uniform() < 0.5);
      const auto other = static_cast<uint32_t>(random.integer(0, kChains - 1));
      if (load_chain(**cache, other, kMaxPages).n_wrong > 0) std::_Exit(2);
    }
  }
}

/// Kills it after a while. Fails the test when it has ended by itself: it found something wrong.
void kill_after(pid_t child, std::chrono::microseconds time) {
  std::this_thread::sleep_for(time);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WNOHANG), 0) << "ended by itself, status " << status;
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
}

/// MLA_CRASH_ROUNDS=1000 makes more of it.
int64_t crash_rounds() {
  const char* rounds = std::getenv("MLA_CRASH_ROUNDS");
  return rounds != nullptr ? std::atoll(rounds) : 200;
}

TEST(Crash, KilledAtAnyMomentItFindsNothingWrongAndGoesOn) {
  const fs::path folder = temp_dir("crash") / "cache";
  Random random(4);
  int64_t n_found = 0, n_leftover = 0;
  const int64_t n_rounds = crash_rounds();
  for (int64_t round = 0; round < n_rounds; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) live_until_killed(folder, 1000 + static_cast<uint64_t>(round));
    ASSERT_NO_FATAL_FAILURE(kill_after(child, std::chrono::microseconds(random.integer(0, 40'000))));
    n_leftover += static_cast<int64_t>(file_names(folder, ".tmp").size());
    ASSERT_LE(run_bytes(folder), kBudget) << "round " << round;

    auto cache = DiskCache::open(crash_options(folder, random), small_identity());
    ASSERT_TRUE(cache.ok()) << cache.error().message;
    (*cache)->wait_until_idle();
    ASSERT_TRUE(file_names(folder, ".tmp").empty());
    for (uint32_t chain = 0; chain < kChains; ++chain) {
      const Loaded loaded = load_chain(**cache, chain, kMaxPages);
      ASSERT_EQ(loaded.n_wrong, 0) << "round " << round << ", chain " << chain;
      ASSERT_EQ(loaded.n_loaded, loaded.n_found) << "a killed process leaves no damaged run: round " << round;
      n_found += loaded.n_loaded;
    }
    const DiskCacheStatus status = (*cache)->status();
    ASSERT_EQ(status.corrupt, 0);
    ASSERT_EQ(status.bytes, run_bytes(folder)) << "every byte is accounted for";
    ASSERT_LE(status.bytes, kBudget);
  }
  EXPECT_GT(n_found, n_rounds) << "the killed processes have written something";
  RecordProperty("rounds", static_cast<int>(n_rounds));
  RecordProperty("pages_found", static_cast<int>(n_found));
  RecordProperty("runs_cut_short", static_cast<int>(n_leftover));
}

TEST(Crash, OthersMayLookWhileOneWrites) {
  const fs::path folder = temp_dir("two-processes") / "cache";
  Random random(5);
  ASSERT_TRUE(DiskCache::open(crash_options(folder, random), small_identity()).ok());
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) live_until_killed(folder, 7);
  int64_t n_seen = 0, n_refused = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  while (std::chrono::steady_clock::now() < end) {
    const auto runs = disk::examine_runs(folder, /*pages=*/true);
    ASSERT_TRUE(runs.ok()) << runs.error().message;
    for (const disk::RunSummary& run : *runs) ASSERT_EQ(run.fault, "") << run.name;
    n_seen += static_cast<int64_t>(runs->size());
    n_refused += disk::collect_garbage(folder, kBudget).ok() ? 0 : 1;  // wins the lock where the other has closed for a moment
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WNOHANG), 0) << "the writer has found wrong bytes";
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  EXPECT_GT(n_seen, 0);
  EXPECT_GT(n_refused, 0);
  const auto cache = DiskCache::open(crash_options(folder, random), small_identity());
  ASSERT_TRUE(cache.ok());
  (*cache)->wait_until_idle();
  for (uint32_t chain = 0; chain < kChains; ++chain) EXPECT_EQ(load_chain(**cache, chain, kMaxPages).n_wrong, 0);
}

}  // namespace
}  // namespace mla
