#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/normalizer.h"
#include "text/prefix_matcher.h"
#include "text/text_span.h"

namespace mla {

/// A token that is found in the text itself before anything else happens to it (the fields are
/// tokenizer.json's).
struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;      ///< found only where the caller trusts the text (EncodeOptions::parse_special)
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space behind it along
  bool single_word = false;  ///< not inside a word
  bool normalized = false;   ///< found in the normalised text, after all that are found in the raw text
};

/// Whether a token is framed as DeepSeek's markers of a turn are, <\uFF5CUser\uFF5C> among them. Their files
/// leave them without "special": true, which would let anybody's text speak in another role (failure-modes
/// TK06).
bool is_turn_marker(std::string_view text);

/// Finds added tokens: leftmost first, of several that begin at one place the longest.
class AddedTokens {
 public:
  AddedTokens() = default;
  /// Errors: kInvalidFile for a content longer than kMaxContent, which would make searching slow.
  static Result<AddedTokens> make(std::vector<AddedToken> tokens, const Normalizer& normalizer);
  static constexpr size_t kMaxContent = 4096;

  using OnToken = std::function<void(int32_t id)>;
  using OnText = std::function<void(std::string_view text, bool at_start)>;

  /// Where special tokens are to be found.
  struct Special {
    bool anywhere = false;  ///< else they are text
    std::span<const TextSpan> except =
        {};  ///< parts of the text, in order, with which they may not share a byte
  };

  /// Cuts `text` into tokens and normalised text between them, in order. `at_start` tells the text that
  /// begins the input.
  void cut(std::string_view text, const Special& special, const Normalizer& normalizer,
           const OnToken& on_token, const OnText& on_text) const;

 private:
  struct Found {
    size_t begin, end;
    const AddedToken* token;
  };
  std::optional<Found> find(const PrefixMatcher& matcher, std::string_view text, size_t from,
                            const Special& special) const;
  void cut_at(const PrefixMatcher& matcher, std::string_view text, const Special& special,
              const OnToken& on_token, const OnText& on_text) const;

  std::vector<AddedToken> tokens_;
  PrefixMatcher raw_, normalized_;  // values index tokens_
};

}  // namespace mla
