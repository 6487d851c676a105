#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace mla {

/// A set of token ids.
class TokenSet {
 public:
  TokenSet() = default;
  explicit TokenSet(size_t n_tokens) { reset(n_tokens, false); }

  /// None of them, or all.
  void reset(size_t n_tokens, bool all) {
    n_tokens_ = n_tokens;
    words_.assign((n_tokens + 63) / 64, all ? ~uint64_t{0} : 0);
  }
  void add(int32_t token) { word(token) |= bit(token); }
  void remove(int32_t token) { word(token) &= ~bit(token); }
  bool contains(int32_t token) const {
    return token >= 0 && static_cast<size_t>(token) < n_tokens_ && (words_[index(token)] & bit(token)) != 0;
  }
  /// Those of another set of as many ids.
  void add(const TokenSet& other) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  }
  /// Makes every token impossible that is not in the set. `logits` [n_vocab]; ids beyond the set are not in
  /// it.
  void mask(std::span<float> logits) const {
    constexpr float kImpossible = -std::numeric_limits<float>::infinity();
    const size_t n = std::min(logits.size(), n_tokens_);
    for (size_t i = 0; i < n; ++i) {
      if ((words_[i / 64] >> (i % 64) & 1) == 0) logits[i] = kImpossible;
    }
    std::fill(logits.begin() + static_cast<std::ptrdiff_t>(n), logits.end(), kImpossible);
  }

 private:
  static size_t index(int32_t token) { return static_cast<size_t>(token) / 64; }
  static uint64_t bit(int32_t token) { return uint64_t{1} << (static_cast<size_t>(token) % 64); }
  uint64_t& word(int32_t token) { return words_[index(token)]; }

  size_t n_tokens_ = 0;
  std::vector<uint64_t> words_;
};

}  // namespace mla
