#include "text/unicode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace mla {
namespace {

constexpr UnicodeForm kForms[] = {UnicodeForm::kNfc, UnicodeForm::kNfd, UnicodeForm::kNfkc,
                                  UnicodeForm::kNfkd};

std::string repeated(std::string_view text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

TEST(Unicode, KeepsInvalidBytesAndNormalisesAroundThem) {
  struct Case {
    std::string text, nfc;
  };
  const Case cases[] = {
      {"\xFF", "\xFF"},
      {"e\u0301\xFF"
       "e\u0301",
       "\u00E9\xFF\u00E9"},
      {"e\xFF\u0301", "e\xFF\u0301"},         // not joined across the break
      {"e\u0301\xE2\x82", "\u00E9\xE2\x82"},  // cut inside a character
      {"\xED\xA0\x80"
       "e\u0301",
       "\xED\xA0\x80\u00E9"},  // a surrogate
      {"\xC0\xAF\xF5\x80\u1112\u1161\u11AB\x80", "\xC0\xAF\xF5\x80\uD55C\x80"},
      {std::string("\0e\u0301\0", 5), std::string("\0\u00E9\0", 4)},
  };
  for (const Case& c : cases) EXPECT_EQ(normalize_unicode(c.text, UnicodeForm::kNfc), c.nfc);
  EXPECT_EQ(lower_case("\xFF\xC0\u00C9\xE2"), "\xFF\xC0\u00E9\xE2");
  EXPECT_EQ(strip_combining_marks("\xFF"
                                  "e\u0301\xE2\x82"),
            "\xFF"
            "e\xE2\x82");
}

TEST(Unicode, GivesEveryFormAFixedPoint) {
  const std::string text =
      "a\u0315\u0300\u05AE\u1112\u1161\u11AB\u11A8\uFB01\uFDFA\u0344\xC3\u09C7\u09BE\u1E9B\u0323";
  for (const UnicodeForm form : kForms) {
    const std::string once = normalize_unicode(text, form);
    EXPECT_EQ(normalize_unicode(once, form), once);
  }
}

// Quadratic work on texts of this size would take minutes.
TEST(Unicode, TakesLongRunsOfMarksAndGrowsNoMoreThanItSays) {
  constexpr size_t kTimes = 1 << 16;
  const std::string marks = "a" + repeated("\u0301\u0323", kTimes);
  const std::string sorted = repeated("\u0323", kTimes) + repeated("\u0301", kTimes);
  EXPECT_EQ(normalize_unicode(marks, UnicodeForm::kNfd), "a" + sorted);
  // The first of each kind joins: a, dot below, acute.
  EXPECT_EQ(normalize_unicode(marks, UnicodeForm::kNfc),
            "\u1EA1" + repeated("\u0323", kTimes - 1) + repeated("\u0301", kTimes));

  const std::string longest = repeated("\uFDFA", kTimes);
  EXPECT_EQ(normalize_unicode(longest, UnicodeForm::kNfkd).size(), 11 * longest.size());
  const std::string musical = repeated("\U0001D160", kTimes);  // excluded from composition: stays apart
  EXPECT_EQ(normalize_unicode(musical, UnicodeForm::kNfc).size(), 3 * musical.size());
  const std::string ascii = repeated("plain ", kTimes);
  for (const UnicodeForm form : kForms) EXPECT_EQ(normalize_unicode(ascii, form), ascii);
}

TEST(Unicode, LowersTheDottedCapitalIToTwoCharacters) {
  EXPECT_EQ(lower_case("\u0130I\u00DF\u1E9E\u03A3"), "i\u0307i\u00DF\u00DF\u03C3");
}

}  // namespace
}  // namespace mla
