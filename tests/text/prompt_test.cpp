#include "text/prompt.h"

#include <gtest/gtest.h>

#include "support/vocabularies.h"

namespace mla {
namespace {

Vocabulary letters(bool add_bos) {
  Vocabulary v{.model = "gpt2", .pre = "gpt-2", .tokens = {"a", "b", "<s>"}, .bos = 2, .add_bos = add_bos};
  v.kinds = {TokenKind::kNormal, TokenKind::kNormal, TokenKind::kControl};
  return v;
}

TEST(EncodePrompt, PutsBosInFrontWhereTheModelWantsIt) {
  EXPECT_EQ(encode_prompt(**make_tokenizer(letters(true)), "ab").value(), (std::vector<int32_t>{2, 0, 1}));
  EXPECT_EQ(encode_prompt(**make_tokenizer(letters(false)), "ab").value(), (std::vector<int32_t>{0, 1}));
}

TEST(EncodePrompt, AnEmptyTextIsBosAlone) {
  EXPECT_EQ(encode_prompt(**make_tokenizer(letters(true)), "").value(), (std::vector<int32_t>{2}));
  EXPECT_EQ(encode_prompt(**make_tokenizer(letters(false)), "").value(), (std::vector<int32_t>{2}));
  Vocabulary none = letters(false);
  none.bos = -1;
  const auto ids = encode_prompt(**make_tokenizer(none), "");
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().kind, ErrorKind::kUsage);
}

TEST(EncodePrompt, ParsesSpecialTokensOnRequestOnly) {
  EXPECT_EQ(encode_prompt(**make_tokenizer(letters(false)), "a<s>", true).value(), (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(encode_prompt(**make_tokenizer(letters(false)), "a<s>").value().front(), 0);
  EXPECT_NE(encode_prompt(**make_tokenizer(letters(false)), "a<s>").value().back(), 2);
}

}  // namespace
}  // namespace mla
