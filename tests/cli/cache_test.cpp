#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/command.h"
#include "support/paths.h"
#include "support/prefix_chains.h"

namespace mla {
namespace {
namespace fs = std::filesystem;
using namespace test;

class CacheCommand : public testing::Test {
 protected:
  void SetUp() override {
    auto cache = DiskCache::open({.folder = folder_}, small_identity());
    ASSERT_TRUE(cache.ok());
    for (uint32_t chain = 0; chain < 24; chain += 8) store_chain(**cache, chain, 3, "alice");
  }
  CommandResult mla(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "cache");
    arguments.insert(arguments.end(), {"--dir", folder_.string()});
    return run_command(MLA_COMMAND, arguments);
  }
  void damage() const {
    std::fstream file(folder_ / "0000000000000002.run", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-100, std::ios::end);
    file.write("xxxx", 4);
  }
  const fs::path folder_ = temp_dir("cache-command") / "cache";
};

TEST_F(CacheCommand, LsShowsModelsAndSizes) {
  const CommandResult text = mla({"ls"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("model A, 12-byte rows"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("576"), std::string::npos) << "tokens: " << text.out;
  const auto json = nlohmann::json::parse(mla({"ls", "--json"}).out);
  ASSERT_EQ(json["runs"].size(), 3u);
  EXPECT_EQ(json["runs"][0]["tokens"], 192);
  EXPECT_EQ(json["runs"][0]["namespace"], "alice");
  EXPECT_EQ(json["bytes"], run_bytes(folder_));
}

TEST_F(CacheCommand, VerifyNamesWhatIsDamagedAndGcDeletesIt) {
  EXPECT_EQ(mla({"verify"}).exit_code, 0);
  damage();
  EXPECT_EQ(mla({"ls"}).exit_code, 0) << "only headers are read";
  const CommandResult found = mla({"verify"});
  EXPECT_EQ(found.exit_code, 3);
  EXPECT_NE(found.out.find("0000000000000002.run"), std::string::npos) << found.out;
  EXPECT_EQ(mla({"gc"}).exit_code, 0);
  EXPECT_EQ(mla({"verify"}).exit_code, 0);
  const auto json = nlohmann::json::parse(mla({"gc", "--budget", "0", "--json"}).out);
  EXPECT_EQ(json["evicted"], 2);
  EXPECT_EQ(json["bytes_after"], 0);
}

// Failure mode DC20.
TEST_F(CacheCommand, WipeAsksAndThenLeavesNothing) {
  const CommandResult asked = mla({"wipe"});
  EXPECT_EQ(asked.exit_code, 2);
  EXPECT_NE(asked.err.find("--yes"), std::string::npos) << asked.err;
  EXPECT_EQ(file_names(folder_, ".run").size(), 3u);
  EXPECT_EQ(mla({"wipe", "--yes"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(CacheCommand, RefusesWhatIsNoCacheOrInUse) {
  const auto cache = DiskCache::open({.folder = folder_}, small_identity());
  ASSERT_TRUE(cache.ok());
  EXPECT_EQ(mla({"ls"}).exit_code, 0);
  EXPECT_EQ(mla({"gc"}).exit_code, 4);
  EXPECT_EQ(mla({"wipe", "--yes"}).exit_code, 4);
  EXPECT_EQ(run_command(MLA_COMMAND, {"cache", "ls", "--dir", "/nonexistent"}).exit_code, 2);
  EXPECT_EQ(run_command(MLA_COMMAND, {"cache", "wipe", "--yes", "--dir", folder_.parent_path().string()}).exit_code, 2);
  EXPECT_EQ(run_command(MLA_COMMAND, {"cache", "burn"}).exit_code, 2);
  EXPECT_EQ(run_command(MLA_COMMAND, {"cache"}).exit_code, 2);
}

}  // namespace
}  // namespace mla
