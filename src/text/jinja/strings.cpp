#include "text/jinja/strings.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/characters.h"
#include "text/jinja/failure.h"
#include "text/jinja/operators.h"

namespace mla::jinja {
namespace {

size_t as_count(int64_t most) {
  return most < 0 ? std::string::npos : static_cast<size_t>(most);
}

bool begins_word(std::string_view character) {
  if (std::string_view("-({[<").find(character) != std::string_view::npos) return true;
  const Utf8Char c = next_utf8(character);
  return c.valid && is_python_space(c.code);
}

/// Changes one character after the other; what comes next depends on what was before.
class CaseChanger {
 public:
  explicit CaseChanger(Case to) : to_(to) {}

  void append(std::string& out, std::string_view character) {
    const Utf8Char c = next_utf8(character);
    if (!c.valid) {
      out += character;
      return;
    }
    const bool first = starts_;
    switch (to_) {
      case Case::kUpper:
        return append_upper(out, c.code);
      case Case::kLower:
        return append_lower(out, c.code);
      case Case::kSwap:
        return is_in(c.code, CharacterClass::kUpper) ? append_lower(out, c.code) : append_upper(out, c.code);
      case Case::kCapitalize:
        starts_ = false;
        break;
      case Case::kTitle:
        starts_ = !is_in(c.code, CharacterClass::kLower) && !is_in(c.code, CharacterClass::kUpper);
        break;
      case Case::kTitleWords:
        starts_ = begins_word(character);
        return first ? append_upper(out, c.code) : append_lower(out, c.code);
    }
    if (first) {
      append_title(out, c.code);
    } else {
      append_lower(out, c.code);
    }
  }

 private:
  Case to_;
  bool starts_ = true;
};

/// The pieces of a text between cuts, which are [begin, end) in order.
std::vector<Value> pieces_between(Heap& heap, const Text& text, const std::vector<TextSpan>& cuts) {
  std::vector<Value> pieces;
  size_t at = 0;
  for (const TextSpan& cut : cuts) {
    pieces.push_back(substring(heap, text, at, cut.begin));
    at = cut.end;
  }
  pieces.push_back(substring(heap, text, at, text.bytes.size()));
  return pieces;
}

}  // namespace

Value change_case(Heap& heap, const Text& text, Case to) {
  heap.charge_steps(text.bytes.size() / 8);
  CaseChanger changer(to);
  ForeignCursor cursor(text);
  TextBuilder out(heap);
  std::string changed;
  for (size_t at = 0; at < text.bytes.size();) {
    const std::string_view rest = std::string_view(text.bytes).substr(at);
    const size_t n = character_length(rest);
    changed.clear();
    changer.append(changed, rest.substr(0, n));
    out.append(changed, cursor.at(at));
    at += n;
  }
  return out.take_value(text.markup);
}

Value replace(Heap& heap, const Text& text, const Text& old, const Text& by, int64_t count) {
  TextBuilder out(heap);
  const std::string_view bytes = text.bytes;
  size_t left = as_count(count), at = 0;
  heap.charge_scan(bytes.size());
  if (old.bytes.empty()) {
    for (; left > 0; --left) {
      out.append(by);
      if (at == bytes.size()) break;
      const size_t n = character_length(bytes.substr(at));
      out.append(text, at, at + n);
      at += n;
    }
  } else {
    for (; left > 0; --left) {
      const size_t hit = find_bytes(bytes, old.bytes, at);
      if (hit == std::string_view::npos) break;
      out.append(text, at, hit);
      out.append(by);
      at = hit + old.bytes.size();
    }
  }
  out.append(text, at, bytes.size());
  return out.take_value(text.markup);
}

std::vector<Value> split(Heap& heap, const Text& text, const Text& separator, int64_t most) {
  if (separator.bytes.empty()) throw Failure("empty separator");
  heap.charge_scan(text.bytes.size());
  std::vector<TextSpan> cuts;
  for (size_t at = 0; cuts.size() < as_count(most);) {
    const size_t hit = find_bytes(text.bytes, separator.bytes, at);
    if (hit == std::string::npos) break;
    at = hit + separator.bytes.size();
    cuts.push_back({hit, at});
  }
  return pieces_between(heap, text, cuts);
}

std::vector<Value> split_from_right(Heap& heap, const Text& text, const Text& separator, int64_t most) {
  if (separator.bytes.empty()) throw Failure("empty separator");
  heap.charge_scan(text.bytes.size());
  // In the mirrored text, from the left.
  const std::string mirrored(text.bytes.rbegin(), text.bytes.rend());
  const std::string wanted(separator.bytes.rbegin(), separator.bytes.rend());
  std::vector<TextSpan> cuts;
  for (size_t at = 0; cuts.size() < as_count(most);) {
    const size_t hit = find_bytes(mirrored, wanted, at);
    if (hit == std::string::npos) break;
    at = hit + wanted.size();
    cuts.push_back({mirrored.size() - at, mirrored.size() - hit});
  }
  std::reverse(cuts.begin(), cuts.end());
  return pieces_between(heap, text, cuts);
}

std::vector<Value> split_at_space(Heap& heap, const Text& text, int64_t most) {
  heap.charge_steps(text.bytes.size() / 8);
  std::vector<Value> words;
  const std::string_view bytes = text.bytes;
  for (size_t at = 0;;) {
    at += strip_bounds(bytes.substr(at), true, false).begin;
    if (at == bytes.size()) break;
    size_t end = at;
    if (words.size() >= as_count(most)) {
      words.push_back(substring(heap, text, at, bytes.size()));
      break;
    }
    while (end < bytes.size() &&
           strip_bounds(bytes.substr(end, character_length(bytes.substr(end))), true, false).begin == 0)
      end += character_length(bytes.substr(end));
    words.push_back(substring(heap, text, at, end));
    at = end;
  }
  return words;
}

std::vector<Value> split_at_space_from_right(Heap& heap, const Text& text, int64_t most) {
  std::vector<Value> words = split_at_space(heap, text, -1);
  if (words.size() <= as_count(most)) return words;
  // What is left of the last `most` words stays in one piece.
  std::vector<Value> kept(words.end() - static_cast<std::ptrdiff_t>(as_count(most)), words.end());
  const std::string_view bytes = text.bytes;
  size_t end = bytes.size();
  for (size_t i = kept.size(); i > 0; --i) {
    end = strip_bounds(bytes.substr(0, end), false, true).end;
    end -= kept[i - 1].bytes().size();
  }
  end = strip_bounds(bytes.substr(0, end), false, true).end;
  kept.insert(kept.begin(), substring(heap, text, 0, end));
  return kept;
}

std::vector<Value> split_lines(Heap& heap, const Text& text, bool keep_ends) {
  heap.charge_scan(text.bytes.size());
  std::vector<Value> lines;
  const std::string_view bytes = text.bytes;
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t n = line_break_length(bytes.substr(at));
    if (n == 0) {
      ++at;
      continue;
    }
    lines.push_back(substring(heap, text, begin, keep_ends ? at + n : at));
    begin = at += n;
  }
  if (begin < bytes.size()) lines.push_back(substring(heap, text, begin, bytes.size()));
  return lines;
}

