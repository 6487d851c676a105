#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include <unistd.h>

#include "support/command.h"

namespace mla {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using test::CommandResult;
using Json = nlohmann::json;
namespace fs = std::filesystem;

class BenchCache : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(text_) << "Dorothy lived in the midst of the great Kansas prairies, with Uncle Henry, who was a farmer, and Aunt Em, "
                            "who was the farmer's wife. Their house was small, for the lumber to build it had to be carried by wagon "
                            "many miles. There were four walls, a floor and a roof, which made one room.";
  }
  void TearDown() override { fs::remove(text_); }

  CommandResult run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"bench", "cache", "-f", text_.string(), "--threads", "1", "--repetitions", "2", "--decode", "2"});
    return test::run_command(MLA_COMMAND, arguments, {});
  }

  fs::path text_ = fs::temp_directory_path() / ("mla-bench-cache-" + std::to_string(::getpid()) + ".txt");
};

TEST_F(BenchCache, ComparesEveryFormatWithF32) {
  const CommandResult r = run({"--json"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  const Json document = Json::parse(r.out);
  const Json& lines = document["results"];
  ASSERT_EQ(lines.size(), 5U);
  // The default model: 5 layers of 64 latents and 16 roped elements; MHA would have 8 heads of 32 + 32.
  const std::vector<int64_t> bytes = {5 * 320, 5 * 160, 5 * (4 + 64 + 32), 5 * (4 + 48 + 32), 5 * (4 + 32 + 32)};
  for (size_t i = 0; i < lines.size(); ++i) {
    SCOPED_TRACE(lines[i].dump());
    EXPECT_EQ(lines[i]["bytes_per_token"], bytes[i]);
    EXPECT_NEAR(lines[i]["smaller_than_bf16_mha_percent"].get<double>(), 100.0 * (1.0 - static_cast<double>(bytes[i]) / (5 * 8 * 64 * 2)), 1e-9);
    EXPECT_EQ(lines[i]["depth"], 510) << "what a context of 512 leaves";
    EXPECT_GT(lines[i]["tok_per_s"].get<double>(), 0.0);
    EXPECT_GE(lines[i]["same_top_1"].get<double>(), 0.8);
    EXPECT_NEAR(lines[i]["perplexity"].get<double>() / lines[0]["perplexity"].get<double>(), 1.0, 0.1);
  }
  EXPECT_EQ(lines[0]["kl_mean"], 0.0) << "f32 against itself";
  EXPECT_EQ(lines[0]["same_top_1"], 1.0);
  for (size_t i = 1; i < lines.size(); ++i) EXPECT_GT(lines[i]["kl_mean"].get<double>(), 0.0);
  EXPECT_LT(lines[2]["kl_mean"].get<double>(), lines[4]["kl_mean"].get<double>()) << "8 bits are nearer than 4";
}

TEST_F(BenchCache, AgreesWithPerplexity) {
  const Json lines = Json::parse(run({"--cache", "int4", "--context", "32", "--depth", "0", "--json"}).out)["results"];
  const CommandResult r = test::run_command(MLA_COMMAND, {"perplexity", "-f", text_.string(), "--context", "32", "--cache", "int4", "--threads", "1", "--json"}, {});
  const Json scored = Json::parse(r.out);
  EXPECT_EQ(lines[0]["n_scored"], scored["n_scored"]);
  EXPECT_NEAR(lines[0]["perplexity"].get<double>(), scored["perplexity"].get<double>(), 1e-4 * scored["perplexity"].get<double>());
}

TEST_F(BenchCache, PrintsTextAndCommaSeparatedValues) {
  const CommandResult table = run({"--cache", "bf16,int6", "--depth", "0"});
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_THAT(table.out, StartsWith("cache "));
  EXPECT_THAT(table.out, HasSubstr("\nint6 "));
  EXPECT_EQ(std::count(table.out.begin(), table.out.end(), '\n'), 3);
  const CommandResult csv = run({"--cache", "bf16,int6", "--depth", "0", "--csv"});
  EXPECT_THAT(csv.out, StartsWith("cache,bytes_per_token,"));
  std::istringstream rows(csv.out);
  std::string header, row;
  std::getline(rows, header);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(std::getline(rows, row));
    EXPECT_EQ(std::count(header.begin(), header.end(), ','), std::count(row.begin(), row.end(), ','));
  }
}

TEST_F(BenchCache, RefusesWhatCannotBeMeasured) {
  EXPECT_EQ(run({"--cache", "int5"}).exit_code, 2);
  EXPECT_EQ(run({"--depth", "600"}).exit_code, 2);
  EXPECT_EQ(run({"--context", "600"}).exit_code, 2);
  EXPECT_EQ(test::run_command(MLA_COMMAND, {"bench", "cache"}, {}).exit_code, 2) << "no text";
  EXPECT_EQ(test::run_command(MLA_COMMAND, {"bench", "cache", "-f", "/nonexistent"}, {}).exit_code != 0, true);
  std::ofstream(text_, std::ios::trunc);
  const CommandResult empty = run({});
  EXPECT_EQ(empty.exit_code, 2);
  EXPECT_THAT(empty.err, HasSubstr("too short"));
}

}  // namespace
}  // namespace mla
