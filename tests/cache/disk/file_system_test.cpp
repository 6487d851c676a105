// The disk cache on a disk that fails: every system call in turn, and a power cut.

#include "cache/disk/file_system.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>

#include "cache/disk/disk_cache.h"
#include "support/paths.h"
#include "support/prefix_chains.h"
#include "support/random.h"

namespace mla {
namespace {
namespace fs = std::filesystem;
using namespace test;

/// Lets call number `fail_at` (and, if asked, all after it) fail with an error, or read and write less than asked for.
class FaultyFiles : public disk::FileSystem {
 public:
  int64_t fail_at = -1;
  int error = EIO;
  bool for_good = false, short_io = false;
  std::atomic<int64_t> n_calls{0};

  int make_folder(const std::string& path) override { return fails() ? -error : FileSystem::make_folder(path); }
  int open_folder(const std::string& path) override { return fails() ? -error : FileSystem::open_folder(path); }
  int open(int folder, const std::string& name, int flags) override { return fails() ? -error : FileSystem::open(folder, name, flags); }
  int close(int fd) override {
    const int result = FileSystem::close(fd);  // Linux closes it in any case
    return fails() ? -error : result;
  }
  ssize_t pread(int fd, std::byte* to, size_t n, uint64_t offset) override {
    if (fails() && !short_io) return -error;
    return FileSystem::pread(fd, to, piece(n), offset);
  }
  ssize_t pwrite(int fd, const std::byte* from, size_t n, uint64_t offset) override {
    if (fails() && !short_io) return -error;
    return FileSystem::pwrite(fd, from, piece(n), offset);
  }
  int fsync(int) override { return fails() ? -error : 0; }  // thousands of real ones take minutes on a busy disk
  int fstat(int fd, struct stat& status) override { return fails() ? -error : FileSystem::fstat(fd, status); }
  int fchmod(int fd, mode_t mode) override { return fails() ? -error : FileSystem::fchmod(fd, mode); }
  int lock(int fd) override { return fails() ? -error : FileSystem::lock(fd); }
  int rename(int folder, const std::string& from, const std::string& to) override {
    return fails() ? -error : FileSystem::rename(folder, from, to);
  }
  int unlink(int folder, const std::string& name) override { return fails() ? -error : FileSystem::unlink(folder, name); }
  int list(int folder, std::vector<std::string>& names) override { return fails() ? -error : FileSystem::list(folder, names); }

