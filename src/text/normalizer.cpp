#include "text/normalizer.h"

#include <algorithm>

#include "text/utf8.h"

namespace mla {
namespace {

std::string replace_text(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t hit = from.empty() ? std::string_view::npos : text.find(from, at);
    out.append(text.substr(at, hit - at));
    if (hit == std::string_view::npos) break;
    out.append(to);
    at = hit + from.size();
  }
  return out;
}

std::string replace_matches(std::string_view text, const ReplaceRule& rule) {
  std::string out;
  while (!text.empty()) {
    const std::string_view valid = text.substr(0, valid_utf8_prefix(text));
    size_t last = 0;
    for (size_t from = 0; from < valid.size();) {
      const auto match = rule.regex.find(valid, from);
      if (!match) break;
      out.append(valid.substr(last, match->begin - last)).append(rule.text);
      last = match->end;
      from = match->end > match->begin
                 ? match->end
                 : match->end + std::max<size_t>(1, next_utf8(valid.substr(match->end)).length);
    }
    out.append(valid.substr(last));
    text.remove_prefix(valid.size());
    const size_t bad = next_utf8(text).length;
    out.append(text.substr(0, bad));
    text.remove_prefix(bad);
  }
  return out;
}

std::string collapse_spaces(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out.push_back(c);
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

struct Apply {
  const std::string& text;
  std::string operator()(const PrependRule& r) const { return text.empty() ? text : r.text + text; }
  std::string operator()(const ReplaceTextRule& r) const { return replace_text(text, r.from, r.to); }
  std::string operator()(const ReplaceRule& r) const { return replace_matches(text, r); }
  std::string operator()(const CollapseSpacesRule&) const { return collapse_spaces(text); }
  std::string operator()(const UnicodeRule& r) const { return normalize_unicode(text, r.form); }
  std::string operator()(const LowercaseRule&) const { return lower_case(text); }
  std::string operator()(const StripAccentsRule&) const { return strip_combining_marks(text); }
  std::string operator()(const StripRule& r) const {
    return std::string(strip_white_space(text, r.left, r.right));
  }
};

}  // namespace

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const NormalizerRule& rule : rules_) out = std::visit(Apply{out}, rule);
  return out;
}

std::string Normalizer::apply_continued(std::string_view text) const {
  std::string out(text);
  for (const NormalizerRule& rule : rules_) {
    if (!std::holds_alternative<PrependRule>(rule)) out = std::visit(Apply{out}, rule);
  }
  return out;
}

}  // namespace mla
