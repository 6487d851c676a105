#include "text/tokenizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/paths.h"
#include "text/byte_level.h"

namespace mla {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using Ids = std::vector<int32_t>;
namespace fs = std::filesystem;

/// Byte-level BPE over all bytes with the merge "ab".
json byte_level_json() {
  json vocab = json::object();
  for (int b = 0; b < 256; ++b) vocab[std::string(byte_level_spelling(static_cast<uint8_t>(b)))] = b;
  vocab["ab"] = 256;
  return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b"}}}},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"added_tokens", {{{"id", 257}, {"content", "<s>"}, {"special", true}}}}};
}

struct Files {
  fs::path json, config;
};

Files write(const std::string& tokenizer, const std::string& config = "") {
  const fs::path folder = test::temp_dir("tokenizer-json");
  Files files{folder / "tokenizer.json", {}};
  std::ofstream(files.json) << tokenizer;
  if (!config.empty()) std::ofstream(files.config = folder / "tokenizer_config.json") << config;
  return files;
}

Result<std::shared_ptr<const Tokenizer>> load(const json& tokenizer, const std::string& config = "",
                                              const TokenizerHints& hints = {}) {
  const Files files = write(tokenizer.dump(), config);
  return load_tokenizer_json(files.json, files.config, hints);
}

std::string refusal(const json& tokenizer, const std::string& config = "") {
  const auto result = load(tokenizer, config);
  EXPECT_FALSE(result.ok());
  if (result.ok()) return "accepted";
  EXPECT_EQ(result.error().kind, ErrorKind::kInvalidFile);
  EXPECT_THAT(result.error().message, HasSubstr("tokenizer.json"));
  return result.error().message;
}

TEST(TokenizerJson, TakesMergesAsPairs) {
  json j = byte_level_json();
  j["model"]["merges"] = json::array({json::array({"a", "b"})});
  const auto t = load(j);
  ASSERT_TRUE(t.ok()) << t.error().message;
  EXPECT_EQ((*t)->encode("abab"), (Ids{256, 256}));
}

TEST(TokenizerJson, SplitsAsItsBehaviourSays) {
  // Pieces show through the merge: "ab" is one token only inside one piece.
  const auto pieces = [](const char* behavior, bool invert, const char* text) {
    const auto section = tokenizer_json::read_pre_tokenizer(
        {{"type", "Split"}, {"pattern", {{"String", "-"}}}, {"behavior", behavior}, {"invert", invert}});
    EXPECT_TRUE(section.ok()) << section.error().message;
    std::string joined;
    section->pre_tokenizer.run(text, TextStart::kInput,
                               [&](std::string_view piece) { joined += "[" + std::string(piece) + "]"; });
    return joined;
  };
  // The expectations are what tokenizers.pre_tokenizers.Split gives.
  EXPECT_EQ(pieces("Isolated", false, "a--b-"), "[a][-][-][b][-]");
  EXPECT_EQ(pieces("Removed", false, "a--b-"), "[a][b]");
  EXPECT_EQ(pieces("MergedWithPrevious", false, "a--b-"), "[a-][-][b-]");
  EXPECT_EQ(pieces("MergedWithNext", false, "a--b-"), "[a][-][-b][-]");
  EXPECT_EQ(pieces("Contiguous", false, "a--b-"), "[a][--][b][-]");
  EXPECT_EQ(pieces("Removed", true, "a--b-"), "[-][-][-]");
}

TEST(TokenizerJson, RunsStepsBehindByteLevelOnTheSpelling) {
  // Falcon's order. The bytes of U+00BD are C2 BD, whose spelling ends in a digit-like character.
  const auto section = tokenizer_json::read_pre_tokenizer(
      {{"type", "Sequence"},
       {"pretokenizers",
        {{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}},
         {{"type", "Digits"}, {"individual_digits", true}}}}});
  ASSERT_TRUE(section.ok()) << section.error().message;
  std::vector<std::string> pieces;
  section->pre_tokenizer.run("a1\xC2\xBD", TextStart::kInput,
                             [&](std::string_view piece) { pieces.emplace_back(piece); });
  EXPECT_EQ(pieces, (std::vector<std::string>{"a", "1", "\xC2", "\xBD"}));
}

