// Real vocabularies against the ids that their own tokenizers give.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "support/gguf_vocabulary.h"
#include "support/paths.h"
#include "text/tokenizer.h"

namespace mla {
namespace {

void expect_vectors(const std::filesystem::path& gguf) {
  auto tokenizer = make_tokenizer(test::read_gguf_vocabulary(gguf));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto vectors = test::read_tokenizer_vectors(gguf);
  ASSERT_EQ(vectors.size(), 46U);
  for (const auto& v : vectors) {
    EXPECT_EQ((*tokenizer)->encode(v.text), v.ids) << "text: " << v.text;
    const auto text = (*tokenizer)->decode(v.ids);
    ASSERT_TRUE(text.ok());
    EXPECT_EQ(*text, v.text);
  }
}

class Vectors : public testing::TestWithParam<const char*> {};

TEST_P(Vectors, AreMatchedAndDecodeToTheText) {
  MLA_SHARED_FILE_OR_SKIP(path, std::string("data/tokenizers/ggml-vocab-") + GetParam() + ".gguf");
  expect_vectors(path);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, Vectors, testing::Values("deepseek-llm", "gpt-2", "llama-spm"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace mla
