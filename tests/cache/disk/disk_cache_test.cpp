#include "cache/disk/disk_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "support/paths.h"
#include "support/prefix_chains.h"

namespace mla {
namespace {
namespace fs = std::filesystem;
using namespace test;

constexpr uint64_t kFileOfOne = 4096 + kSmallPageBytes;  ///< a run of one page

class DiskCacheTest : public testing::Test {
 protected:
  std::unique_ptr<DiskCache> open(const CacheIdentity& identity = small_identity()) {
    auto cache = DiskCache::open(options_, identity);
    EXPECT_TRUE(cache.ok()) << (cache.ok() ? "" : cache.error().message);
    if (!cache.ok()) return nullptr;
    (*cache)->wait_until_idle();
    return std::move(*cache);
  }
  fs::path run(size_t i = 0) const { return options_.folder / file_names(options_.folder, ".run").at(i); }

  DiskCacheOptions options_{.folder = temp_dir("disk-cache") / "prefixes"};
};

TEST_F(DiskCacheTest, GivesBackWhatWasStored) {
  const auto cache = open();
  store_chain(*cache, 1, 5);
  const Loaded all = load_chain(*cache, 1, 5);
  EXPECT_EQ(all.n_found, 5);
  EXPECT_EQ(all.n_loaded, 5);
  EXPECT_EQ(all.n_wrong, 0);
  const Loaded rest = load_chain(*cache, 1, 5, "", 3);
  EXPECT_EQ(rest.n_loaded, 2);
  EXPECT_EQ(rest.n_wrong, 0);
  EXPECT_EQ(load_chain(*cache, 1, 9).n_loaded, 5) << "no further than what is stored";
  EXPECT_EQ(load_chain(*cache, 2, 5).n_loaded, 2) << "its family's first two pages";
  EXPECT_EQ(load_chain(*cache, 9, 5).n_found, 0) << "another family";
}

TEST_F(DiskCacheTest, ARestartFindsEverything) {
  store_chain(*open(), 1, 5);
  ASSERT_TRUE(fs::exists(options_.folder / "index.sum"));
  const auto cache = open();
  EXPECT_FALSE(fs::exists(options_.folder / "index.sum")) << "nobody may believe an index that is out of date";
  EXPECT_EQ(load_chain(*cache, 1, 5).n_loaded, 5);
  store_chain(*cache, 2, 7);
  EXPECT_EQ(cache->status().pages_written, 5) << "the two shared pages were there";
  EXPECT_EQ(load_chain(*cache, 2, 7).n_loaded, 7);
  EXPECT_EQ(load_chain(*cache, 2, 7).n_wrong, 0);
}

TEST_F(DiskCacheTest, WithoutItsIndexTheRunsAreReadIn) {
  store_chain(*open(), 1, 5);
  fs::remove(options_.folder / "index.sum");
  const auto cache = open();
  EXPECT_EQ(load_chain(*cache, 1, 5).n_loaded, 5);
  EXPECT_EQ(cache->status().n_runs, 1);
}

TEST_F(DiskCacheTest, StoresNothingTwice) {
  const auto cache = open();
  store_chain(*cache, 1, 5);
  const uint64_t bytes = cache->status().bytes;
  store_chain(*cache, 1, 5);
  store_chain(*cache, 1, 3);
  EXPECT_EQ(cache->status().bytes, bytes);
  EXPECT_EQ(cache->status().pages_dropped, 0);
  for (int i = 0; i < 3; ++i) store_chain(*cache, 3, 6, "", /*wait=*/false);  // not even while it waits
  cache->wait_until_idle();
  EXPECT_EQ(cache->status().n_pages, 9);
  EXPECT_EQ(cache->status().pages_written, 9);
}

TEST_F(DiskCacheTest, NamespacesShareNothing) {
  const auto cache = open();
  store_chain(*cache, 1, 4, "alice");
  EXPECT_EQ(load_chain(*cache, 1, 4).n_found, 0);
  EXPECT_EQ(load_chain(*cache, 1, 4, "bob").n_found, 0);
  EXPECT_EQ(load_chain(*cache, 1, 4, "alice").n_loaded, 4);
  store_chain(*cache, 1, 4, "bob");
  EXPECT_EQ(cache->status().n_pages, 8);
  EXPECT_EQ(load_chain(*cache, 1, 4, "bob").n_wrong, 0);
  store_chain(*cache, 1, 4, std::string(2000, 'x'));  // a name longer than the format holds
  EXPECT_EQ(cache->status().n_pages, 8);
}

TEST_F(DiskCacheTest, AnotherModelFindsNothing) {
  store_chain(*open(), 1, 4);
  const auto other = open(small_identity("model B"));
  EXPECT_EQ(load_chain(*other, 1, 4).n_found, 0);
  EXPECT_EQ(other->status().n_pages, 4) << "the other's pages are still there, and count";
}

// Failure mode DC19. With a key of one value for all pages every look-up is a collision.
TEST_F(DiskCacheTest, AHashCollisionIsAMiss) {
  options_.key_hash = [](std::span<const std::byte>) { return disk::Hash{}; };
  const auto cache = open();
  store_chain(*cache, 1, 1);
  EXPECT_EQ(load_chain(*cache, 1, 1).n_loaded, 1);
  const Loaded other = load_chain(*cache, 9, 1);
  EXPECT_EQ(other.n_found, 1) << "the key leads to it";
  EXPECT_EQ(other.n_loaded, 0) << "its tokens are others";
  EXPECT_EQ(load_chain(*cache, 1, 1, "alice").n_loaded, 0) << "its namespace is another";
  EXPECT_EQ(cache->status().collisions, 2);
  EXPECT_EQ(load_chain(*cache, 1, 1).n_loaded, 1) << "and it stays what it is";
}

// A collision of a parent: the page's own tokens are equal, those before it are not.
TEST_F(DiskCacheTest, APageOfAnotherBeginningIsAMiss) {
  options_.key_hash = [](std::span<const std::byte> bytes) {
    // Forgets the parent: only a page's own tokens count.
    return disk::hash_of(bytes.size() > 256 ? bytes.last(256) : bytes.first(0));
  };
  const auto cache = open();
  std::vector<int32_t> a = chain_tokens(1, 2), b = chain_tokens(1, 2);
  b[0] += 1;
  std::vector<std::byte> page(kSmallPageBytes);
  const std::byte* pages[] = {page.data(), page.data()};
  cache->store("", a, pages);
  cache->wait_until_idle();
  EXPECT_EQ(cache->find("", b, 1), 1);
  std::vector<std::byte> to(kSmallPageBytes);
  const auto load = cache->load("", b, 1, {to.data()});
  load->wait(std::chrono::seconds(10));
  EXPECT_TRUE(load->done());
  EXPECT_EQ(load->n_loaded(), 0);
}

TEST_F(DiskCacheTest, FilesArePrivate) {
  const mode_t before = ::umask(0);
  store_chain(*open(), 1, 2);
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat(options_.folder.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  for (const std::string& name : file_names(options_.folder)) {
    ASSERT_EQ(::stat((options_.folder / name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(DiskCacheTest, MakesAnOpenFolderPrivate) {
  fs::create_directories(options_.folder);
  fs::permissions(options_.folder, fs::perms::all);
  const auto cache = open();
  EXPECT_EQ(fs::status(options_.folder).permissions(), fs::perms::owner_all);
}

TEST_F(DiskCacheTest, RefusesAFolderWithOtherFilesAndLeavesItAlone) {
  fs::create_directories(options_.folder);
  std::ofstream(options_.folder / "thesis.txt") << "mine";
  const auto cache = DiskCache::open(options_, small_identity());
  ASSERT_FALSE(cache.ok());
  EXPECT_EQ(cache.error().kind, ErrorKind::kUsage);
  EXPECT_EQ(file_names(options_.folder), std::vector<std::string>{"thesis.txt"});
}

TEST_F(DiskCacheTest, RefusesALinkInPlaceOfItsFolder) {
  const fs::path target = options_.folder.parent_path() / "target";
  fs::create_directories(target);
  fs::create_directory_symlink(target, options_.folder);
  EXPECT_FALSE(DiskCache::open(options_, small_identity()).ok());
}

TEST_F(DiskCacheTest, TheSecondOfTwoGoesWithout) {
  const auto first = open();
  const auto second = DiskCache::open(options_, small_identity());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().kind, ErrorKind::kResource);
  EXPECT_NE(second.error().message.find("in use"), std::string::npos) << second.error().message;
  store_chain(*first, 1, 2);
  EXPECT_EQ(load_chain(*first, 1, 2).n_loaded, 2);
}

TEST_F(DiskCacheTest, StaysWithinItsBudgetAndKeepsWhatIsUsed) {
  options_.budget_bytes = 4 * kFileOfOne;
  const auto cache = open();
  store_chain(*cache, 0, 1);
  for (uint32_t chain = 8; chain < 8 * 20; chain += 8) {
    store_chain(*cache, chain, 1);
    EXPECT_LE(cache->status().bytes, options_.budget_bytes);
    EXPECT_LE(run_bytes(options_.folder), options_.budget_bytes);
    EXPECT_EQ(load_chain(*cache, 0, 1).n_loaded, 1) << "used after every one";
  }
  EXPECT_EQ(cache->status().n_runs, 4);
  EXPECT_EQ(load_chain(*cache, 8, 1).n_found, 0);
  EXPECT_EQ(cache->status().runs_evicted, 16);
}

TEST_F(DiskCacheTest, StoringAgainCountsAsUse) {
  options_.budget_bytes = 3 * kFileOfOne;
  const auto cache = open();
  for (uint32_t chain : {0u, 8u, 16u, 0u, 24u}) store_chain(*cache, chain, 1);
  EXPECT_EQ(cache->find("", chain_tokens(0, 1), 0), 1);
  EXPECT_EQ(cache->find("", chain_tokens(8, 1), 0), 0);
}

TEST_F(DiskCacheTest, UseIsRememberedOverARestart) {
  {
    const auto cache = open();
    for (uint32_t chain : {0u, 8u, 16u}) store_chain(*cache, chain, 1);
    load_chain(*cache, 0, 1);
  }
  options_.budget_bytes = 2 * kFileOfOne;  // a smaller budget is enforced at the start
  const auto cache = open();
  EXPECT_EQ(cache->find("", chain_tokens(0, 1), 0), 1);
  EXPECT_EQ(cache->find("", chain_tokens(8, 1), 0), 0);
  EXPECT_EQ(cache->status().n_runs, 2);
}

TEST_F(DiskCacheTest, AChainLosesItsEndFirst) {
  {
    const auto cache = open();
    for (int64_t n = 1; n <= 4; ++n) store_chain(*cache, 1, n);  // four runs of a page each
    load_chain(*cache, 1, 4);
    ASSERT_EQ(cache->status().n_runs, 4);
    options_.budget_bytes = cache->status().bytes - 1;
  }
  EXPECT_EQ(load_chain(*open(), 1, 4).n_loaded, 3);
}

// Failure mode DC12.
TEST_F(DiskCacheTest, NoBudgetKeepsNothingAndHurtsNobody) {
  for (const uint64_t budget : {uint64_t{0}, uint64_t{1}, kFileOfOne - 1}) {
    options_.budget_bytes = budget;
    const auto cache = open();
    store_chain(*cache, 1, 1);
    EXPECT_EQ(cache->status().n_runs, 0) << budget;
    EXPECT_EQ(cache->status().pages_dropped, 1) << budget;
    EXPECT_EQ(run_bytes(options_.folder), 0u);
  }
  options_.budget_bytes = kFileOfOne;
  const auto cache = open();
  store_chain(*cache, 1, 1);
  EXPECT_EQ(cache->status().n_runs, 1);
  options_.budget_bytes = ~uint64_t{0};
}

TEST_F(DiskCacheTest, LongChainsAreCutIntoRuns) {
  options_.max_run_bytes = 3 * kSmallPageBytes;
  const auto cache = open();
  store_chain(*cache, 1, 10);
  EXPECT_EQ(cache->status().n_runs, 4);
  EXPECT_EQ(load_chain(*cache, 1, 10).n_loaded, 10);
  EXPECT_EQ(load_chain(*cache, 1, 10).n_wrong, 0);
}

TEST_F(DiskCacheTest, AFullQueueDropsAndCounts) {
  options_.max_queued_bytes = 1;
  const auto cache = open();
  for (uint32_t chain = 0; chain < 800; chain += 8) store_chain(*cache, chain, 3, "", /*wait=*/false);
  cache->wait_until_idle();
  const DiskCacheStatus status = cache->status();
  EXPECT_EQ(status.pages_written + status.pages_dropped, 300);
  EXPECT_GT(status.pages_written, 0);
  EXPECT_EQ(status.queued_bytes, 0u);
}

TEST_F(DiskCacheTest, WhatWaitsAtTheEndIsWritten) {
  {
    const auto cache = open();
    for (uint32_t chain = 0; chain < 400; chain += 8) store_chain(*cache, chain, 3, "", /*wait=*/false);
  }
  const auto cache = open();
  EXPECT_EQ(cache->status().n_pages, 150);
}

TEST_F(DiskCacheTest, EverySyncPolicyKeepsTheSame) {
  for (const char* name : {"none", "entry", "interval"}) {
    options_.folder = temp_dir("disk-cache") / name;
    options_.sync = *cache_sync_from_name(name);
    options_.sync_seconds = 0.001;
    {
      const auto cache = open();
      for (uint32_t chain = 0; chain < 80; chain += 8) store_chain(*cache, chain, 2);
    }
    const auto cache = open();
    EXPECT_EQ(cache->status().n_pages, 20) << name;
  }
  EXPECT_FALSE(cache_sync_from_name("always").ok());
}

TEST_F(DiskCacheTest, ALoadThatIsGivenUpWritesNothingMore) {
  const auto cache = open();
  store_chain(*cache, 1, 50);
  const std::vector<int32_t> tokens = chain_tokens(1, 50);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::byte> memory(50 * kSmallPageBytes);
    std::vector<std::byte*> pages;
    for (size_t i = 0; i < 50; ++i) pages.push_back(memory.data() + i * kSmallPageBytes);
    auto load = cache->load("", tokens, 0, pages);
    if (round % 2 == 0) load->wait(std::chrono::milliseconds(1));
    load.reset();
    const std::vector<std::byte> after = memory;
    std::this_thread::sleep_for(std::chrono::microseconds(100 * round));
    ASSERT_EQ(memory, after);
  }
}

// -- what others do to the folder
// -------------------------------------------------------------------------------------------

TEST_F(DiskCacheTest, ADeletedRunIsAMiss) {
  const auto cache = open();
  store_chain(*cache, 1, 3);
  fs::remove(run());
  EXPECT_EQ(load_chain(*cache, 1, 3).n_loaded, 0);
  EXPECT_EQ(cache->status().corrupt, 0);
  store_chain(*cache, 1, 3);
  EXPECT_EQ(load_chain(*cache, 1, 3).n_loaded, 3);
}

// Failure mode DC13.
TEST_F(DiskCacheTest, TheFolderMayVanish) {
  options_.retry_seconds = 0.0;
  const auto cache = open();
  store_chain(*cache, 1, 3);
  fs::remove_all(options_.folder);
  EXPECT_EQ(load_chain(*cache, 1, 3).n_loaded, 0);
  store_chain(*cache, 2, 3);
  EXPECT_GT(cache->status().io_errors, 0);
  fs::create_directories(options_.folder);  // another folder of the same name is not ours
  store_chain(*cache, 2, 4);
  EXPECT_TRUE(fs::is_empty(options_.folder));
}

// Failure modes DC14 and DC15: links, pipes, folders and sockets where a run should be.
TEST_F(DiskCacheTest, PlantedFilesAreNotFollowed) {
  const fs::path outside = options_.folder.parent_path() / "outside";
  for (const std::string kind : {"link", "pipe", "folder", "dangling"}) {
    const auto cache = open();
    store_chain(*cache, 1, 3);
    const fs::path victim = run();
    fs::rename(victim, outside);
    if (kind == "link") fs::create_symlink(outside, victim);
    if (kind == "dangling") fs::create_symlink("/nonexistent", victim);
    if (kind == "pipe") {
      ASSERT_EQ(::mkfifo(victim.c_str(), 0600), 0);
    }
    if (kind == "folder") fs::create_directory(victim);
    EXPECT_EQ(load_chain(*cache, 1, 3).n_loaded, 0) << kind;
    EXPECT_EQ(cache->status().corrupt, 1) << kind;
    EXPECT_TRUE(fs::exists(outside)) << "what a link names is left alone";
    fs::remove(victim);
    fs::remove(outside);
  }
}

TEST_F(DiskCacheTest, AnotherUsersRunIsNotRead) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const auto cache = open();
  store_chain(*cache, 1, 3);
  ASSERT_EQ(::chown(run().c_str(), 12345, 12345), 0);
  EXPECT_EQ(load_chain(*cache, 1, 3).n_loaded, 0);
  EXPECT_EQ(cache->status().corrupt, 1);
}

TEST_F(DiskCacheTest, AFolderOfAnotherUserIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  fs::create_directories(options_.folder);
  ASSERT_EQ(::chown(options_.folder.c_str(), 12345, 12345), 0);
  const auto cache = DiskCache::open(options_, small_identity());
  ASSERT_FALSE(cache.ok());
  EXPECT_NE(cache.error().message.find("12345"), std::string::npos) << cache.error().message;
}

TEST_F(DiskCacheTest, LeftoversOfAKilledWriterAreDeleted) {
  store_chain(*open(), 1, 2);
  std::ofstream(options_.folder / "00000000000000ff.tmp") << "half a run";
  const auto cache = open();
  EXPECT_TRUE(file_names(options_.folder, ".tmp").empty());
  EXPECT_EQ(load_chain(*cache, 1, 2).n_loaded, 2);
}

// A file size limit is the disk-full that needs no special machine; the process must not die of SIGXFSZ either.
TEST_F(DiskCacheTest, AFullDiskCostsTheRunAndNothingElse) {
  options_.retry_seconds = 0.0;
  const auto cache = open();
  store_chain(*cache, 1, 2);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 6000, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  store_chain(*cache, 9, 6);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(cache->status().pages_dropped, 6);
  EXPECT_GT(cache->status().io_errors, 0);
  EXPECT_TRUE(file_names(options_.folder, ".tmp").empty());
  EXPECT_EQ(load_chain(*cache, 1, 2).n_loaded, 2);
  store_chain(*cache, 9, 6);
  EXPECT_EQ(load_chain(*cache, 9, 6).n_loaded, 6) << "there is room again";
}

// -- damage
// ---------------------------------------------------------------------------------------------------------

void spill(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// Every byte is flipped in run_file_test.cpp; here the way from a damaged file to a sound one.
TEST_F(DiskCacheTest, AFlippedByteOfARunIsAMissAndIsWrittenAnew) {
  const auto cache = open();
  store_chain(*cache, 1, 2);
  const std::string sound = test::read_file(run());
  int64_t n_lost = 0;
  for (size_t i = 0; i < sound.size(); i += 37) {
    const fs::path path = run();
    std::string damaged = sound;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
    spill(path, damaged);
    const Loaded loaded = load_chain(*cache, 1, 2);
    ASSERT_EQ(loaded.n_wrong, 0) << "byte " << i;
    ASSERT_LT(loaded.n_loaded, 2) << "byte " << i << " went unnoticed";
    ASSERT_EQ(cache->status().corrupt, ++n_lost) << "byte " << i;
    ASSERT_FALSE(fs::exists(path));
    store_chain(*cache, 1, 2);  // sound again, under a new number
  }
}

TEST_F(DiskCacheTest, ARunCutAtAnyLengthIsAMiss) {
  const auto cache = open();
  store_chain(*cache, 1, 1);
  const std::string sound = test::read_file(run());
  for (size_t length = 0; length < sound.size(); length += length < 200 ? 1 : 61) {
    spill(run(), sound.substr(0, length));
    ASSERT_EQ(load_chain(*cache, 1, 1).n_loaded, 0) << length;
    store_chain(*cache, 1, 1);
  }
  spill(run(), test::read_file(run()) + "x");
  EXPECT_EQ(load_chain(*cache, 1, 1).n_loaded, 0) << "a longer file is damaged too";
}

TEST_F(DiskCacheTest, AnyFlippedByteOfTheIndexOnlyCostsTime) {
  store_chain(*open(), 1, 2);
  for (const char* name : {"index.mdb", "index.sum"}) {
    const std::string sound = test::read_file(options_.folder / name);
    ASSERT_FALSE(sound.empty());
    for (size_t i = 0; i < sound.size(); i += sound.size() > 1000 ? 97 : 1) {
      std::string damaged = test::read_file(options_.folder / name);
      damaged[i % damaged.size()] ^= 0x10;
      spill(options_.folder / name, damaged);
      const auto cache = open();
      const Loaded loaded = load_chain(*cache, 1, 2);
      ASSERT_EQ(loaded.n_loaded, 2) << name << " byte " << i;
      ASSERT_EQ(loaded.n_wrong, 0);
      ASSERT_EQ(cache->status().n_runs, 1);
    }
  }
}

TEST_F(DiskCacheTest, ACutIndexOnlyCostsTime) {
  store_chain(*open(), 1, 2);
  const uint64_t size = fs::file_size(options_.folder / "index.mdb");
  for (const uint64_t length : {uint64_t{0}, uint64_t{1}, uint64_t{100}, uint64_t{4096}, uint64_t{8192}, size - 1}) {
    fs::resize_file(options_.folder / "index.mdb", length);
    EXPECT_EQ(load_chain(*open(), 1, 2).n_loaded, 2) << length;
  }
}

TEST_F(DiskCacheTest, AnIndexOfAnotherFolderIsHarmless) {
  store_chain(*open(), 1, 2);
  const fs::path here = options_.folder, other = temp_dir("disk-cache") / "other";
  options_.folder = other;
  {
    const auto cache = open();
    store_chain(*cache, 9, 2);
    store_chain(*cache, 17, 2);
  }
  for (const char* name : {"index.mdb", "index.sum"}) fs::copy_file(here / name, other / name, fs::copy_options::overwrite_existing);
  const auto cache = open();  // its index now says that run 1 holds chain 1, and knows no run 2
  const Loaded loaded = load_chain(*cache, 1, 2);
  EXPECT_EQ(loaded.n_found, 2);
  EXPECT_EQ(loaded.n_loaded, 0);
  EXPECT_EQ(load_chain(*cache, 17, 2).n_loaded, 2);
}

// Failure mode DC16.
TEST_F(DiskCacheTest, AHundredThousandPagesStartWithinTwoSeconds) {
  options_.max_run_bytes = 8 * kSmallPageBytes;
  options_.sync = CacheSync::kNone;
  options_.max_queued_bytes = uint64_t{1} << 30;
  options_.shutdown_seconds = 300;
  constexpr int64_t kPagesPerChain = 1000;
  {
    const auto cache = open();
    std::vector<std::byte> content(kSmallPageBytes);
    const std::vector<const std::byte*> pages(kPagesPerChain, content.data());
    for (uint32_t chain = 0; chain < 8 * 101; chain += 8) cache->store("", chain_tokens(chain, kPagesPerChain), pages);
    cache->wait_until_idle();
    ASSERT_GE(cache->status().n_pages, 100'000);
  }
  const auto start = std::chrono::steady_clock::now();
  const auto cache = open();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  EXPECT_GE(cache->status().n_pages, 100'000);
  EXPECT_LT(taken.count(), 2.0);
  RecordProperty("seconds", std::to_string(taken.count()));
}

}  // namespace
}  // namespace mla
