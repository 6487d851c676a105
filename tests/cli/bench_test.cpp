#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include <unistd.h>

#include "support/command.h"
#include "support/paths.h"

namespace mla {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using test::CommandResult;
using Json = nlohmann::json;
namespace fs = std::filesystem;

CommandResult mla(const std::vector<std::string>& arguments) {
  return test::run_command(MLA_COMMAND, arguments, {});
}

Json results_of(std::vector<std::string> arguments) {
  arguments.emplace_back("--json");
  const CommandResult r = mla(arguments);
  EXPECT_EQ(r.exit_code, 0) << r.err;
  return Json::parse(r.out, nullptr, false)["results"];
}

TEST(Bench, MeasuresEveryCaseOnce) {
  const Json results = results_of({"bench", "--prefill", "16", "--decode", "3", "--depth", "0,70", "--batch", "1,3", "--repetitions", "2",
                                   "--threads", "1", "--cache", "bf16,int8"});
  ASSERT_EQ(results.size(), 2U * 2 * 2 * 2);
  for (const Json& r : results) {
    SCOPED_TRACE(r.dump());
    EXPECT_TRUE(r["test"] == "prefill" || r["test"] == "decode");
    EXPECT_EQ(r["tokens"], r["test"] == "prefill" ? 16 : 3);
    EXPECT_EQ(r["threads"], 1);
    EXPECT_EQ(r["seconds"].size(), 2U);
    const double fastest = std::min(r["seconds"][0].get<double>(), r["seconds"][1].get<double>());
    EXPECT_NEAR(r["tok_per_s"].get<double>(), r["tokens"].get<double>() * r["batch"].get<double>() / fastest, 1e-6 * r["tok_per_s"].get<double>());
    EXPECT_GT(r["gb_per_s"].get<double>(), 0.0);
    EXPECT_GT(r["flop_per_s"].get<double>(), 0.0);
    EXPECT_FALSE(r["isa"].get<std::string>().empty());
  }
}

TEST(Bench, CountsMoreBytesWithCachedRowsThanWithout) {
  const Json results = results_of({"bench", "--prefill", "0", "--decode", "1", "--depth", "0,500", "--repetitions", "1", "--threads", "1"});
  ASSERT_EQ(results.size(), 2U);
  const auto bytes = [](const Json& r) { return r["gb_per_s"].get<double>() * 1e9 * r["seconds"][0].get<double>(); };
  // The default model's cache: 800 B a token in bf16; every step reads the row it has just written, too.
  EXPECT_NEAR(bytes(results[1]) - bytes(results[0]), 500 * 800, 20000.0);  // experts differ from token to token
}

TEST(Bench, RunsAKnownShapeWithRandomWeights) {
  const Json results = results_of({"bench", "--shape", "tiny-mla", "--quant", "Q8_0", "--prefill", "8", "--decode", "2", "--repetitions", "1", "--threads", "1"});
  ASSERT_EQ(results.size(), 2U);
  for (const Json& r : results) EXPECT_GT(r["tok_per_s"].get<double>(), 0.0);
  EXPECT_EQ(mla({"bench", "--shape", "nobody"}).exit_code, 2);
  EXPECT_EQ(mla({"bench", "--shape", "tiny-mla", "-m", "model.gguf"}).exit_code, 2);
  EXPECT_EQ(mla({"bench", "--shape", "deepseek-v3", "--quant", "F32"}).exit_code, 4) << "2.5 TiB";
}

TEST(Bench, PrintsCommaSeparatedValues) {
  const CommandResult r = mla({"bench", "--prefill", "8", "--decode", "0", "--csv", "--repetitions", "1", "--isa", "scalar", "--threads", "1"});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  std::istringstream lines(r.out);
  std::string header, row, more;
  std::getline(lines, header);
  std::getline(lines, row);
  EXPECT_THAT(header, StartsWith("test,tokens,depth,batch,threads,isa,cache,tok_per_s"));
  EXPECT_THAT(row, StartsWith("prefill,8,0,1,1,scalar,bf16,"));
  EXPECT_EQ(std::count(header.begin(), header.end(), ','), std::count(row.begin(), row.end(), ','));
  EXPECT_FALSE(std::getline(lines, more));
}

TEST(Bench, RefusesWhatCannotBeMeasured) {
  EXPECT_EQ(mla({"bench", "--prefill", "0", "--decode", "0"}).exit_code, 2);
  EXPECT_EQ(mla({"bench", "--isa", "mmx"}).exit_code, 2);
  EXPECT_EQ(mla({"bench", "--cache", "int9"}).exit_code, 2);
  EXPECT_EQ(mla({"bench", "--batch", "0"}).exit_code, 2);
  const CommandResult deep = mla({"bench", "--depth", "600", "--threads", "1"});
  EXPECT_EQ(deep.exit_code, 2);
  EXPECT_THAT(deep.err, HasSubstr("context ends at 512"));
}

TEST(BenchAttention, ComparesTheFamilyAndDrawsIt) {
  const fs::path picture = fs::temp_directory_path() / ("mla-bench-" + std::to_string(::getpid()) + ".svg");
  const Json results = results_of({"bench", "attention", "--dims", "deepseek-v2-lite", "--depth", "64,128", "--threads", "1", "--plot", picture.string()});
  ASSERT_EQ(results.size(), 10U);
  for (const Json& r : results) {
    SCOPED_TRACE(r.dump());
    EXPECT_GT(r["seconds"].get<double>(), 0.0);
    EXPECT_GT(r["speedup_over_mha"].get<double>(), 0.0);
    const int64_t per_token = r["attention"] == "MHA"     ? 16 * 256 * 2
                              : r["attention"] == "GQA-8" ? 8 * 256 * 2
                              : r["attention"] == "MQA"   ? 256 * 2
                                                          : 576 * 2;
    EXPECT_EQ(r["cache_bytes"].get<int64_t>(), per_token * r["depth"].get<int64_t>());
  }
  const std::string svg = test::read_file(picture);
  EXPECT_THAT(svg, StartsWith("<svg"));
  for (const char* name : {"MHA", "GQA-8", "MQA", "MLA absorbed", "MLA expanded"}) EXPECT_THAT(svg, HasSubstr(name));
  fs::remove(picture);
}

TEST(BenchAttention, SaysWhatItLeavesOut) {
  const Json results = results_of({"bench", "attention", "--dims", "deepseek-v2-lite", "--depth", "64,16384", "--threads", "1", "--max-seconds", "1e-6"});
  ASSERT_EQ(results.size(), 10U);
  for (size_t i = 5; i < 10; ++i) EXPECT_THAT(results[i]["skipped"].get<std::string>(), HasSubstr("--max-seconds"));
}

TEST(BenchAttention, RefusesModelsWithoutLatentsAndUnwritablePictures) {
  const CommandResult gpt2 = mla({"bench", "attention", "--dims", "gpt-2"});
  EXPECT_EQ(gpt2.exit_code, 2);
  EXPECT_THAT(gpt2.err, HasSubstr("no latent attention"));
  EXPECT_EQ(mla({"bench", "attention", "--dims", "nobody"}).exit_code, 2);
  EXPECT_EQ(mla({"bench", "attention", "--dims", "deepseek-v2-lite", "--depth", "64", "--threads", "1", "--plot", "/nonexistent/a.svg"}).exit_code, 4);
}

}  // namespace
}  // namespace mla
