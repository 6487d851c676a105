// Real and trained vocabularies against the ids that their own tokenizers give (llama.cpp's vector files;
// tests/golden/text, made with Hugging Face's tokenizers).

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/paths.h"
#include "support/vocabularies.h"
#include "text/stream_decoder.h"

namespace mla {
namespace {

using Ids = std::vector<int32_t>;
namespace fs = std::filesystem;

class PublishedVectors : public testing::TestWithParam<const char*> {};

TEST_P(PublishedVectors, AreMatchedAndDecodeToTheText) {
  MLA_SHARED_FILE_OR_SKIP(path, std::string("data/tokenizers/ggml-vocab-") + GetParam() + ".gguf");
  const auto tokenizer = test::load_tokenizer(path);
  const auto vectors = test::read_tokenizer_vectors(path);
  ASSERT_EQ(vectors.size(), 46U);
  for (const auto& v : vectors) {
    EXPECT_EQ(tokenizer->encode(v.text), v.ids) << "text: " << v.text;
    const auto text = tokenizer->decode(v.ids);
    ASSERT_TRUE(text.ok());
    EXPECT_EQ(*text, v.text);
  }
}

INSTANTIATE_TEST_SUITE_P(Text, PublishedVectors, testing::Values("deepseek-llm", "gpt-2", "llama-spm"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

nlohmann::json read_json(const fs::path& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

/// `without_special` names the ids expected when special tokens in the text are text.
void expect_cases(const Tokenizer& tokenizer, const nlohmann::json& vectors, const char* without_special,
                  const std::vector<std::string>& leave_out = {}) {
  ASSERT_FALSE(vectors.at("cases").empty());
  const auto is_special = [&](int32_t id) { return tokenizer.is_special(id); };
  for (const auto& c : vectors.at("cases")) {
    const std::string text = c.at("text");
    const auto holds = [&](const std::string& s) { return text.find(s) != std::string::npos; };
    if (std::any_of(leave_out.begin(), leave_out.end(), holds)) continue;
    const Ids with = c.at("ids");
    const Ids without = c.contains(without_special) ? c.at(without_special).get<Ids>() : with;
    EXPECT_EQ(tokenizer.encode(text, {.parse_special = true}), with) << "text: " << text;
    const Ids plain = tokenizer.encode(text);
    EXPECT_TRUE(std::none_of(plain.begin(), plain.end(), is_special)) << "special tokens as text: " << text;
    // Hugging Face's unigram model forms <s> from plain text even when asked not to; that is not to be
    // matched.
    if (std::any_of(without.begin(), without.end(), is_special)) continue;
    EXPECT_EQ(plain, without) << "special tokens as text: " << text;
  }
}

/// What is shown after each token: at least what Python's incremental decoder shows, which waits one byte
/// longer before it gives up on a surrogate. The streams hold no special tokens.
void expect_streams(const std::shared_ptr<const Tokenizer>& tokenizer, const nlohmann::json& vectors) {
  ASSERT_TRUE(vectors.contains("streams"));
  for (const auto& s : vectors.at("streams")) {
    StreamDecoder decoder(tokenizer, {});
    std::string shown, expected;
    for (size_t i = 0; i < s.at("ids").size(); ++i) {
      const auto text = decoder.push(s.at("ids")[i]);
      ASSERT_TRUE(text.ok());
      shown += *text;
      expected += s.at("pieces")[i];
      EXPECT_TRUE(shown.starts_with(expected)) << s.at("ids") << " at " << i << ": " << shown;
    }
    EXPECT_EQ(shown + decoder.finish(), s.at("text"));
  }
}

TEST(DeepSeekV3, MatchesItsOwnTokenizer) {
  const fs::path json = test::deepseek_v3_tokenizer_json();
  if (json.empty()) GTEST_SKIP() << "needs ../shared beside the repository and the xz command";
  const auto tokenizer = load_tokenizer_json(json, json.parent_path() / "tokenizer_config.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const nlohmann::json vectors = read_json(test::golden("text/deepseek_v3.json"));
  // All of its added tokens are markers, also those that the file does not call special.
  expect_cases(**tokenizer, vectors, "ids_plain");
  expect_streams(*tokenizer, vectors);
  EXPECT_EQ((*tokenizer)->n_vocab(), 128815);
  EXPECT_EQ((*tokenizer)->bos(), 0);
  EXPECT_EQ((*tokenizer)->eos(), 1);
  EXPECT_TRUE((*tokenizer)->add_bos());
  EXPECT_EQ((*tokenizer)->stop_tokens(), (Ids{1, 128805}));
}

class TrainedVectors : public testing::TestWithParam<const char*> {};

TEST_P(TrainedVectors, MatchFromTokenizerJson) {
  const fs::path folder = test::golden(std::string("text/") + GetParam());
  const auto tokenizer = load_tokenizer_json(folder / "tokenizer.json", folder / "tokenizer_config.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const nlohmann::json vectors = read_json(folder / "vectors.json");
  expect_cases(**tokenizer, vectors, "ids_special_off");
  expect_streams(*tokenizer, vectors);
}

/// The two that GGUF has a model name for.
class TrainedGgufVectors : public testing::TestWithParam<const char*> {};

TEST_P(TrainedGgufVectors, Match) {
  const fs::path folder = test::golden(std::string("text/") + GetParam());
  const auto tokenizer = test::load_tokenizer(folder / "vocab.gguf");
  const nlohmann::json vectors = read_json(folder / "vectors.json");
  // GGUF cannot say that a token takes the white space beside it along.
  expect_cases(*tokenizer, vectors, "ids_special_off", {"<mask>", "<|cut|>"});
  expect_streams(tokenizer, vectors);
}

INSTANTIATE_TEST_SUITE_P(Text, TrainedVectors, testing::Values("byte_bpe", "spm_bpe", "unigram"),
                         [](const auto& info) { return std::string(info.param); });
INSTANTIATE_TEST_SUITE_P(Text, TrainedGgufVectors, testing::Values("byte_bpe", "spm_bpe"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace mla
