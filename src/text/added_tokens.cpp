#include "text/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "text/utf8.h"

namespace mla {
namespace {

/// The character that ends at byte `at` (> 0) of `text`.
Utf8Char character_before(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && at - begin < 4 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
  const Utf8Char c = next_utf8(text.substr(begin, at - begin));
  return c.valid && begin + c.length == at ? c : Utf8Char{0, 1, false, false};
}

bool is_word(const Utf8Char& c) {
  if (!c.valid) return false;
  if (c.code < 0x80) {
    const char32_t lower = c.code | 0x20;
    return c.code == '_' || (c.code >= '0' && c.code <= '9') || (lower >= 'a' && lower <= 'z');
  }
  static const Result<Regex> word = Regex::compile("\\w");
  std::string text;
  append_utf8(text, c.code);
  return word.ok() && word->find(text, 0).has_value();
}

size_t skip_space_back(std::string_view text, size_t at, size_t stop) {
  while (at > stop) {
    const Utf8Char c = character_before(text, at);
    if (!c.valid || !is_white_space(c.code)) break;
    at -= c.length;
  }
  return at;
}

/// The spans that share a byte with [begin, end).
std::span<const TextSpan> overlapping(std::span<const TextSpan> spans, size_t begin, size_t end) {
  const auto first = std::upper_bound(spans.begin(), spans.end(), begin,
                                      [](size_t at, const TextSpan& s) { return at < s.end; });
  const auto last =
      std::lower_bound(first, spans.end(), end, [](const TextSpan& s, size_t at) { return s.begin < at; });
  return {first, last};
}

/// The spans of a section of a text, where they are once the section is normalised. Nothing when normalising
/// mixes what is on both sides of a border, so that nobody can say.
std::optional<std::vector<TextSpan>> spans_of_normalized(std::span<const TextSpan> spans,
                                                         std::string_view section, size_t begin,
                                                         const Normalizer& normalizer,
                                                         std::string_view changed) {
  std::string pieces;
  std::vector<TextSpan> moved;
  size_t at = 0;
  const auto append = [&](size_t to) {
    const std::string_view piece = section.substr(at, to - at);
    pieces += at == 0 ? normalizer.apply(piece) : normalizer.apply_continued(piece);
    at = to;
  };
  for (const TextSpan& span : spans) {
    append(std::max(span.begin, begin) - begin);
    const size_t from = pieces.size();
    append(std::min(span.end - begin, section.size()));
    moved.push_back({from, pieces.size()});
  }
  append(section.size());
  if (pieces != changed) return std::nullopt;
  return moved;
}

size_t skip_space(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Utf8Char c = next_utf8(text.substr(at));
    if (!c.valid || !is_white_space(c.code)) break;
    at += c.length;
  }
  return at;
}

}  // namespace

bool is_turn_marker(std::string_view text) {
  return text.starts_with("<\uFF5C") && text.ends_with("\uFF5C>");
}

Result<AddedTokens> AddedTokens::make(std::vector<AddedToken> tokens, const Normalizer& normalizer) {
  AddedTokens added;
  added.tokens_ = std::move(tokens);
  std::vector<std::pair<std::string, int32_t>> raw, normalized;
  for (size_t i = 0; i < added.tokens_.size(); ++i) {
    const AddedToken& token = added.tokens_[i];
    const auto refuse = [&](size_t n_bytes) {
      return Error::invalid_file(
          fmt::format("added token {} has {} bytes, expected at most {}", token.id, n_bytes, kMaxContent));
    };
    if (token.content.size() > kMaxContent) return refuse(token.content.size());
    const bool changes = token.normalized && !normalizer.identity();
    std::string content = changes ? normalizer.apply(token.content) : token.content;
    if (content.size() > kMaxContent) return refuse(content.size());
    (token.normalized ? normalized : raw).emplace_back(std::move(content), static_cast<int32_t>(i));
  }
  added.raw_ = PrefixMatcher(std::move(raw));
  added.normalized_ = PrefixMatcher(std::move(normalized));
  return added;
}

std::optional<AddedTokens::Found> AddedTokens::find(const PrefixMatcher& matcher, std::string_view text,
                                                    size_t from, const Special& special) const {
  for (size_t at = from; at < text.size(); ++at) {
    if (!matcher.may_start(text[at])) continue;
    Found found{at, at, nullptr};
    matcher.for_each_prefix(text.substr(at), [&](size_t length, int32_t index) {
      const AddedToken& token = tokens_[static_cast<size_t>(index)];
      const size_t end = at + length;
      if (token.special && (!special.anywhere || !overlapping(special.except, at, end).empty())) return;
      const bool inside_word = (at > 0 && is_word(character_before(text, at))) ||
                               (end < text.size() && is_word(next_utf8(text.substr(end))));
      if (token.single_word && inside_word) return;
      found = {at, end, &token};
    });
    if (found.token == nullptr) continue;
    if (found.token->lstrip) found.begin = skip_space_back(text, found.begin, from);
    if (found.token->rstrip) found.end = skip_space(text, found.end);
    return found;
  }
  return std::nullopt;
}

void AddedTokens::cut_at(const PrefixMatcher& matcher, std::string_view text, const Special& special,
                         const OnToken& on_token, const OnText& on_text) const {
  size_t last = 0;
  while (!matcher.empty()) {
    const auto found = find(matcher, text, last, special);
    if (!found) break;
    if (found->begin > last) on_text(text.substr(last, found->begin - last), last == 0);
    on_token(found->token->id);
    last = found->end;
  }
  if (last < text.size()) on_text(text.substr(last), last == 0);
}

void AddedTokens::cut(std::string_view text, const Special& special, const Normalizer& normalizer,
                      const OnToken& on_token, const OnText& on_text) const {
  cut_at(raw_, text, special, on_token, [&](std::string_view section, bool at_start) {
    const auto begin = static_cast<size_t>(section.data() - text.data());
    const std::string normalized = normalizer.identity() ? std::string() : normalizer.apply(section);
    const std::string_view changed = normalizer.identity() ? section : std::string_view(normalized);
    Special inside{special.anywhere, {}};
    std::optional<std::vector<TextSpan>> moved;
    const auto spans = overlapping(special.except, begin, begin + section.size());
    if (special.anywhere && !spans.empty() && !normalized_.empty()) {
      moved = spans_of_normalized(spans, section, begin, normalizer, changed);
      inside.anywhere = moved.has_value();
      if (moved) inside.except = *moved;
    }
    cut_at(normalized_, changed, inside, on_token,
           [&](std::string_view rest, bool first) { on_text(rest, at_start && first); });
  });
}

}  // namespace mla
