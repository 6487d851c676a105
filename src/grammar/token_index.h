#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/token_set.h"

namespace mla {

/// What one token writes.
struct TokenText {
  std::string bytes;     ///< of a special token its name
  bool special = false;  ///< stands for no text: it may appear in thoughts, but not in a document
};

/// A vocabulary in an order in which the tokens that may follow are found quickly. Immutable: threads may
/// share it.
class TokenIndex {
 public:
  /// Tokens sorted by their bytes.
  struct Sorted {
    std::vector<int32_t> ids;
    std::vector<uint32_t> n_common;  ///< bytes that each shares with the one in front of it
  };
  /// A token that stays inside a JSON string when it comes between two of its characters.
  struct Inside {
    int32_t id = -1;
    int64_t n_characters = 0;  ///< that it begins
  };

  /// `tokens` [n_tokens]: by id.
  explicit TokenIndex(std::vector<TokenText> tokens);

  size_t n_tokens() const { return tokens_.size(); }
  std::string_view bytes(int32_t id) const { return tokens_[static_cast<size_t>(id)].bytes; }

  /// All tokens that write something.
  const Sorted& all() const { return all_; }
  /// Most of a vocabulary stays inside a string. Between two characters these tokens are possible, however
  /// the string goes on; those without escapes in names of properties, too;
  const TokenSet& in_string() const { return in_string_; }
  const TokenSet& in_name() const { return in_name_; }
  /// one by one, for strings that have room for few characters;
  const std::vector<Inside>& inside() const { return inside_; }
  int64_t most_characters() const { return most_characters_; }
  /// and these hold the quote that ends it: what is behind the quote decides.
  const Sorted& leaving() const { return leaving_; }
  /// Tokens that go on behind a '>', with which the markers of thoughts end.
  const std::vector<int32_t>& behind_markers() const { return behind_markers_; }

 private:
  Sorted sorted(std::vector<int32_t> ids) const;
  bool enter_string(int32_t id);

  std::vector<TokenText> tokens_;
  Sorted all_, leaving_;
  TokenSet in_string_, in_name_;
  std::vector<Inside> inside_;
  int64_t most_characters_ = 0;
  std::vector<int32_t> behind_markers_;
};

}  // namespace mla
