#include "text/pretokenizer.h"

#include <algorithm>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace mla {
namespace {

/// The start of a piece that is not the text's first.
TextStart after(TextStart start) {
  return start == TextStart::kInput ? TextStart::kSection : start;
}

struct Segment {
  size_t begin, end;
  bool is_match;
};

/// Calls `visit(Segment)` for the matches and what lies between them, in order, covering the piece. Empty
/// matches cut without taking anything.
template <typename Visit>
void for_each_segment(const SplitStep& split, std::string_view piece, Visit visit) {
  size_t last = 0;
  const auto emit = [&](size_t begin, size_t end, bool is_match) {
    if (end > begin) visit(Segment{begin, end, is_match != split.invert});
  };
  for (size_t from = 0; from < piece.size();) {
    const auto match = split.regex.find(piece, from);
    if (!match) break;
    emit(last, match->begin, false);
    emit(match->begin, match->end, true);
    last = match->end;
    from = match->end > match->begin
               ? match->end
               : match->end + std::max<size_t>(1, next_utf8(piece.substr(match->end)).length);
  }
  emit(last, piece.size(), false);
}

std::vector<Segment> merged_segments(const SplitStep& split, std::string_view piece) {
  std::vector<Segment> all;
  for_each_segment(split, piece, [&](Segment s) { all.push_back(s); });
  std::vector<Segment> merged;
  const auto joins = [&](const Segment& previous, const Segment& s) {
    switch (split.behavior) {
      case SplitBehavior::kMergedWithPrevious:
        return s.is_match && !previous.is_match;
      case SplitBehavior::kMergedWithNext:
        return previous.is_match && !s.is_match;
      default:
        return previous.is_match == s.is_match;  // kContiguous
    }
  };
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0 && joins(all[i - 1], all[i])) {
      merged.back().end = all[i].end;
    } else {
      merged.push_back(all[i]);
    }
  }
  return merged;
}

}  // namespace

void PreTokenizer::run(std::string_view text, TextStart start, const Sink& sink) const {
  while (!text.empty()) {
    const size_t good = valid_utf8_prefix(text);
    if (good > 0) apply(0, text.substr(0, good), start, sink);
    text.remove_prefix(good);
    size_t bad = 0;
    for (Utf8Char c = next_utf8(text); c.length > 0 && !c.valid; c = next_utf8(text.substr(bad)))
      bad += c.length;
    if (bad > 0) sink(text.substr(0, bad));
    text.remove_prefix(bad);
    start = TextStart::kInside;
  }
}

void PreTokenizer::apply(size_t step, std::string_view piece, TextStart start, const Sink& sink) const {
  if (step == steps_.size()) {
    sink(piece);
    return;
  }
  const PreTokenizerStep& current = steps_[step];
  if (const auto* split_step = std::get_if<SplitStep>(&current)) {
    split(*split_step, step + 1, piece, start, sink);
  } else if (const auto* meta = std::get_if<MetaspaceStep>(&current)) {
    metaspace(*meta, step + 1, piece, start, sink);
  } else if (std::holds_alternative<PrefixSpaceStep>(current)) {
    if (start == TextStart::kInside || piece.starts_with(' ')) {
      apply(step + 1, piece, start, sink);
    } else {
      apply(step + 1, " " + std::string(piece), start, sink);
    }
  } else {
    // The later steps see the spelling; the pieces that leave are bytes again.
    apply(step + 1, to_byte_level(piece), start, [&](std::string_view spelled) {
      const auto bytes = from_byte_level(spelled);
      sink(bytes ? std::string_view(*bytes) : spelled);
    });
  }
}

void PreTokenizer::split(const SplitStep& split, size_t next, std::string_view piece, TextStart start,
                         const Sink& sink) const {
  const auto pass_on = [&](const Segment& s) {
    apply(next, piece.substr(s.begin, s.end - s.begin), s.begin == 0 ? start : after(start), sink);
  };
  switch (split.behavior) {
    case SplitBehavior::kIsolated:
      for_each_segment(split, piece, pass_on);
      break;
    case SplitBehavior::kRemoved:
      for_each_segment(split, piece, [&](const Segment& s) {
        if (!s.is_match) pass_on(s);
      });
      break;
    default:
      for (const Segment& s : merged_segments(split, piece)) pass_on(s);
  }
}

void PreTokenizer::metaspace(const MetaspaceStep& meta, size_t next, std::string_view piece, TextStart start,
                             const Sink& sink) const {
  std::string text;
  text.reserve(piece.size() + meta.replacement.size());
  for (const char c : piece) {
    if (c == ' ') {
      text += meta.replacement;
    } else {
      text += c;
    }
  }
  const bool wanted = (meta.prepend == PrependScheme::kAlways && start != TextStart::kInside) ||
                      (meta.prepend == PrependScheme::kFirst && start == TextStart::kInput);
  if (wanted && !std::string_view(text).starts_with(meta.replacement)) text.insert(0, meta.replacement);
  if (!meta.split || meta.replacement.empty()) {
    apply(next, text, start, sink);
    return;
  }
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(meta.replacement, begin + 1), text.size());
    apply(next, std::string_view(text).substr(begin, end - begin), begin == 0 ? start : after(start), sink);
    begin = end;
  }
}

}  // namespace mla
