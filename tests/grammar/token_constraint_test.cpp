#include "grammar/token_constraint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>

#include "grammars.h"
#include "schema_checker.h"

namespace mla::test {
namespace {

/// A vocabulary as subword tokenizers have it: every byte, pieces that span several parts of a document or cut characters, and
/// special tokens.
class Tokens {
 public:
  explicit Tokens(size_t n_random = 400) {
    for (int b = 0; b < 256; ++b) all.push_back({std::string(1, static_cast<char>(b)), false});
    for (const char* piece : {"{\"", "\":", "\": ", "\",", "\", \"", "\"}", "},", "]}", "}}", "{}", "[]", " \"", "\n  ", "true", "false", "null", "tru", ": [", "12", "100", ".5", "e-", "\\u",
                              "\\u00", "\\ud8", "d83d\\ude00", "\xC3\xA9", "\xE2\x82", "\x82\xAC", "a\xF0\x9F", "\xF0\x9F\x98\x80", "name\"", "abc", "value", "x\":1", "\"\"", "[[", "]]"})
      all.push_back({piece, false});
    const std::string bytes = "{}[]\":, abc019-.eE\\un\n\xC3\xA9";
    std::mt19937 random(3);
    while (all.size() < 256 + n_random) {
      std::string piece;
      for (size_t n = 2 + random() % 4; n > 0; --n) piece += bytes[random() % bytes.size()];
      all.push_back({piece, false});
    }
    all.push_back({"", false});  // padding
    all.push_back({"<bos>", true});
    all.push_back({"</think>", true});
    all.push_back({"<eos>", true});
    eos = static_cast<int32_t>(all.size() - 1);
    index = std::make_shared<const TokenIndex>(all);
  }
  TokenConstraint constraint(std::shared_ptr<const JsonGrammar> grammar, std::string begins_behind = {}) const {
    return TokenConstraint({.documents = {{std::move(grammar)}}, .tokens = index, .end_tokens = {eos}, .begins_behind = std::move(begins_behind)});
  }
  int32_t id_of(const std::string& bytes) const {
    const auto found = std::find_if(all.begin(), all.end(), [&](const TokenText& t) { return t.bytes == bytes; });
    return static_cast<int32_t>(found - all.begin());
  }

  std::vector<TokenText> all;
  std::shared_ptr<const TokenIndex> index;
  int32_t eos = -1;
};

std::vector<int32_t> list_of(const TokenSet& set, size_t n) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < n; ++i) {
    if (set.contains(static_cast<int32_t>(i))) ids.push_back(static_cast<int32_t>(i));
  }
  return ids;
}

/// The tokens that a matcher accepts one by one.
std::vector<int32_t> tried(const Tokens& tokens, const JsonMatcher& matcher) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < tokens.all.size(); ++i) {
    const TokenText& token = tokens.all[i];
    const bool ends = static_cast<int32_t>(i) == tokens.eos;
    if (ends ? matcher.complete() : !token.special && !token.bytes.empty() && matcher.accepts(token.bytes)) ids.push_back(static_cast<int32_t>(i));
  }
  return ids;
}

/// A walk along tokens that are allowed: at random at first, then towards the end.
class Walk {
 public:
  Walk(const Tokens& tokens, const Json& schema, uint32_t seed)
      : tokens_(tokens), matcher_(grammar_of(schema)), constraint_(tokens.constraint(grammar_of(schema))), random_(seed) {}

  /// The document, or nothing when there was no token or no end.
  std::string run(bool checks_sets) {
    constexpr int kMost = 3000, kRandom = 60;
    for (int n = 0; n < kMost; ++n) {
      TokenSet allowed;
      constraint_.allow(allowed);
      const std::vector<int32_t> ids = list_of(allowed, tokens_.all.size());
      if (checks_sets) {
        EXPECT_EQ(ids, tried(tokens_, matcher_)) << text;
      }
      if (ids.empty()) return "no token possible";
      const int32_t id = n < kRandom ? ids[random_() % ids.size()] : nearest_to_end(ids);
      constraint_.accept(id);
      if (id == tokens_.eos) return text;
      EXPECT_TRUE(matcher_.advance(tokens_.all[static_cast<size_t>(id)].bytes)) << text;
      text += tokens_.all[static_cast<size_t>(id)].bytes;
      EXPECT_EQ(constraint_.finished(), matcher_.finished());
      if (constraint_.finished()) return text;
    }
    return "no end";
  }

  std::string text;

 private:
  int32_t nearest_to_end(const std::vector<int32_t>& ids) {
    if (std::binary_search(ids.begin(), ids.end(), tokens_.eos)) return tokens_.eos;
    for (const char c : std::string_view("\"}]")) {
      if (std::binary_search(ids.begin(), ids.end(), static_cast<int32_t>(c))) return c;
    }
    return ids[random_() % ids.size()];
  }

