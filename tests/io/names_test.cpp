#include "io/names.h"

#include <gtest/gtest.h>

namespace mla {
namespace {

TEST(Names, Utf8) {
  for (const char* good :
       {"", "abc", "h\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << good;
  }
  // Stray continuation, cut sequences, overlong forms, a surrogate, beyond U+10FFFF.
  for (const char* bad :
       {"\x80", "a\xc3", "\xe2\x82", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\x80", "\xf0\x80\x80\x80",
        "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3\x28"}) {
    EXPECT_FALSE(is_utf8(bad)) << quoted_name(bad);
  }
}

TEST(Names, QuotedNamesCannotSteerATerminal) {
  EXPECT_EQ(quoted_name("blk.0.attn"), "'blk.0.attn'");
  EXPECT_EQ(quoted_name("h\xc3\xa9"), "'h\xc3\xa9'");
  EXPECT_EQ(quoted_name("a\x1b[31m\n"), "'a\\x1b[31m\\x0a'");
  EXPECT_EQ(quoted_name("\xff\xc3"), "'\\xff\\xc3'");
  EXPECT_EQ(quoted_name("\xc2\x9b"), "'\\xc2\\x9b'");
  EXPECT_EQ(quoted_name(std::string_view("\0", 1)), "'\\x00'");
  const std::string cut = quoted_name(std::string(100'000, 'x'));
  EXPECT_LT(cut.size(), 200U);
  EXPECT_EQ(cut.substr(cut.size() - 4), "...'");
}

}  // namespace
}  // namespace mla
