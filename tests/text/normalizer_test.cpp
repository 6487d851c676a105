#include "text/normalizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "support/paths.h"
#include "text/tokenizer_json.h"

namespace mla {
namespace {

nlohmann::json read_data(const char* name) {
  std::ifstream in(test::source_dir() / "tests/text/data" / name);
  return nlohmann::json::parse(in);
}

// tests/text/data/normalizers.json: what Hugging Face's tokenizers library gives.
TEST(Normalizer, DoesWhatTheSectionsOfTokenizerJsonSay) {
  const auto entries = read_data("normalizers.json");
  ASSERT_EQ(entries.size(), 10U);
  for (const auto& entry : entries) {
    const auto normalizer = tokenizer_json::read_normalizer(entry.at("normalizer"));
    ASSERT_TRUE(normalizer.ok()) << normalizer.error().message;
    ASSERT_FALSE(entry.at("cases").empty());
    for (const auto& c : entry.at("cases")) {
      const std::string text = c.at("text");
      EXPECT_EQ(normalizer->apply(text), c.at("normalized")) << entry.at("normalizer") << " of " << text;
    }
  }
}

// tests/text/data/qwen2_like: NFC, Qwen2's pattern, ByteLevel.
TEST(Normalizer, GivesQwen2sTokenizerItsIds) {
  const auto folder = test::source_dir() / "tests/text/data/qwen2_like";
  const auto tokenizer = load_tokenizer_json(folder / "tokenizer.json", folder / "tokenizer_config.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto vectors = read_data("qwen2_like/vectors.json");
  ASSERT_FALSE(vectors.at("cases").empty());
  for (const auto& c : vectors.at("cases")) {
    const std::string text = c.at("text");
    const auto ids = (*tokenizer)->encode(text, {.parse_special = true});
    EXPECT_EQ(ids, c.at("ids").get<std::vector<int32_t>>()) << "text: " << text;
    const auto decoded = (*tokenizer)->decode(ids, true);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(*decoded, c.at("decoded"));
  }
}

TEST(Normalizer, LetsInvalidBytesThroughTheTokenizer) {
  const auto folder = test::source_dir() / "tests/text/data/qwen2_like";
  const auto tokenizer = load_tokenizer_json(folder / "tokenizer.json", folder / "tokenizer_config.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const std::pair<std::string, std::string> texts[] = {
      {"\xFF\xFE", "\xFF\xFE"},
      {"cafe\u0301\xC3 \xED\xA0\x80 \u1112\u1161\u11AB\xE2\x82", "caf\u00E9\xC3 \xED\xA0\x80 \uD55C\xE2\x82"},
      {"e\xCC", "e\xCC"},
  };
  for (const auto& [text, expected] : texts) {
    const auto decoded = (*tokenizer)->decode((*tokenizer)->encode(text));
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(*decoded, expected);
  }
}

}  // namespace
}  // namespace mla
