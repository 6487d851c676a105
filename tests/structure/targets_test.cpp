#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "support/paths.h"

// bench/targets.json is read by people and by scripts that follow the project's speed: it stays complete and consistent.

namespace mla {
namespace {

using Json = nlohmann::json;

bool is_met(const Json& target) {
  const double best = target["best"], wanted = target["target"];
  return target["better"] == "more" ? best >= wanted : best <= wanted;
}

TEST(Targets, AreCompleteAndSayWhatTheirFiguresRestOn) {
  const Json document = Json::parse(test::read_file(test::source_dir() / "bench" / "targets.json"), nullptr, false);
  ASSERT_FALSE(document.is_discarded());
  std::set<std::string> ids;
  ASSERT_FALSE(document["targets"].empty());
  for (const Json& t : document["targets"]) {
    SCOPED_TRACE(t.dump());
    EXPECT_TRUE(ids.insert(t["id"].get<std::string>()).second) << "twice";
    EXPECT_FALSE(t["text"].get<std::string>().empty());
    EXPECT_GT(t["target"].get<double>(), 0.0);
    EXPECT_TRUE(t["unit"] == "x" || t["unit"] == "share" || t["unit"] == "s");
    EXPECT_TRUE(t["better"] == "more" || t["better"] == "less");
    ASSERT_TRUE(t.contains("limit"));
    EXPECT_EQ(t["best"].is_null(), t["machine"].is_null());
    EXPECT_EQ(t["best"].is_null(), t["date"].is_null());
    if (t["best"].is_null()) continue;
    EXPECT_TRUE(document["machines"].contains(t["machine"].get<std::string>()));
    EXPECT_TRUE(std::regex_match(t["date"].get<std::string>(), std::regex("\\d{4}-\\d{2}-\\d{2}")));
    EXPECT_TRUE(is_met(t) || t["limit"].is_string()) << "a target that is missed needs its reason";
  }
}

TEST(Targets, AreLinkedFromThePerformanceLog) {
  EXPECT_NE(test::read_file(test::source_dir() / "docs" / "performance-log.md").find("../bench/targets.json"), std::string::npos);
}

}  // namespace
}  // namespace mla
