// The three segmenters against naive implementations of their definitions.

#include "text/segmenter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace mla {
namespace {

using Ids = std::vector<int32_t>;

/// Tokens over the letters a, b, c: the letters, then joins of two earlier tokens.
struct Toy {
  std::vector<std::string> tokens = {"a", "b", "c"};
  std::vector<std::pair<std::string, std::string>> merges;

  explicit Toy(std::mt19937& random) {
    while (tokens.size() < 25) {
      std::string left = tokens[random() % tokens.size()], right = tokens[random() % tokens.size()];
      const bool fresh = std::find(tokens.begin(), tokens.end(), left + right) == tokens.end();
      if (left.size() + right.size() > 9) continue;
      if (fresh) tokens.push_back(left + right);
      const std::pair merge{left, right};
      if (std::find(merges.begin(), merges.end(), merge) == merges.end()) merges.push_back(merge);
    }
    std::shuffle(merges.begin(), merges.end(), random);  // so that better merges may become possible late
  }
  std::vector<TokenKind> kinds() const { return std::vector<TokenKind>(tokens.size(), TokenKind::kNormal); }
  int32_t id(const std::string& text) const {
    const auto it = std::find(tokens.begin(), tokens.end(), text);
    return it == tokens.end() ? -1 : static_cast<int32_t>(it - tokens.begin());
  }
};

/// Joins the best pair, leftmost first, until none may join. `rank(left, right)`: SIZE_MAX when they do not.
template <typename Rank>
Ids naive(const Toy& toy, const std::string& text, Rank rank) {
  std::vector<std::string> symbols;
  for (const char c : text) symbols.emplace_back(1, c);
  while (true) {
    size_t best = SIZE_MAX, at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      if (const size_t r = rank(symbols[i], symbols[i + 1]); r < best) best = r, at = i;
    }
    if (best == SIZE_MAX) break;
    symbols[at] += symbols[at + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  Ids ids;
  for (const std::string& s : symbols) ids.push_back(toy.id(s));
  return ids;
}

std::string random_text(std::mt19937& random, size_t most) {
  std::string text(random() % (most + 1), 'a');
  for (char& c : text) c = static_cast<char>('a' + random() % 3);
  return text;
}

Ids segment(const Segmenter& segmenter, const std::string& text) {
  Ids ids;
  segmenter.segment(text, ids);
  return ids;
}

// Lengths on both sides of the border between the two ways of merging.
constexpr size_t kMostSymbols = 200;

TEST(Bpe, MergesLikeTheDefinition) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    const Toy toy(random);
    std::vector<std::pair<std::string_view, std::string_view>> merges(toy.merges.begin(), toy.merges.end());
    const auto bpe = make_bpe(toy.tokens, toy.kinds(), merges, {.byte_level = false});
    ASSERT_TRUE(bpe.ok()) << bpe.error().message;
    const auto rank = [&](const std::string& left, const std::string& right) {
      const auto it = std::find(toy.merges.begin(), toy.merges.end(), std::pair{left, right});
      return it == toy.merges.end() ? SIZE_MAX : static_cast<size_t>(it - toy.merges.begin());
    };
    for (int i = 0; i < 20; ++i) {
      const std::string text = random_text(random, kMostSymbols);
      ASSERT_EQ(segment(**bpe, text), naive(toy, text, rank)) << text;
    }
  }
}

TEST(Bpe, IgnoresMergesForWholeTokens) {
  const std::vector<std::string> tokens = {"a", "b", "c", "ab", "abc"};
  const std::vector<TokenKind> kinds(tokens.size(), TokenKind::kNormal);
  const auto plain = make_bpe(tokens, kinds, {{"a", "b"}}, {.byte_level = false});
  const auto whole = make_bpe(tokens, kinds, {{"a", "b"}}, {.byte_level = false, .ignore_merges = true});
  EXPECT_EQ(segment(**plain, "abc"), (Ids{3, 2}));
  EXPECT_EQ(segment(**whole, "abc"), (Ids{4}));
  EXPECT_EQ(segment(**whole, "abcab"), (Ids{3, 2, 3}));
}

TEST(Bpe, FallsBackToUnknown) {
  const std::vector<std::string> tokens = {"<unk>", "a"};
  const std::vector<TokenKind> kinds = {TokenKind::kUnknown, TokenKind::kNormal};
  BpeOptions options{.byte_level = false};
  options.fallback.unknown = 0;
  EXPECT_EQ(segment(**make_bpe(tokens, kinds, {}, options), "a\u4e2d\u4e2da"), (Ids{1, 0, 0, 1}));
  options.fallback.fuse_unknown = true;
  EXPECT_EQ(segment(**make_bpe(tokens, kinds, {}, options), "a\u4e2d\u4e2da"), (Ids{1, 0, 1}));
}

TEST(ScoredBpe, JoinsLikeTheDefinition) {
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    const Toy toy(random);
    std::vector<float> scores(toy.tokens.size());
    for (float& s : scores) s = -static_cast<float>(random() % 10);  // few values: many ties
    const auto bpe = make_scored_bpe(toy.tokens, scores, toy.kinds(), {});
    const auto rank = [&](const std::string& left, const std::string& right) {
      const int32_t id = toy.id(left + right);
      return id < 0 ? SIZE_MAX : static_cast<size_t>(-scores[static_cast<size_t>(id)]);
    };
    for (int i = 0; i < 20; ++i) {
      const std::string text = random_text(random, kMostSymbols);
      ASSERT_EQ(segment(*bpe, text), naive(toy, text, rank)) << text;
    }
  }
}

TEST(Unigram, FindsTheBestOfAllSplits) {
  std::mt19937 random(4);
  for (int round = 0; round < 40; ++round) {
    const Toy toy(random);
    std::vector<float> scores(toy.tokens.size());
    for (float& s : scores) s = -static_cast<float>(random() % 1000) / 64;
    const auto unigram = make_unigram(toy.tokens, scores, toy.kinds(), {});
    for (int i = 0; i < 20; ++i) {
      const std::string text = random_text(random, 12);
      const auto best_of = [&](auto& self, size_t at) -> double {
        if (at == text.size()) return 0;
        double best = -1e300;
        for (size_t n = 1; at + n <= text.size(); ++n) {
          const int32_t id = toy.id(text.substr(at, n));
          if (id >= 0) best = std::max(best, scores[static_cast<size_t>(id)] + self(self, at + n));
        }
        return best;
      };
      double sum = 0;
      std::string joined;
      for (const int32_t id : segment(*unigram, text)) {
        sum += scores[static_cast<size_t>(id)];
        joined += toy.tokens[static_cast<size_t>(id)];
      }
      ASSERT_EQ(joined, text);
      ASSERT_NEAR(sum, best_of(best_of, 0), 1e-6) << text;
    }
  }
}

}  // namespace
}  // namespace mla