 private:
  bool fails() {
    const int64_t call = n_calls++;
    return !short_io && fail_at >= 0 && (call == fail_at || (for_good && call > fail_at));
  }
  size_t piece(size_t n) const { return short_io ? std::min<size_t>(n, 1 + n / 3) : n; }
};

constexpr uint64_t kBudget = 20 * (4096 + 2 * kSmallPageBytes);

/// Stores, loads, evicts and ends. Whatever fails, no wrong byte may come back. Returns whether the cache opened.
bool live(disk::FileSystem& files, const fs::path& folder, CacheSync sync) {
  DiskCacheOptions options{.folder = folder, .budget_bytes = kBudget, .sync = sync, .sync_seconds = 0.0, .retry_seconds = 0.0, .files = &files};
  const auto opened = DiskCache::open(options, small_identity());
  if (!opened.ok()) return false;
  DiskCache& cache = **opened;
  cache.wait_until_idle();
  for (uint32_t chain = 0; chain < 24; chain += 8) {
    store_chain(cache, chain, 2);
    store_chain(cache, chain, 4);
    EXPECT_EQ(load_chain(cache, chain, 4).n_wrong, 0);
    EXPECT_LE(run_bytes(folder), kBudget);
  }
  for (uint32_t chain = 100; chain < 100 + 8 * 18; chain += 8) store_chain(cache, chain, 1);
  EXPECT_EQ(load_chain(cache, 0, 4).n_wrong, 0);
  EXPECT_LE(run_bytes(folder), kBudget);
  EXPECT_EQ(cache.status().queued_bytes, 0u);
  return true;
}

/// What a sound process finds afterwards must be right, and it must be able to go on.
void expect_sound(const fs::path& folder) {
  FaultyFiles files;
  const auto opened = DiskCache::open({.folder = folder, .budget_bytes = kBudget, .files = &files}, small_identity());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  DiskCache& cache = **opened;
  cache.wait_until_idle();
  for (uint32_t chain = 0; chain < 256; chain += 4) ASSERT_EQ(load_chain(cache, chain, 4).n_wrong, 0);
  EXPECT_TRUE(file_names(folder, ".tmp").empty());
  store_chain(cache, 1000, 3);
  EXPECT_EQ(load_chain(cache, 1000, 3).n_loaded, 3);
}

class FailingDisk : public testing::TestWithParam<int> {};

TEST_P(FailingDisk, EveryCallMayFail) {
  const fs::path base = temp_dir("failing-disk");
  for (const bool for_good : {false, true}) {
    FaultyFiles counting;
    ASSERT_TRUE(live(counting, base / "counted", CacheSync::kEntry));
    fs::remove_all(base / "counted");
    const int64_t n_calls = counting.n_calls;
    int64_t n_refused = 0;
    for (int64_t fail_at = 0; fail_at < n_calls; ++fail_at) {
      SCOPED_TRACE(testing::Message() << "call " << fail_at << (for_good ? " and all after it" : ""));
      const fs::path folder = base / "cache";
      fs::remove_all(folder);
      if (fail_at % 2 == 0) {  // half of the time, a folder with something in it
        FaultyFiles sound;
        ASSERT_TRUE(live(sound, folder, CacheSync::kEntry));
      }
      FaultyFiles files;
      files.fail_at = fail_at;
      files.error = GetParam();
      files.for_good = for_good;
      if (!live(files, folder, CacheSync::kEntry)) ++n_refused;
      ASSERT_NO_FATAL_FAILURE(expect_sound(folder));
      if (for_good) fail_at += fail_at / 8;  // when everything fails from there on, neighbours are alike
    }
    EXPECT_GT(n_calls, 100);
    EXPECT_LT(n_refused, 20) << "only opening may be refused";
  }
}

INSTANTIATE_TEST_SUITE_P(Errors, FailingDisk, testing::Values(EIO, ENOSPC, EROFS),
                         [](const auto& error) { return std::string(error.param == EIO ? "EIO" : error.param == ENOSPC ? "ENOSPC" : "EROFS"); });

TEST(FileSystem, ShortReadsAndWritesAreContinued) {
  const fs::path folder = temp_dir("short-io") / "cache";
  FaultyFiles files;
  files.short_io = true;
  ASSERT_TRUE(live(files, folder, CacheSync::kInterval));
  const auto cache = DiskCache::open({.folder = folder, .files = &files}, small_identity());
  ASSERT_TRUE(cache.ok());
  (*cache)->wait_until_idle();
  EXPECT_GT((*cache)->status().n_runs, 15);
  EXPECT_EQ((*cache)->status().corrupt, 0);
  EXPECT_EQ(load_chain(**cache, 0, 4).n_wrong, 0);
}

/// EINTR every other time.
class InterruptedFiles final : public disk::FileSystem {
 public:
  ssize_t pread(int fd, std::byte* to, size_t n, uint64_t offset) override {
    return ++n_ % 2 == 0 ? -EINTR : FileSystem::pread(fd, to, n, offset);
  }
  ssize_t pwrite(int fd, const std::byte* from, size_t n, uint64_t offset) override {
    return ++n_ % 2 == 0 ? -EINTR : FileSystem::pwrite(fd, from, n, offset);
  }

 private:
  std::atomic<int64_t> n_{0};
};

TEST(FileSystem, InterruptedCallsAreRepeated) {
  const fs::path folder = temp_dir("interrupted") / "cache";
  InterruptedFiles files;
  ASSERT_TRUE(live(files, folder, CacheSync::kInterval));
  const auto cache = DiskCache::open({.folder = folder, .files = &files}, small_identity());
  ASSERT_TRUE(cache.ok());
  (*cache)->wait_until_idle();
  store_chain(**cache, 1000, 3);
  EXPECT_EQ(load_chain(**cache, 1000, 3).n_loaded, 3);
  EXPECT_EQ((*cache)->status().io_errors, 0);
}

// A failed fsync: what the disk holds is unknown, so the run goes, and no second fsync whitewashes it.
TEST(FileSystem, AFailedSyncCostsTheRun) {
  class NoSync final : public disk::FileSystem {
   public:
    int fsync(int) override {
      ++n_syncs;
      return -EIO;
    }
    std::atomic<int64_t> n_syncs{0};
  };
  for (const CacheSync sync : {CacheSync::kEntry, CacheSync::kInterval}) {
    const fs::path folder = temp_dir("no-sync") / (sync == CacheSync::kEntry ? "entry" : "interval");
    NoSync files;
    ASSERT_TRUE(DiskCache::open({.folder = folder}, small_identity()).ok());  // a folder that is in order
    {
      const auto cache = DiskCache::open({.folder = folder, .sync = sync, .retry_seconds = 0.0, .files = &files}, small_identity());
      ASSERT_TRUE(cache.ok());
      store_chain(**cache, 0, 3);
      if (sync == CacheSync::kEntry) {
        EXPECT_EQ((*cache)->status().n_runs, 0);
        EXPECT_EQ((*cache)->status().io_errors, 1);
        EXPECT_EQ(files.n_syncs, 1);
      }
    }
    EXPECT_TRUE(file_names(folder, ".run").empty());
  }
}

// -- power cuts
// ----------------------------------------------------------------------------------------------------

/// Remembers what was made durable, and at the cut damages what was not: files lose their end or any of their blocks of 512
/// bytes, names go back to what they were.
class PowerCut final : public disk::FileSystem {
 public:
  int open(int folder, const std::string& name, int flags) override {
    if (dead_) return -EIO;
    const int fd = FileSystem::open(folder, name, flags);
    const std::lock_guard lock(mutex_);
    if (fd >= 0 && (flags & O_CREAT) != 0) {
      names_[fd] = name;
      unsynced_.insert(name);
    }
    return fd;
  }
  int close(int fd) override {
    const std::lock_guard lock(mutex_);
    names_.erase(fd);
    return FileSystem::close(fd);
  }
  int fsync(int fd) override {
    if (dead_) return -EIO;
    const std::lock_guard lock(mutex_);
    if (const auto name = names_.find(fd); name != names_.end()) {
      unsynced_.erase(name->second);
    } else {
      renamed_.clear();  // the folder
    }
    return 0;
  }
  int rename(int folder, const std::string& from, const std::string& to) override {
    if (dead_) return -EIO;
    const std::lock_guard lock(mutex_);
    if (unsynced_.erase(from) > 0) unsynced_.insert(to);
    for (auto& [fd, name] : names_) {
      if (name == from) name = to;
    }
    renamed_.emplace_back(from, to);
    return FileSystem::rename(folder, from, to);
  }
  int unlink(int folder, const std::string& name) override { return dead_ ? -EIO : FileSystem::unlink(folder, name); }
  ssize_t pwrite(int fd, const std::byte* from, size_t n, uint64_t offset) override {
    return dead_ ? -EIO : FileSystem::pwrite(fd, from, n, offset);
  }

