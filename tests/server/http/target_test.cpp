#include "server/http/target.h"

#include <gmock/gmock.h>

namespace mla::http {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Target, TakesPathsApart) {
  EXPECT_THAT(parse_target("/")->segments, IsEmpty());
  EXPECT_EQ(parse_target("/")->path, "/");
  const auto models = parse_target("/v1/models/deepseek-ai%2FDeepSeek-V2?a=b&c");
  ASSERT_TRUE(models);
  EXPECT_THAT(models->segments, ElementsAre("v1", "models", "deepseek-ai/DeepSeek-V2"));
  EXPECT_EQ(models->path, "/v1/models/deepseek-ai/DeepSeek-V2");
  EXPECT_EQ(models->query, "a=b&c");
  EXPECT_THAT(parse_target("/a~b/%C3%A9;x=1,2:@")->segments, ElementsAre("a~b", "\xc3\xa9;x=1,2:@"));
  EXPECT_EQ(parse_target("/a?")->query, "");
}

// HT 09
TEST(Target, RefusesWhatOnlyAttackersSend) {
  for (const char* target : {"",
                             "*",
                             "http://localhost/livez",
                             "localhost:80",
                             "livez",
                             "//livez",
                             "/a//b",
                             "/a/",
                             "/.",
                             "/..",
                             "/a/../b",
                             "/a/./b",
                             "/%2e%2e/b",
                             "/a/%2E%2e",
                             "/a/%2e",
                             "/a%2f..%2fb",
                             "/a%2f%2fb",
                             "/%2f",
                             "/a%00",
                             "/a%0d%0ab",
                             "/a%1f",
                             "/a%7f",
                             "/a\\b",
                             "/a%5cb",
                             "/%",
                             "/%4",
                             "/%zz",
                             "/a%",
                             "/%c0%ae%c0%ae",
                             "/%c0%af",
                             "/%e0%80%af",
                             "/%ff",
                             "/\xc3\xa9",
                             "/a b",
                             "/a#b",
                             "/a\"b",
                             "/<script>",
                             "/a?b c",
                             "/a?%4",
                             "/a?b#c",
                             "/a?\x01",
                             "/{id}"}) {
    EXPECT_FALSE(parse_target(target)) << target;
  }
}

// HT 17
TEST(Target, SeesKeysInQueries) {
  for (const char* query : {"api_key=x", "api-key=x", "a=b&apikey=x", "API_KEY=", "key=x", "access_token=x",
                            "token", "a=1;api_key=2", "api%5Fkey=x", "%61pi_key=x"}) {
    EXPECT_TRUE(query_has_key(query)) << query;
  }
  for (const char* query :
       {"", "a=b", "keys=x", "monkey=x", "a=api_key", "tokens=5", "max_tokens=5", "&&", "="}) {
    EXPECT_FALSE(query_has_key(query)) << query;
  }
}

}  // namespace
}  // namespace mla::http
