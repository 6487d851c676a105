#include "text/jinja/characters.h"

#include <gtest/gtest.h>

#include <random>

namespace mla::jinja {
namespace {

TEST(Characters, CountsAndFindsThem) {
  EXPECT_EQ(count_characters(""), 0U);
  EXPECT_EQ(count_characters("abcdefghijklmnop\xC3\xA9"), 17U);
  EXPECT_EQ(count_characters("a\xE4\xB8\xAD\xFF\xE4\xB8"), 5U);  // what is no UTF-8: a character per byte
  const std::string text = "0123456789\xC3\xA9\xF0\x9F\x98\x80z";
  EXPECT_EQ(character_offset(text, 10), 10U);
  EXPECT_EQ(character_offset(text, 11), 12U);
  EXPECT_EQ(character_offset(text, 12), 16U);
  EXPECT_EQ(character_offset(text, 99), text.size());
}

TEST(Characters, StripsAsPythonDoes) {
  const auto stripped = [](std::string_view text, std::string_view set) {
    const Bounds b = set.empty() ? strip_bounds(text, true, true) : strip_bounds(text, set, true, true);
    return text.substr(b.begin, b.end - b.begin);
  };
  EXPECT_EQ(stripped(" \t\x1F\xC2\xA0 a b\xE3\x80\x80\n", ""), "a b");
  EXPECT_EQ(stripped(" \n ", ""), "");
  EXPECT_EQ(stripped("\xC3\xA9x\xC3\xA9\xC3\xA8", "\xC3\xA9"), "x\xC3\xA9\xC3\xA8");  // whole characters, not bytes
}

// Against the standard library, on texts of few letters.
TEST(Characters, FindsBytesAsTheStandardLibraryDoes) {
  std::mt19937 random(7);
  const auto letters = [&](size_t n) {
    std::string s(random() % (n + 1), 'a');
    for (char& c : s) c = static_cast<char>('a' + random() % 2);
    return s;
  };
  for (int i = 0; i < 2000; ++i) {
    const std::string text = letters(40), wanted = letters(5);
    const size_t from = random() % 45;
    EXPECT_EQ(find_bytes(text, wanted, from), text.find(wanted, from)) << text << " " << wanted << " " << from;
    EXPECT_EQ(find_last_bytes(text, wanted), text.rfind(wanted)) << text << " " << wanted;
  }
}

}  // namespace
}  // namespace mla::jinja
