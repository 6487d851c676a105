#include "text/jinja/interpreter.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "support/paths.h"
#include "text/chat_template.h"

namespace mla::jinja {
namespace {

using Json = nlohmann::ordered_json;

// tests/golden/jinja_snippets.py: a template for every corner of the language, as jinja2 renders it or refuses to.
TEST(Interpreter, DoesAsJinjaDoes) {
  std::ifstream in(test::golden("text/jinja.json"));
  const Json golden = Json::parse(in);
  ASSERT_GT(golden.at("snippets").size(), 300U);
  const Json messages = Json::array();
  int refused = 0;
  for (const auto& snippet : golden.at("snippets")) {
    const std::string source = snippet.at("template");
    const auto parsed = ChatTemplate::parse(source);
    const auto chat = parsed.ok() ? parsed->render({.messages = messages, .arguments = &golden.at("context")})
                                  : Result<RenderedChat>(parsed.error());
    ASSERT_EQ(chat.ok(), snippet.contains("text")) << source << "\n" << (chat.ok() ? chat->text : chat.error().message);
    if (chat.ok()) {
      EXPECT_EQ(chat->text, snippet.at("text").get<std::string>()) << source;
    } else {
      ++refused;
    }
  }
  EXPECT_GT(refused, 80);
}

std::string message(const std::string& source) {
  const auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) return parsed.error().message;
  const Json messages = Json::array();
  const auto chat = parsed->render({.messages = messages});
  return chat.ok() ? "no error: " + chat->text : chat.error().message;
}

// Where Python goes on with integers of any size.
TEST(Interpreter, RefusesIntegersBeyond64Bits) {
  for (const char* expression : {"9223372036854775807 + 1", "-9223372036854775807 - 2", "4611686018427387904 * 2", "2 ** 63", "-(-9223372036854775807 - 1)",
                                 "(-9223372036854775807 - 1) // -1", "(-9223372036854775807 - 1) | abs", "9223372036854775807 | round(-1)", "'9223372036854775808' | int",
                                 "1e19 | int"}) {
    EXPECT_NE(message(fmt::format("{{{{ {} }}}}", expression)).find("64 bits"), std::string::npos) << message(fmt::format("{{{{ {} }}}}", expression));
  }
}

TEST(Interpreter, SaysWhereAndWhatWasWrong) {
  EXPECT_EQ(message("{{ messages[0].role }}"), "chat template, line 1, column 15: list object has no element 0");
  EXPECT_EQ(message("\n {{ 1 + 'a' }}"),
            "chat template, line 2, column 7: unsupported operand type(s) for +: 'int' and 'str'");
  EXPECT_EQ(message("{% for a, b in [1] %}{% endfor %}"), "chat template, line 1, column 4: 'int' object is not iterable");
  EXPECT_EQ(message("{{ 'x' | nope }}"), "chat template, line 1, column 10: No filter named 'nope'.");
  EXPECT_EQ(message("{{ [].append(1) }}"),
            "chat template, line 1, column 13: access to attribute 'append' of 'list' object is unsafe.");
  EXPECT_EQ(message("{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}"),
            "chat template, line 1, column 42: macro 'm' takes not more than 1 argument(s)");
}

}  // namespace
}  // namespace mla::jinja
