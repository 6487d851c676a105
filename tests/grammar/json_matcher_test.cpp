#include "grammar/json_matcher.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "grammars.h"

namespace mla::test {
namespace {

std::string nested(int levels) { return std::string(static_cast<size_t>(levels), '[') + std::string(static_cast<size_t>(levels), ']'); }

TEST(JsonMatcher, CutsChangeNothing) {
  for (const Json& one : golden_schemas()) {
    const auto grammar = grammar_of(one["schema"]);
    for (const std::string text : one["valid"]) {
      JsonMatcher by_bytes(grammar);
      for (size_t i = 0; i < text.size(); ++i) {
        EXPECT_TRUE(by_bytes.accepts(text.substr(i)));
        ASSERT_TRUE(by_bytes.advance(text.substr(i, 1))) << text << " at " << i;
      }
      EXPECT_TRUE(by_bytes.complete());
    }
  }
}

TEST(JsonMatcher, ARefusalChangesNothing) {
  JsonMatcher matcher(grammar_of(R"({"items": {"type": "integer"}})"));
  ASSERT_TRUE(matcher.advance("[1"));
  for (const char* bad : {"x", "2,x", "]]", ",]", "1]x", ",[1]"}) EXPECT_FALSE(matcher.advance(bad)) << bad;
  EXPECT_TRUE(matcher.advance("2,3]"));
  EXPECT_TRUE(matcher.finished());
}

/// What is accepted is JSON, for texts near JSON of every kind.
TEST(JsonMatcher, AcceptsNothingThatIsNotJson) {
  const auto grammar = grammar_of(R"({"items": true, "type": ["object", "array", "string"]})");
  std::mt19937 random(5);
  const std::string bytes = "{}[]\":,0123456789.eE+-truefalsn \n\\u\"\"dD8c\xC3\xA9\xE2\x82\xAC\xED\xA0\xF0\x9F\x98\x80\xFF\x01";
  size_t n_documents = 0;
  for (int i = 0; i < 5'000; ++i) {
    JsonMatcher matcher(grammar);
    std::string text;
    for (int n = 0; n < 300 && !matcher.complete(); ++n) {
      const std::string byte(1, bytes[random() % bytes.size()]);
      if (matcher.advance(byte)) text += byte;
    }
    if (!matcher.complete()) continue;
    ++n_documents;
    ASSERT_TRUE(Json::accept(text)) << text;
  }
  EXPECT_GT(n_documents, 2'000U);
}

TEST(JsonMatcher, StringsAreUtf8WithValidEscapes) {
  const auto grammar = grammar_of(R"({"type": "string"})");
  for (const char* good : {R"("")", R"("\"\\\/\b\f\n\r\t\u0000\uD7FF\uE000\uffff")", R"("\ud83d\ude00")", R"("\uDBFF\uDFFF")", "\"\x7F\xC2\x80\xDF\xBF\"",
                           "\"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\"", "\"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\""})
    EXPECT_TRUE(is_document(grammar, good)) << good;
  for (const char* bad : {"\"", "\"\n\"", "\"\x1F\"", R"("\x")", R"("\u00g0")", R"("\ud800")", R"("\ud800x")", R"("\ud800\n")", R"("\ud800\u0041")", R"("\udc00")",
                          "\"\x80\"", "\"\xC0\x80\"", "\"\xC1\xBF\"", "\"\xE0\x9F\xBF\"", "\"\xED\xA0\x80\"", "\"\xF0\x8F\xBF\xBF\"", "\"\xF4\x90\x80\x80\"", "\"\xF5\x80\x80\x80\"",
                          "\"\xC3\"", "\"\xE2\x82\"", "\"\xFF\"", "'a'"})
    EXPECT_FALSE(is_document(grammar, bad)) << bad;
}

TEST(JsonMatcher, LengthsCountCharacters) {
  const auto grammar = grammar_of(R"({"type": "string", "minLength": 2, "maxLength": 3})");
  for (const char* good : {R"("ab")", "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"", R"("\n\n")", R"("\ud83d\ude00\ud83d\ude00\u0041")"}) EXPECT_TRUE(is_document(grammar, good)) << good;
  for (const char* bad : {R"("a")", "\"\xF0\x9F\x98\x80\"", R"("\ud83d\ude00")", R"("abcd")", R"("\n\n\n\n")"}) EXPECT_FALSE(is_document(grammar, bad)) << bad;
  JsonMatcher full(grammar);
  ASSERT_TRUE(full.advance("\"abc"));
  for (const char* more : {"d", "\\", "\xC3"}) EXPECT_FALSE(full.accepts(more)) << "no character may begin";
}

TEST(JsonMatcher, NumbersAreBounded) {
  const auto number = grammar_of(R"({"type": "number"})"), integer = grammar_of(R"({"type": "integer"})");
  const std::string digits(18, '9'), fraction(17, '3');
  EXPECT_TRUE(is_document(number, "-" + digits + "." + fraction + "e-99"));
  EXPECT_FALSE(is_document(number, digits + "9"));
  EXPECT_FALSE(is_document(number, "0." + fraction + "3"));
  EXPECT_FALSE(is_document(number, "1e100"));
  EXPECT_TRUE(is_document(integer, "-" + digits));
  EXPECT_FALSE(is_document(integer, digits + "9"));
  for (const char* bad : {"01", "-01", "1.", ".5", "1e", "1e+", "+1", "-", "1.e5", "--1", "0x1", ""}) EXPECT_FALSE(is_document(number, bad)) << bad;
  for (const char* bad : {"1.0", "1e2", "-0", "00"}) EXPECT_FALSE(is_document(integer, bad)) << bad;
}

/// Every integer within the bounds can be written, none beyond them, and no text that was accepted leads nowhere.
TEST(JsonMatcher, BoundsOfIntegersHoldForEveryPrefix) {
  for (const auto& [low, high] : std::vector<std::pair<int, int>>{{0, 0}, {-5, 5}, {7, 123}, {-130, -99}, {100, 100}, {-1, 1001}, {95, 105}, {1, 9}}) {
    const auto grammar = grammar_of(Json{{"type", "integer"}, {"minimum", low}, {"maximum", high}});
    std::set<std::string> beginnings;
    for (int n = low; n <= high; ++n) {
      const std::string text = std::to_string(n);
      for (size_t i = 1; i <= text.size(); ++i) beginnings.insert(text.substr(0, i));
    }
    for (int n = -1100; n <= 1100; ++n) {
      const std::string text = std::to_string(n);
      EXPECT_EQ(is_document(grammar, text), n >= low && n <= high) << n << " in " << low << " to " << high;
      EXPECT_EQ(JsonMatcher(grammar).accepts(text), beginnings.contains(text)) << n << " in " << low << " to " << high;
    }
  }
}

TEST(JsonMatcher, LevelsAreLimited) {
  const auto grammar = grammar_of("true");
  EXPECT_TRUE(is_document(grammar, nested(JsonGrammar::kMaxLevels)));
  EXPECT_FALSE(JsonMatcher(grammar).accepts(std::string(JsonGrammar::kMaxLevels + 1, '[')));
  // At the limit only what can still end is begun: each node of this list needs two levels.
  const auto list = grammar_of(R"({"properties": {"next": {"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "end": {"type": "null"}}, "required": ["end"]})");
  JsonMatcher matcher(list);
  for (int level = 0; level + 2 < JsonGrammar::kMaxLevels; level += 2) ASSERT_TRUE(matcher.advance(R"({"next":[)")) << level;
  ASSERT_TRUE(matcher.advance("{\""));
  EXPECT_FALSE(matcher.accepts("next"));
  EXPECT_TRUE(matcher.accepts("end\":null}"));
}

TEST(JsonMatcher, WhiteSpaceIsABlankOrALinesEndWithIndentation) {
  const auto grammar = any_json_object();
  for (const std::string& run : {std::string(" "), std::string("\t"), "\n" + std::string(JsonMatcher::kMaxSpace - 1, ' ')}) {
    const std::string text = "{" + run + "\"a\"" + run + ":" + run + "[" + run + "1" + run + "," + run + "2" + run + "]" + run + "}";
    EXPECT_TRUE(is_document(grammar, text));
    for (size_t end = text.find(run); end != std::string::npos; end = text.find(run, end)) {
      end += run.size();
      for (const char* more : {" ", "\t", "\n", "\r"}) EXPECT_FALSE(JsonMatcher(grammar).accepts(text.substr(0, end) + more)) << "one more at " << end;
    }
  }
  EXPECT_TRUE(is_document(grammar, "{\n  \"a\": [\n    1,\n    2\n  ]\n}"));
  EXPECT_TRUE(is_document(grammar, "{\r\n  \"a\": 1\r\n}"));
  const std::string lead(JsonMatcher::kMaxLeadingSpace, '\n');
  EXPECT_TRUE(is_document(grammar, lead + "{}"));
  EXPECT_FALSE(JsonMatcher(grammar).accepts(lead + "\n"));
  for (const char* refused : {"{\r ", "{\r\r", "{\n\r", "{\r\n\n"}) EXPECT_FALSE(JsonMatcher(grammar).accepts(refused)) << refused;
  JsonMatcher over(grammar);
  ASSERT_TRUE(over.advance("{}"));
  EXPECT_TRUE(over.finished());
  for (const char* more : {" ", "\n", "{", ","}) EXPECT_FALSE(over.accepts(more));
}

TEST(JsonMatcher, TellsCompleteFromFinished) {
  JsonMatcher number(grammar_of(R"({"enum": [1, 12, 123]})"));
  EXPECT_FALSE(number.complete());
  ASSERT_TRUE(number.advance("1"));
  EXPECT_TRUE(number.complete());
  EXPECT_FALSE(number.finished());
  ASSERT_TRUE(number.advance("23"));
  EXPECT_TRUE(number.finished());
  JsonMatcher zero(grammar_of(R"({"type": "integer"})"));
  ASSERT_TRUE(zero.advance("0"));
  EXPECT_TRUE(zero.finished()) << "no digit may follow";
}

/// Unions in unions have exponentially many readings: they stay few, and the text ends.
TEST(JsonMatcher, ReadingsAreBounded) {
  Json schema = {{"$ref", "#/$defs/level12"}, {"$defs", {{"level0", {{"type", "null"}}}}}};
  for (int i = 1; i <= 12; ++i) {
    const Json below = {{"$ref", "#/$defs/level" + std::to_string(i - 1)}};
    Json& members = schema["$defs"]["level" + std::to_string(i)]["anyOf"];
    for (const char* other : {"x", "y", "z"}) {
      Json member = {{"required", Json::array({"a"})}};
      member["properties"]["a"] = below;
      member["properties"][other] = {{"type", "null"}};
      members.push_back(std::move(member));
    }
  }
  JsonMatcher matcher(grammar_of(schema));
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(matcher.advance(R"({"a":)"));
    EXPECT_LE(matcher.readings().size(), JsonMatcher::kMaxReadings);
  }
  ASSERT_TRUE(matcher.advance("null" + std::string(12, '}')));
  EXPECT_TRUE(matcher.finished());
}

TEST(JsonMatcher, MemoryDoesNotGrowWithTheText) {
  JsonMatcher matcher(grammar_of("true"));
  ASSERT_TRUE(matcher.advance("["));
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(matcher.advance(R"({"a":[1,"x"]},)"));
    ASSERT_LT(matcher.stack().size(), 2'000U);
  }
  EXPECT_TRUE(matcher.advance("0]"));
  EXPECT_TRUE(matcher.finished());
}

}  // namespace
}  // namespace mla::test