Value join(Heap& heap, const Text& separator, const std::vector<Value>& items) {
  TextBuilder out(heap);
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(separator);
    out.append(*items[i].text);
  }
  return out.take_value(separator.markup);
}

Value strip(Heap& heap, const Text& text, const Text* set, bool left, bool right) {
  constexpr size_t kMaxSet = 256;
  if (set != nullptr && set->bytes.size() > kMaxSet) {
    throw Failure(fmt::format("strip: {} bytes of characters to strip, expected at most {}",
                              set->bytes.size(), kMaxSet));
  }
  const Bounds b = set == nullptr ? strip_bounds(text.bytes, left, right)
                                  : strip_bounds(text.bytes, set->bytes, left, right);
  heap.charge_scan((text.bytes.size() - (b.end - b.begin)) *
                   (set == nullptr ? 1 : 1 + set->bytes.size() / 16));
  return substring(heap, text, b.begin, b.end);
}

Value pad(Heap& heap, const Text& text, Align align, int64_t width, std::string_view fill) {
  heap.charge_scan(text.bytes.size());
  const size_t n = count_characters(text.bytes);
  const size_t wanted = width > 0 ? static_cast<size_t>(width) : 0;
  const size_t padding = wanted > n ? wanted - n : 0;
  // str.center() puts the odd space to the left of texts of odd length.
  const size_t before = align == Align::kLeft    ? 0
                        : align == Align::kRight ? padding
                                                 : padding / 2 + (padding & wanted & 1);
  TextBuilder out(heap);
  out.repeat(fill, before);
  out.append(text);
  out.repeat(fill, padding - before);
  return out.take_value(text.markup);
}

Value escape(Heap& heap, const Text& text) {
  TextBuilder out(heap);
  if (text.markup) {
    out.append(text);
  } else {
    out.append_escaped(text);
  }
  return out.take_value(/*markup=*/true);
}

}  // namespace mla::jinja
