#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/regex.h"
#include "text/unicode.h"

namespace mla {

/// Puts text in front of a non-empty text.
struct PrependRule {
  std::string text;
};

/// Replaces every match of a pattern.
struct ReplaceRule {
  Regex regex;
  std::string text;
};

/// Replaces every occurrence of a string.
struct ReplaceTextRule {
  std::string from, to;
};

/// Collapses runs of spaces and drops those at both ends (SentencePiece's remove_extra_whitespaces).
struct CollapseSpacesRule {};

/// One of Unicode's normalization forms.
struct UnicodeRule {
  UnicodeForm form;
};

/// Lower case, character by character (a sigma at the end of a word is like any other).
struct LowercaseRule {};

/// Drops the combining marks (of precomposed characters only behind NFD).
struct StripAccentsRule {};

/// Drops white space at the ends.
struct StripRule {
  bool left, right;
};

using NormalizerRule = std::variant<PrependRule, ReplaceRule, ReplaceTextRule, CollapseSpacesRule,
                                    UnicodeRule, LowercaseRule, StripAccentsRule, StripRule>;

/// What is done to text before it is cut into pieces. Rules run in order, each over the whole text;
/// bytes that are not valid UTF-8 pass.
class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizerRule> rules) : rules_(std::move(rules)) {}

  bool identity() const { return rules_.empty(); }
  std::string apply(std::string_view text) const;
  /// The same for text that continues other text: nothing is put in front of it.
  std::string apply_continued(std::string_view text) const;

 private:
  std::vector<NormalizerRule> rules_;
};

}  // namespace mla
