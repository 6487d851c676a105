#include "cache/disk/maintenance.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cache/disk/disk_cache.h"
#include "support/paths.h"
#include "support/prefix_chains.h"

namespace mla::disk {
namespace {
namespace fs = std::filesystem;
using namespace test;

class MaintenanceTest : public testing::Test {
 protected:
  void fill(uint32_t n_chains) const {
    const auto cache = DiskCache::open({.folder = folder_}, small_identity());
    ASSERT_TRUE(cache.ok());
    for (uint32_t chain = 0; chain < 8 * n_chains; chain += 8) store_chain(**cache, chain, 3, "alice");
    load_chain(**cache, 0, 3, "alice");  // the first is the last used
  }
  void damage(const std::string& name, int64_t from_end) const {
    std::fstream file(folder_ / name, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-from_end, std::ios::end);
    file.put('\0');
    file.put('\1');
  }
  const fs::path folder_ = temp_dir("maintenance") / "cache";
};

TEST_F(MaintenanceTest, ListsWhatIsThere) {
  fill(3);
  const auto runs = examine_runs(folder_, false);
  ASSERT_TRUE(runs.ok()) << runs.error().message;
  ASSERT_EQ(runs->size(), 3u);
  const RunSummary& run = runs->front();
  EXPECT_EQ(run.name, "0000000000000001.run");
  EXPECT_EQ(run.label, "model A, 12-byte rows");
  EXPECT_EQ(run.space, "alice");
  EXPECT_EQ(run.first_token, 0);
  EXPECT_EQ(run.n_tokens, 192);
  EXPECT_EQ(run.file_bytes, 4096 + 3 * kSmallPageBytes);
  EXPECT_EQ(run.fault, "");
}

TEST_F(MaintenanceTest, VerifyFindsDamageThatAListDoesNotLookFor) {
  fill(3);
  damage("0000000000000002.run", 100);
  EXPECT_EQ((*examine_runs(folder_, false))[1].fault, "");
  uint64_t last = 0, total = 0;
  const auto runs = examine_runs(folder_, true, [&](uint64_t done, uint64_t all) { last = done, total = all; });
  ASSERT_TRUE(runs.ok());
  EXPECT_EQ((*runs)[0].fault, "");
  EXPECT_NE((*runs)[1].fault.find("checksum"), std::string::npos) << (*runs)[1].fault;
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, run_bytes(folder_));
}

TEST_F(MaintenanceTest, CollectsWhatIsDamagedLeftOverOrBeyondTheBudget) {
  fill(4);
  damage("0000000000000002.run", 100);
  std::ofstream(folder_ / "0000000000000077.tmp") << "x";
  const uint64_t each = 4096 + 3 * kSmallPageBytes;
  const auto collected = collect_garbage(folder_, 2 * each);
  ASSERT_TRUE(collected.ok()) << collected.error().message;
  EXPECT_EQ(collected->n_damaged, 1);
  EXPECT_EQ(collected->n_leftover, 1);
  EXPECT_EQ(collected->n_evicted, 1);
  EXPECT_EQ(collected->bytes_before, 4 * each);
  EXPECT_EQ(collected->bytes_after, 2 * each);
  EXPECT_EQ(file_names(folder_, ".run"), (std::vector<std::string>{"0000000000000001.run", "0000000000000004.run"})) << "by use, not by age";
  const auto cache = DiskCache::open({.folder = folder_}, small_identity());
  ASSERT_TRUE(cache.ok());
  EXPECT_EQ((*cache)->find("alice", chain_tokens(24, 3), 0), 3) << "the index was left in order";
}

TEST_F(MaintenanceTest, WipeLeavesNothingOfOursAndEverythingElse) {
  fill(2);
  ASSERT_TRUE(wipe(folder_).ok());
  EXPECT_FALSE(fs::exists(folder_));
  fill(2);
  std::ofstream(folder_ / "notes.txt") << "mine";
  const auto wiped = wipe(folder_);
  ASSERT_TRUE(wiped.ok());
  EXPECT_EQ(wiped->n_files, 5) << "two runs, the index and its sum, the tag";
  EXPECT_EQ(file_names(folder_), std::vector<std::string>{"notes.txt"});
}

TEST_F(MaintenanceTest, RefusesFoldersThatAreNoCacheOrAreInUse) {
  EXPECT_EQ(examine_runs(folder_, false).error().kind, ErrorKind::kUsage) << "there is none";
  fs::create_directories(folder_);
  std::ofstream(folder_ / "0000000000000001.run") << "a file that only looks like ours";
  for (const auto& error : {wipe(folder_).error(), collect_garbage(folder_, 0).error(), examine_runs(folder_, false).error()}) {
    EXPECT_EQ(error.kind, ErrorKind::kUsage) << error.message;
  }
  EXPECT_TRUE(fs::exists(folder_ / "0000000000000001.run"));
  fs::remove_all(folder_);
  const auto cache = DiskCache::open({.folder = folder_}, small_identity());
  store_chain(**cache, 1, 1);
  EXPECT_FALSE(wipe(folder_).ok());
  EXPECT_FALSE(collect_garbage(folder_, 0).ok());
  EXPECT_EQ(examine_runs(folder_, true)->size(), 1u) << "looking is allowed";
}

TEST_F(MaintenanceTest, TheDefaultFolderFollowsXdg) {
  const char* before = std::getenv("XDG_CACHE_HOME");
  const std::string saved = before != nullptr ? before : "";
  ::setenv("XDG_CACHE_HOME", "/somewhere", 1);
  EXPECT_EQ(*default_cache_folder(), fs::path("/somewhere/mla/prefixes"));
  ::setenv("XDG_CACHE_HOME", "relative", 1);  // to be ignored, says the specification
  EXPECT_EQ(*default_cache_folder(), fs::path(std::getenv("HOME")) / ".cache/mla/prefixes");
  before != nullptr ? ::setenv("XDG_CACHE_HOME", saved.c_str(), 1) : ::unsetenv("XDG_CACHE_HOME");
}

}  // namespace
}  // namespace mla::disk
