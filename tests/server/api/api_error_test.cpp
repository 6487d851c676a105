#include "server/api/api_error.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/utf8.h"

namespace mla::server {
namespace {

using nlohmann::json;

TEST(ApiError, HasAllFourKeys) {
  const json error = json::parse(error_json(ApiError::bad("n", "is wrong"))).at("error");
  EXPECT_EQ(error, (json{{"message", "is wrong"}, {"type", "invalid_request_error"}, {"param", "n"}, {"code", nullptr}}));
}

TEST(ApiError, IsSentWhateverItQuotes) {
  const json error = json::parse(error_json(ApiError::bad("a\xFF", "b\xE2\x82"))).at("error");
  EXPECT_EQ(error.at("param"), "a\xEF\xBF\xBD");
  EXPECT_EQ(error.at("message"), "b\xEF\xBF\xBD");
}

TEST(ApiError, DoesNotRepeatALongBody) {
  for (size_t shift = 0; shift < 4; ++shift) {
    std::string quoted(shift, 'x');
    while (quoted.size() < 1 << 20) quoted += "\xF0\x9F\x98\x80";
    const json error = json::parse(error_json(ApiError::bad(quoted, quoted))).at("error");
    for (const char* field : {"message", "param"}) {
      const auto text = error.at(field).get<std::string>();
      EXPECT_GE(text.size(), 1024U);
      EXPECT_LE(text.size(), 1027U);
      EXPECT_TRUE(text.ends_with("...") && quoted.starts_with(text.substr(0, text.size() - 3))) << "cut inside a character";
    }
  }
}

}  // namespace
}  // namespace mla::server
