#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/regex.h"

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

/// Replaces every occurrence of a string; bytes that are not valid UTF-8 pass.
struct ReplaceTextRule {
  std::string from, to;
};

/// Collapses runs of spaces and drops those at both ends (SentencePiece's remove_extra_whitespaces).
struct CollapseSpacesRule {};

using NormalizerRule = std::variant<PrependRule, ReplaceRule, ReplaceTextRule, CollapseSpacesRule>;

/// What is done to text before it is cut into pieces. Rules run in order, each over the whole text.
class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizerRule> rules) : rules_(std::move(rules)) {}

  bool identity() const { return rules_.empty(); }
  std::string apply(std::string_view text) const;

 private:
  std::vector<NormalizerRule> rules_;
};

}  // namespace mla