  const Tokens& tokens_;
  JsonMatcher matcher_;
  TokenConstraint constraint_;
  std::mt19937 random_;
};

TEST(TokenConstraint, AllowsExactlyWhatTheMatcherAccepts) {
  const Tokens tokens;
  for (const Json& one : golden_schemas()) {
    SCOPED_TRACE(one["name"]);
    for (uint32_t seed = 0; seed < 2; ++seed) Walk(tokens, one["schema"], seed).run(true);
  }
}

TEST(TokenConstraint, WhatItLeadsToSatisfiesTheSchema) {
  const Tokens tokens;
  for (const Json& one : golden_schemas()) {
    const Json schema = one["schema"];
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const std::string text = Walk(tokens, schema, seed).run(false);
      const Json value = Json::parse(text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << one["name"] << ": " << text;
      ASSERT_TRUE(SchemaChecker(schema).satisfied(value)) << one["name"] << ": " << text;
    }
  }
}

TEST(SchemaChecker, AgreesWithAnotherValidator) {
  for (const Json& one : golden_schemas()) {
    const Json schema = one["schema"];
    for (const std::string text : one["valid"]) EXPECT_TRUE(SchemaChecker(schema).satisfied(Json::parse(text))) << text;
    for (const std::string text : one["invalid"]) {
      const Json value = Json::parse(text, nullptr, false);
      EXPECT_TRUE(value.is_discarded() || !SchemaChecker(schema).satisfied(value)) << one["name"] << ": " << text;
    }
  }
}

TEST(TokenConstraint, EndsOnlyWhereTheDocumentIsComplete) {
  const Tokens tokens;
  TokenConstraint constraint = tokens.constraint(grammar_of(R"({"type": "integer"})"));
  TokenSet allowed;
  constraint.allow(allowed);
  EXPECT_FALSE(allowed.contains(tokens.eos));
  constraint.accept('7');
  constraint.allow(allowed);
  EXPECT_TRUE(allowed.contains(tokens.eos));
  EXPECT_TRUE(allowed.contains('5'));
  EXPECT_FALSE(allowed.contains(' '));
  EXPECT_FALSE(constraint.finished());
}

TEST(TokenConstraint, CopiesGoTheirOwnWays) {
  const Tokens tokens;
  TokenConstraint one = tokens.constraint(any_json_object());
  one.accept('{');
  TokenConstraint other = one;
  one.accept('}');
  EXPECT_TRUE(one.finished());
  EXPECT_FALSE(other.finished());
  TokenSet allowed;
  other.allow(allowed);
  EXPECT_TRUE(allowed.contains('"'));
}

TEST(TokenConstraint, WaitsForTheEndOfTheThought) {
  Tokens tokens;
  tokens.all.insert(tokens.all.end(), {{">\n", false}, {">so", false}, {"k>{\"", false}, {"k>x", false}});
  tokens.index = std::make_shared<const TokenIndex>(tokens.all);
  TokenConstraint constraint = tokens.constraint(any_json_object(), "</think>");
  const auto allows = [&](const std::string& bytes) {
    TokenSet allowed;
    constraint.allow(allowed);
    return allowed.contains(tokens.id_of(bytes));
  };
  const auto say = [&](const std::string& text) {
    for (const char c : text) constraint.accept(static_cast<uint8_t>(c));
  };
  for (const char* any : {"x", "}", "<bos>", "</think>", ">so", "k>x"}) EXPECT_TRUE(allows(any)) << any;
  EXPECT_FALSE(allows("<eos>")) << "an answer without its document";
  TokenConstraint special = constraint;
  special.accept(tokens.id_of("</think>"));
  say("Well, {\"a\" </</thin");
  EXPECT_TRUE(allows(">so"));
  EXPECT_FALSE(allows("k>x")) << "what is behind the marker must begin a document";
  EXPECT_TRUE(allows("k>{\""));
  say("k");
  EXPECT_TRUE(allows(">\n"));
  EXPECT_FALSE(allows(">so"));
  constraint.accept(tokens.id_of(">\n"));
  for (TokenConstraint* begun : {&constraint, &special}) {
    TokenSet allowed;
    begun->allow(allowed);
    EXPECT_TRUE(allowed.contains('{'));
    EXPECT_FALSE(allowed.contains('x'));
    EXPECT_FALSE(allowed.contains(tokens.eos));
  }
}

TEST(TokenConstraint, AVocabularyThatCannotWriteItHasNoToken) {
  const auto index = std::make_shared<const TokenIndex>(std::vector<TokenText>{{"a", false}, {"{", false}, {"<eos>", true}});
  TokenConstraint constraint({.documents = {{any_json_object()}}, .tokens = index, .end_tokens = {2}});
  TokenSet allowed;
  constraint.allow(allowed);
  EXPECT_EQ(list_of(allowed, 3), std::vector<int32_t>{1});
  constraint.accept(1);
  constraint.allow(allowed);
  EXPECT_TRUE(list_of(allowed, 3).empty());
}

