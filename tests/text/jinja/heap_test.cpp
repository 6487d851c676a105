#include "text/jinja/heap.h"

#include <gtest/gtest.h>

#include <cctype>
#include <random>

#include "text/jinja/strings.h"

namespace mla::jinja {
namespace {

/// A text as a byte and a flag each: what Text packs into spans.
struct Flagged {
  std::string bytes;
  std::vector<bool> foreign;
};

Flagged flags_of(const Text& text) {
  Flagged f{text.bytes, std::vector<bool>(text.bytes.size(), false)};
  size_t last = 0;
  for (const TextSpan& span : text.foreign) {
    EXPECT_LT(span.begin, span.end);
    EXPECT_TRUE(span.begin > last || (span.begin == 0 && last == 0)) << "spans touch";
    EXPECT_LE(span.end, text.bytes.size());
    last = span.end;
    for (size_t i = span.begin; i < span.end; ++i) f.foreign[i] = true;
  }
  return f;
}

Text random_text(Heap& heap, std::mt19937& random) {
  TextBuilder out(heap);
  for (size_t n = random() % 6; n > 0; --n) {
    std::string part(random() % 4, 'a');
    for (char& c : part) c = "ab, "[random() % 4];
    out.append(part, random() % 2 == 0);
  }
  return out.take();
}

void expect_same(const Value& got, const Flagged& want) {
  const Flagged f = flags_of(*got.text);
  EXPECT_EQ(f.bytes, want.bytes);
  EXPECT_EQ(f.foreign, want.foreign) << want.bytes;
}

// Slices and sums of texts, byte by byte.
TEST(TextBuilder, KeepsAccountOfForeignBytes) {
  std::mt19937 random(11);
  for (int i = 0; i < 2000; ++i) {
    Heap heap({});
    TextBuilder out(heap);
    Flagged want;
    for (int part = 0; part < 4; ++part) {
      const Text text = random_text(heap, random);
      const Flagged whole = flags_of(text);
      const size_t begin = random() % (text.bytes.size() + 1), end = begin + random() % (text.bytes.size() - begin + 1);
      out.append(text, begin, end);
      want.bytes += whole.bytes.substr(begin, end - begin);
      want.foreign.insert(want.foreign.end(), whole.foreign.begin() + static_cast<std::ptrdiff_t>(begin),
                          whole.foreign.begin() + static_cast<std::ptrdiff_t>(end));
    }
    expect_same(out.take_value(), want);
  }
}

// What is split and joined again is the same text, and so is what is replaced by itself.
TEST(TextBuilder, LosesNoForeignByteOnTheWayThroughMethods) {
  std::mt19937 random(12);
  for (int i = 0; i < 2000; ++i) {
    Heap heap({});
    const Text text = random_text(heap, random);
    const Flagged whole = flags_of(text);
    expect_same(join(heap, {}, split_lines(heap, text, true)), whole);
    expect_same(replace(heap, text, {.bytes = "x"}, {.bytes = "y"}, -1), whole);
    expect_same(pad(heap, text, Align::kLeft, 0), whole);
    Flagged upper = whole, without;
    for (char& c : upper.bytes) c = static_cast<char>(std::toupper(c));
    expect_same(change_case(heap, text, Case::kUpper), upper);
    for (size_t at = 0; at < whole.bytes.size(); ++at) {
      if (whole.bytes[at] == ',') continue;
      without.bytes += whole.bytes[at];
      without.foreign.push_back(whole.foreign[at]);
    }
    expect_same(join(heap, {}, split(heap, text, {.bytes = ","}, -1)), without);
    expect_same(join(heap, {}, split_from_right(heap, text, {.bytes = ","}, -1)), without);
    expect_same(replace(heap, text, {.bytes = ","}, {}, -1), without);
  }
}

}  // namespace
}  // namespace mla::jinja
