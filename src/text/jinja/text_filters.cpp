#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "text/jinja/characters.h"
#include "text/jinja/failure.h"
#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/operators.h"
#include "text/jinja/strings.h"

namespace mla::jinja {
namespace {

template <Case kTo>
Value filter_case(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("filter", arguments, {});
  return change_case(heap, *str(heap, input).text, kTo);
}

Value filter_trim(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [chars] = bind<1>("trim", arguments, {"chars"});
  const bool given = chars && !chars->is(Kind::kNone);
  return strip(heap, *str(heap, input).text, given ? &require_string(*chars) : nullptr, true, true);
}

/// Without markup: str(x) makes a plain string of it.
Text plain(Heap& heap, const Value& value) {
  TextBuilder out(heap);
  append_str(out, value);
  return out.take();
}

Value filter_replace(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [old, by, count] = bind<3>("replace", arguments, {"old", "new", "count"}, 2);
  const bool limited = count && !count->is(Kind::kNone);
  return replace(heap, plain(heap, input), plain(heap, *old), plain(heap, *by),
                 limited ? require_integer(*count) : -1);
}

Value filter_string(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("string", arguments, {});
  return str(heap, input);
}

Value filter_safe(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("safe", arguments, {});
  TextBuilder out(heap);
  append_str(out, input);
  return out.take_value(/*markup=*/true);
}

Value filter_escape(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("escape", arguments, {});
  return escape(heap, *str(heap, input).text);
}

Value filter_forceescape(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("forceescape", arguments, {});
  return escape(heap, plain(heap, input));
}

Value filter_center(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [width] = bind<1>("center", arguments, {"width"});
  return pad(heap, *str(heap, input).text, Align::kCenter, width ? require_integer(*width) : 80);
}

Value filter_format(Heap& heap, const Value& input, const CallArguments& arguments) {
  const Value format = str(heap, input);
  if (arguments.keyword.empty()) return percent_format(heap, *format.text, heap.tuple(arguments.positional));
  if (!arguments.positional.empty())
    throw Failure("can't handle positional and keyword arguments at the same time");
  const Value named = heap.dict();
  for (const auto& [key, value] : arguments.keyword) heap.insert(*named.dict, heap.string(key), value);
  return percent_format(heap, *format.text, named);
}

Value filter_indent(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [width, first, blank] = bind<3>("indent", arguments, {"width", "first", "blank"});
  const Text& text = require_string(input);
  TextBuilder indention(heap);
  if (width && width->is_string()) {
    indention.append(*width->text);
  } else {
    indention.repeat(" ", static_cast<size_t>(std::max<int64_t>(width ? require_integer(*width) : 4, 0)));
  }
  const Text margin = indention.take();
  // With a line break more, one at the end opens an empty line.
  TextBuilder closed(heap);
  closed.append(text);
  closed.append("\n");
  const std::vector<Value> lines = split_lines(heap, closed.take(), false);
  TextBuilder out(heap);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.append("\n");
    const bool all = blank && truthy(*blank);
    if (i == 0 ? first && truthy(*first) : all || !lines[i].bytes().empty()) out.append(margin);
    out.append(*lines[i].text);
  }
  return out.take_value(text.markup);
}

Value filter_truncate(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [length, killwords, end, leeway] =
      bind<4>("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const Text& text = require_string(input);
  heap.charge_scan(text.bytes.size());
  const int64_t most = length ? require_integer(*length) : 255;
  const Value tail = end ? *end : heap.string("...");
  const auto n_tail = static_cast<int64_t>(count_characters(require_string(tail).bytes));
  const int64_t tolerance = leeway && !leeway->is(Kind::kNone) ? require_integer(*leeway) : 5;
  if (most < n_tail) throw Failure(fmt::format("expected length >= {}, got {}", n_tail, most));
  if (tolerance < 0) throw Failure(fmt::format("expected leeway >= 0, got {}", tolerance));
  if (static_cast<int64_t>(count_characters(text.bytes)) - tolerance <= most) return input;
  size_t cut = character_offset(text.bytes, static_cast<size_t>(most - n_tail));
  if (!killwords || !truthy(*killwords)) {
    const size_t space = cut == 0 ? std::string::npos : text.bytes.rfind(' ', cut - 1);
    if (space != std::string::npos) cut = space;
  }
  TextBuilder out(heap);
  out.append(text, 0, cut);
  out.append(*tail.text);
  return out.take_value();
}

Value filter_wordcount(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("wordcount", arguments, {});
  const std::string_view text = str(heap, input).bytes();
  heap.charge_steps(text.size() / 8);
  int64_t n = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = next_utf8(text.substr(at));
    const bool word = c.valid && (c.code == '_' || is_in(c.code, CharacterClass::kAlphabetic) ||
                                  is_in(c.code, CharacterClass::kNumeric));
    n += word && !inside ? 1 : 0;
    inside = word;
    at += character_length(text.substr(at));
  }
  return Value::of(n);
}

Value filter_urlencode(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("urlencode", arguments, {});
  const Text text = plain(heap, input);
  TextBuilder out(heap);
  ForeignCursor cursor(text);
  for (size_t i = 0; i < text.bytes.size(); ++i) {
    const char c = text.bytes[i];
    const bool plain_character = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                 std::string_view("_.-~/").find(c) != std::string_view::npos;
    out.append(plain_character ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c)),
               cursor.at(i));
  }
  return out.take_value();
}

}  // namespace

Filter find_text_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Filter> kFilters = {
      {"capitalize", filter_case<Case::kCapitalize>},
      {"center", filter_center},
      {"e", filter_escape},
      {"escape", filter_escape},
      {"forceescape", filter_forceescape},
      {"format", filter_format},
      {"indent", filter_indent},
      {"lower", filter_case<Case::kLower>},
      {"replace", filter_replace},
      {"safe", filter_safe},
      {"string", filter_string},
      {"title", filter_case<Case::kTitleWords>},
      {"trim", filter_trim},
      {"truncate", filter_truncate},
      {"upper", filter_case<Case::kUpper>},
      {"urlencode", filter_urlencode},
      {"wordcount", filter_wordcount},
  };
  const auto hit = kFilters.find(name);
  return hit == kFilters.end() ? nullptr : hit->second;
}

}  // namespace mla::jinja