TEST(TokenConstraint, TokensAroundADocumentAreForced) {
  Tokens tokens;
  const int32_t call = 256, sep = 257;  // any ids
  const FramedDocument one{grammar_of(R"({"type": "integer"})"), {call, 'a', sep}, {'}', '!'}}, other{grammar_of(R"({"type": "boolean"})"), {call, 'b', 'c'}, {'}'}};
  const auto allowed_by = [&](const TokenConstraint& constraint) {
    TokenSet allowed;
    constraint.allow(allowed);
    return list_of(allowed, tokens.all.size());
  };
  TokenConstraint constraint({.documents = {one, other}, .tokens = tokens.index, .end_tokens = {tokens.eos}});
  EXPECT_EQ(allowed_by(constraint), std::vector<int32_t>{call});
  constraint.accept(call);
  EXPECT_EQ(allowed_by(constraint), (std::vector<int32_t>{'a', 'b'}));
  TokenConstraint second = constraint;
  for (const int32_t token : {int32_t{'b'}, int32_t{'c'}, tokens.id_of("true")}) second.accept(token);
  EXPECT_FALSE(second.finished());
  EXPECT_EQ(allowed_by(second), std::vector<int32_t>{'}'}) << "the document ends, its frame does not";
  second.accept('}');
  EXPECT_TRUE(second.finished());
  EXPECT_TRUE(allowed_by(second).empty());

  for (const int32_t token : {int32_t{'a'}, sep, int32_t{'4'}}) constraint.accept(token);
  const std::vector<int32_t> behind_digit = allowed_by(constraint);
  EXPECT_TRUE(std::binary_search(behind_digit.begin(), behind_digit.end(), '2'));
  EXPECT_TRUE(std::binary_search(behind_digit.begin(), behind_digit.end(), '}'));
  EXPECT_FALSE(std::binary_search(behind_digit.begin(), behind_digit.end(), tokens.eos));
  constraint.accept('}');
  EXPECT_EQ(allowed_by(constraint), std::vector<int32_t>{'!'});
  constraint.accept('!');
  EXPECT_TRUE(constraint.finished());
}

TEST(TokenSet, MasksWhatIsNotInIt) {
  TokenSet set(70);
  set.add(3);
  set.add(69);
  std::vector<float> logits(75, 1.0F);
  set.mask(logits);
  for (size_t i = 0; i < logits.size(); ++i) EXPECT_EQ(logits[i], i == 3 || i == 69 ? 1.0F : -std::numeric_limits<float>::infinity()) << i;
  TokenSet all;
  all.reset(70, true);
  all.remove(5);
  EXPECT_TRUE(all.contains(69));
  EXPECT_FALSE(all.contains(5));
  EXPECT_FALSE(all.contains(70));
  EXPECT_FALSE(all.contains(-1));
}

// -- speed
// -------------------------------------------------------------------------------------------------------------

/// A vocabulary of the size and mixture of large models': words with and without a space in front, numbers, punctuation.
TEST(TokenConstraint, CostsLittleOnALargeVocabulary) {
  Tokens tokens(3'000);
  std::mt19937 random(1);
  const std::string letters = "etaoinshrdlcumwfgypbvk";
  while (tokens.all.size() < 128'000) {
    std::string word = random() % 2 == 0 ? " " : "";
    for (size_t n = 1 + random() % 9; n > 0; --n) word += letters[random() % letters.size()];
    if (random() % 40 == 0) word += random() % 2 == 0 ? "\":" : "\",";
    tokens.all.push_back({word, false});
  }
  tokens.index = std::make_shared<const TokenIndex>(tokens.all);
  const auto grammar = grammar_of(R"({"properties": {"name": {"type": "string"}, "short": {"type": "string", "maxLength": 12}, "n": {"type": "number"}, "more": {"type": "object"}}})");
  for (const char* text : {"", "{", "{\"na", "{\"name\":", "{\"name\":\"A b", "{\"name\":\"A \\", "{\"short\":\"A b", "{\"n\":1", "{\"more\":{\"k", "{\"name\":\"x\",", "{\"n\":1}"}) {
    TokenConstraint constraint = tokens.constraint(grammar);
    for (const char c : std::string_view(text)) constraint.accept(c);
    TokenSet allowed;
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      constraint.allow(allowed);
      best = std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    }
    std::printf("behind %-14s %.3f ms, %zu tokens\n", text, best, list_of(allowed, tokens.all.size()).size());
    EXPECT_LT(best, 50.0);
  }
}

}  // namespace
}  // namespace mla::test