  /// From now on nothing reaches the disk.
  void cut() { dead_ = true; }
  void damage(const fs::path& folder, Random& random) {
    for (const std::string& name : unsynced_) {
      if (!fs::exists(folder / name)) continue;
      const auto size = static_cast<int64_t>(fs::file_size(folder / name));
      if (random.uniform() < 0.3) fs::resize_file(folder / name, static_cast<uint64_t>(random.integer(0, size)));
      disk::File file(disk::system_files(), disk::system_files().open(AT_FDCWD, (folder / name).string(), O_RDWR));
      const std::vector<std::byte> zeros(512);
      for (int64_t at = 0; at + 512 <= size; at += 512) {
        if (random.uniform() < 0.2) file.write(zeros, static_cast<uint64_t>(at));
      }
    }
    for (auto renamed = renamed_.rbegin(); renamed != renamed_.rend(); ++renamed) {
      std::error_code gone;
      if (random.uniform() < 0.5) fs::rename(folder / renamed->second, folder / renamed->first, gone);
    }
  }

 private:
  std::atomic<bool> dead_{false};
  std::mutex mutex_;
  std::map<int, std::string> names_;
  std::set<std::string> unsynced_;
  std::vector<std::pair<std::string, std::string>> renamed_;
};

TEST(FileSystem, APowerCutLosesAtMostWhatWasNotSyncedAndInventsNothing) {
  Random random(9);
  int64_t n_kept = 0, n_lost = 0;
  for (int round = 0; round < 60; ++round) {
    const CacheSync sync = round % 3 == 0 ? CacheSync::kEntry : round % 3 == 1 ? CacheSync::kInterval : CacheSync::kNone;
    const fs::path folder = temp_dir("power-cut") / "cache";
    PowerCut files;
    {
      auto cache = DiskCache::open({.folder = folder, .sync = sync, .sync_seconds = 0.002, .files = &files}, small_identity());
      ASSERT_TRUE(cache.ok());
      for (uint32_t chain = 0; chain < 80; chain += 8) store_chain(**cache, chain, 1 + chain % 3);
      files.cut();
    }
    files.damage(folder, random);
    const auto cache = DiskCache::open({.folder = folder}, small_identity());
    ASSERT_TRUE(cache.ok()) << cache.error().message;
    (*cache)->wait_until_idle();
    for (uint32_t chain = 0; chain < 80; chain += 8) {
      const int64_t n = 1 + chain % 3;
      const Loaded loaded = load_chain(**cache, chain, n);
      ASSERT_EQ(loaded.n_wrong, 0) << "round " << round;
      if (sync == CacheSync::kEntry) {
        ASSERT_EQ(loaded.n_loaded, n) << "it was reported as stored, round " << round;
      }
      n_kept += loaded.n_loaded;
      n_lost += n - loaded.n_loaded;
    }
  }
  EXPECT_GT(n_kept, 0);
  EXPECT_GT(n_lost, 0) << "this test would not notice a missing check";
}

}  // namespace
}  // namespace mla