TEST(TokenizerJson, PutsMetaspaceWhereItsSchemeSays) {
  const auto pieces = [](const char* scheme, bool split, std::string_view text, TextStart start) {
    const auto section = tokenizer_json::read_pre_tokenizer(
        {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", scheme}, {"split", split}});
    EXPECT_TRUE(section.ok()) << section.error().message;
    std::string joined;
    section->pre_tokenizer.run(text, start,
                               [&](std::string_view piece) { joined += "[" + std::string(piece) + "]"; });
    return joined;
  };
  EXPECT_EQ(pieces("always", true, "a b", TextStart::kSection), "[\u2581a][\u2581b]");
  EXPECT_EQ(pieces("first", true, "a b", TextStart::kSection), "[a][\u2581b]");
  EXPECT_EQ(pieces("first", true, "a b", TextStart::kInput), "[\u2581a][\u2581b]");
  EXPECT_EQ(pieces("never", false, "a  b", TextStart::kInput), "[a\u2581\u2581b]");
  EXPECT_EQ(pieces("always", true, " a", TextStart::kInput), "[\u2581a]");
}

TEST(TokenizerJson, ReadsSpecialTokensFromTheConfiguration) {
  const auto plain = load(byte_level_json());
  ASSERT_TRUE(plain.ok()) << plain.error().message;
  EXPECT_EQ((*plain)->bos(), -1);
  EXPECT_FALSE((*plain)->add_bos());

  const auto t =
      load(byte_level_json(), R"({"bos_token": {"content": "<s>"}, "eos_token": "ab", "add_bos_token": true,
      "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  ASSERT_TRUE(t.ok()) << t.error().message;
  EXPECT_EQ((*t)->bos(), 257);
  EXPECT_EQ((*t)->eos(), 256);
  EXPECT_TRUE((*t)->add_bos());
  EXPECT_EQ((*t)->chat_template(), "D");
  EXPECT_EQ((*t)->stop_tokens(), Ids{256});
}

TEST(TokenizerJson, ReadsBosFromThePostProcessor) {
  json j = byte_level_json();
  const json one = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, text = {{"Sequence", {{"id", "A"}}}};
  j["post_processor"] = {
      {"type", "Sequence"},
      {"processors", {{{"type", "ByteLevel"}}, {{"type", "TemplateProcessing"}, {"single", {one, text}}}}}};
  const auto t = load(j);
  ASSERT_TRUE(t.ok()) << t.error().message;
  EXPECT_EQ((*t)->bos(), 257);
  EXPECT_TRUE((*t)->add_bos());
  const auto off = load(j, R"({"add_bos_token": false})");
  EXPECT_FALSE((*off)->add_bos());
}

TEST(TokenizerJson, TakesHintsWhereItsFilesAreSilent) {
  const auto t = load(byte_level_json(), "", {.bos = 257, .stop_tokens = {256, 257, 999}});
  ASSERT_TRUE(t.ok()) << t.error().message;
  EXPECT_EQ((*t)->bos(), 257);
  EXPECT_EQ((*t)->eos(), 256);
  EXPECT_EQ((*t)->stop_tokens(), (Ids{256, 257}));
}

TEST(TokenizerJson, TakesTheModelsRowsIntoAccount) {
  const auto t = load(byte_level_json(), "", {.stop_tokens = {300}, .n_model_rows = 320});
  ASSERT_TRUE(t.ok()) << t.error().message;
  EXPECT_EQ((*t)->n_vocab(), 320);
  EXPECT_EQ((*t)->decode({'a', 258, 319}).value(), "a");
  EXPECT_EQ((*t)->stop_tokens(), Ids{300});
  // An added token without a row is left out; a token of the vocabulary without one is an error.
  const auto without = load(byte_level_json(), "", {.stop_tokens = {257}, .n_model_rows = 257});
  ASSERT_TRUE(without.ok()) << without.error().message;
  EXPECT_EQ((*without)->n_vocab(), 257);
  EXPECT_EQ((*without)->encode("<s>", {.parse_special = true}), (Ids{'<', 's', '>'}));
  EXPECT_TRUE((*without)->stop_tokens().empty());
  const auto small = load(byte_level_json(), "", {.n_model_rows = 256});
  ASSERT_FALSE(small.ok());
  EXPECT_EQ(small.error().kind, ErrorKind::kInvalidFile);
  EXPECT_THAT(small.error().message, testing::AllOf(HasSubstr("ids up to 256"), HasSubstr("256 rows")));
}

TEST(TokenizerJson, FindsATemplateFileBesideIt) {
  const Files files = write(byte_level_json().dump(), R"({"chat_template": "from the configuration"})");
  std::ofstream(files.json.parent_path() / "chat_template.jinja") << "from the file";
  const auto t = load_tokenizer_json(files.json, files.config);
  ASSERT_TRUE(t.ok()) << t.error().message;
  EXPECT_EQ((*t)->chat_template(), "from the file");
}

TEST(TokenizerJson, KeepsTurnMarkersOutOfPlainText) {
  json j = byte_level_json();
  j["added_tokens"].push_back({{"id", 258}, {"content", "<\uFF5CUser\uFF5C>"}, {"special", false}});
  j["added_tokens"].push_back({{"id", 259}, {"content", "<think>"}, {"special", false}});
  const auto t = load(j);
  ASSERT_TRUE(t.ok()) << t.error().message;
  EXPECT_EQ((*t)->encode("<\uFF5CUser\uFF5C>", {.parse_special = true}), Ids{258});
  EXPECT_GT((*t)->encode("<\uFF5CUser\uFF5C>").size(), 1U);
  EXPECT_EQ((*t)->encode("<think>"), Ids{259});
}

TEST(TokenizerJson, RefusesFilesThatAreNoTokenizer) {
  const auto raw = [](const std::string& text) {
    const Files files = write(text);
    const auto result = load_tokenizer_json(files.json, "");
    EXPECT_FALSE(result.ok());
    return result.ok() ? "accepted" : result.error().message;
  };
  EXPECT_THAT(raw(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(raw("{\"model\": "), HasSubstr("not valid JSON"));
  EXPECT_THAT(raw("version https://git-lfs.github.com/spec/v1"), HasSubstr("Git LFS"));
  EXPECT_THAT(raw("[]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(raw("{}"), HasSubstr("\"model\""));
  EXPECT_THAT(raw(std::string(100000, '[')), HasSubstr("not valid JSON"));
  EXPECT_FALSE(load_tokenizer_json("/nowhere/tokenizer.json", "").ok());
  const Files files = write(byte_level_json().dump(), "not json");
  EXPECT_FALSE(load_tokenizer_json(files.json, files.config).ok());
}

/// The tokenizer with one part exchanged.
json with(const char* pointer, json value) {
  json j = byte_level_json();
  j[json::json_pointer(pointer)] = std::move(value);
  return j;
}

TEST(TokenizerJson, RefusesMalformedParts) {
  EXPECT_THAT(refusal(with("/model", 3)), HasSubstr("\"model\""));
  EXPECT_THAT(refusal(with("/model/type", "WordPiece")), HasSubstr("\"WordPiece\""));
  EXPECT_THAT(refusal(with("/model/type", 1)), HasSubstr("expected a string"));
  EXPECT_THAT(refusal(with("/model/vocab", json::array())), HasSubstr("model.vocab"));
  EXPECT_THAT(refusal(with("/model/vocab", json::object())), HasSubstr("empty"));
  EXPECT_THAT(refusal(with("/model/vocab/x", -1)), HasSubstr("id -1"));
  EXPECT_THAT(refusal(with("/model/vocab/x", 4000000000U)), HasSubstr("id 4000000000"));
  EXPECT_THAT(refusal(with("/model/vocab/x", 16000000)), HasSubstr("id 16000000, expected 0 to"));
  EXPECT_THAT(refusal(with("/added_tokens/0/id", 16000000)), HasSubstr("the file lists 258 tokens"));
  EXPECT_THAT(refusal(with("/model/vocab/x", 1.5)), HasSubstr("no integer"));
  EXPECT_THAT(refusal(with("/model/vocab/xyz", 256)), HasSubstr("both have id 256"));
  EXPECT_THAT(refusal(with("/model/merges", {"a zz"})), HasSubstr("\"zz\" is not a token"));
  EXPECT_THAT(refusal(with("/model/merges", {"ab"})), HasSubstr("expected two tokens"));
  EXPECT_THAT(refusal(with("/model/merges", json::array({json::array({"a", "b", "c"})}))),
              HasSubstr("model.merges[0]"));
  EXPECT_THAT(refusal(with("/model/merges", json::array({json::array({"a", ""})}))),
              HasSubstr("is not a token"));
  EXPECT_THAT(refusal(with("/model/merges", 1)), HasSubstr("model.merges"));
  EXPECT_THAT(refusal(with("/model/end_of_word_suffix", "</w>")), HasSubstr("</w>"));
  EXPECT_THAT(refusal(with("/added_tokens", {{{"id", 300}}})), HasSubstr("added_tokens[0]"));
  EXPECT_THAT(refusal(with("/added_tokens", {{{"id", 5}, {"content", "clash"}}})),
              HasSubstr("both have id 5"));
  EXPECT_THAT(refusal(with("/added_tokens/0/special", "yes")), HasSubstr("expected true or false"));
}

TEST(TokenizerJson, RefusesWhatItDoesNotSupportByName) {
  EXPECT_THAT(refusal(with("/normalizer", {{"type", "Precompiled"}})),
              HasSubstr("normalizer of type \"Precompiled\""));
  EXPECT_THAT(refusal(with("/pre_tokenizer", {{"type", "BertPreTokenizer"}})),
              HasSubstr("\"BertPreTokenizer\""));
  EXPECT_THAT(refusal(with("/decoder", {{"type", "WordPiece"}})), HasSubstr("decoder of type \"WordPiece\""));
  EXPECT_THAT(refusal(with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "("}}}})),
              HasSubstr("pattern ("));
  EXPECT_THAT(refusal(with("/pre_tokenizer",
                           {{"type", "Split"}, {"pattern", {{"String", "-"}}}, {"behavior", "Odd"}})),
              HasSubstr("\"Odd\""));
  EXPECT_THAT(refusal(byte_level_json(), R"({"bos_token": "<none>"})"), HasSubstr("bos_token \"<none>\""));
  json deep = {{"type", "Sequence"}, {"normalizers", json::array()}};
  for (int i = 0; i < 20; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
  EXPECT_THAT(refusal(with("/normalizer", deep)), HasSubstr("nested too deeply"));
}

// Each rule of such a file is harmless, and together they would fill any memory or take for ever.
TEST(TokenizerJson, RefusesNormalizersThatMultiply) {
  const auto sequence = [](const json& rule, int n) {
    json rules = json::array();
    for (int i = 0; i < n; ++i) rules.push_back(rule);
    return json{{"type", "Sequence"}, {"normalizers", rules}};
  };
  const json twice = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  EXPECT_TRUE(load(with("/normalizer", sequence(twice, 10))).ok());
  EXPECT_THAT(refusal(with("/normalizer", sequence(twice, 11))), HasSubstr("1024 times as long"));
  EXPECT_THAT(refusal(with("/normalizer", sequence(twice, 60))), HasSubstr("1024 times as long"));
  const json anywhere = {
      {"type", "Replace"}, {"pattern", {{"Regex", "b?"}}}, {"content", std::string(40, 'b')}};
  EXPECT_THAT(refusal(with("/normalizer", sequence(anywhere, 2))), HasSubstr("1024 times as long"));
  const json prepend = {{"type", "Prepend"}, {"prepend", std::string(2000, 'b')}};
  EXPECT_THAT(refusal(with("/normalizer", prepend)), HasSubstr("1024 times as long"));
  EXPECT_THAT(refusal(with("/normalizer", sequence({{"type", "NFKC"}}, 3))), HasSubstr("1024 times as long"));

  const json strip = {{"type", "Strip"}};
  EXPECT_TRUE(load(with("/normalizer", sequence(strip, 64))).ok());
  EXPECT_THAT(refusal(with("/normalizer", sequence(strip, 65))), HasSubstr("65 normalizers"));
  json digits = json::array();
  for (int i = 0; i < 70; ++i) digits.push_back({{"type", "Digits"}});
  EXPECT_THAT(refusal(with("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", digits}})),
              HasSubstr("more than 64 pre-tokenizers"));

  json long_token = with("/normalizer", sequence(twice, 10));
  long_token["added_tokens"] = {{{"id", 257}, {"content", std::string(5, 'a')}, {"normalized", true}}};
  EXPECT_THAT(refusal(long_token), HasSubstr("has 5120 bytes, expected at most 4096"));
}

}  // namespace
}  // namespace mla
