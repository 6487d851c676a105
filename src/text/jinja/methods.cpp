#include "text/jinja/methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "text/jinja/characters.h"
#include "text/jinja/failure.h"
#include "text/jinja/format.h"
#include "text/jinja/operators.h"
#include "text/jinja/strings.h"

namespace mla::jinja {
namespace {

using StringMethod = Value (*)(Heap&, const Text&, const CallArguments&);

template <Case kTo>
Value cased(Heap& heap, const Text& self, const CallArguments& arguments) {
  bind<0>("str", arguments, {});
  return change_case(heap, self, kTo);
}

template <bool kLeft, bool kRight>
Value stripped(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [chars] = bind<1>("strip", arguments, {"chars"});
  const bool given = chars && !chars->is(Kind::kNone);
  return strip(heap, self, given ? &require_string(*chars) : nullptr, kLeft, kRight);
}

template <bool kFromRight>
Value split_method(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [sep, maxsplit] = bind<2>("split", arguments, {"sep", "maxsplit"});
  const int64_t most = maxsplit ? require_integer(*maxsplit) : -1;
  if (!sep || sep->is(Kind::kNone))
    return heap.list(kFromRight ? split_at_space_from_right(heap, self, most)
                                : split_at_space(heap, self, most));
  const Text& separator = require_string(*sep);
  return heap.list(kFromRight ? split_from_right(heap, self, separator, most)
                              : split(heap, self, separator, most));
}

Value splitlines(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [keepends] = bind<1>("splitlines", arguments, {"keepends"});
  return heap.list(split_lines(heap, self, keepends && truthy(*keepends)));
}

template <bool kFromRight>
Value partition(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [sep] = bind<1>("partition", arguments, {"sep"}, 1);
  const Text& separator = require_string(*sep);
  std::vector<Value> parts =
      kFromRight ? split_from_right(heap, self, separator, 1) : split(heap, self, separator, 1);
  if (parts.size() == 2) return heap.tuple({parts[0], *sep, parts[1]});
  const Value none = heap.string("");
  return kFromRight ? heap.tuple({none, none, parts[0]}) : heap.tuple({parts[0], none, none});
}

/// The characters [start, end) of a string, in bytes.
TextSpan part(Heap& heap, const Text& self, const std::optional<Value>& start,
              const std::optional<Value>& end) {
  const auto bound = [&](const std::optional<Value>& v, size_t missing) {
    if (!v || v->is(Kind::kNone)) return missing;
    heap.charge_scan(self.bytes.size());
    return character_offset(self.bytes, clamp_index(require_integer(*v), count_characters(self.bytes)));
  };
  const size_t begin = bound(start, 0);
  return {begin, std::max(begin, bound(end, self.bytes.size()))};
}

template <bool kAtStart>
Value starts_or_ends_with(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [prefix, start, end] =
      bind<3>(kAtStart ? "startswith" : "endswith", arguments, {"prefix", "start", "end"}, 1);
  const TextSpan span = part(heap, self, start, end);
  const std::string_view text = std::string_view(self.bytes).substr(span.begin, span.end - span.begin);
  const auto matches = [&](const Value& v) {
    const std::string_view affix = require_string(v).bytes;
    heap.charge_scan(affix.size());
    return kAtStart ? text.starts_with(affix) : text.ends_with(affix);
  };
  if (!prefix->is(Kind::kTuple)) return Value::of(matches(*prefix));
  const std::vector<Value>& all = prefix->sequence->items;
  return Value::of(std::any_of(all.begin(), all.end(), matches));
}

template <bool kFromRight, bool kMustBeThere>
Value find(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [sub, start, end] = bind<3>("find", arguments, {"sub", "start", "end"}, 1);
  heap.charge_scan(self.bytes.size());
  const TextSpan span = part(heap, self, start, end);
  const std::string_view text = std::string_view(self.bytes).substr(0, span.end);
  const std::string& wanted = require_string(*sub).bytes;
  size_t hit = kFromRight ? find_last_bytes(text, wanted) : find_bytes(text, wanted, span.begin);
  if (hit != std::string_view::npos && hit < span.begin) hit = std::string_view::npos;
  if (hit != std::string_view::npos) return Value::size(count_characters(text.substr(0, hit)));
  if (kMustBeThere) throw Failure("substring not found");
  return Value::of(int64_t{-1});
}

Value count(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [sub, start, end] = bind<3>("count", arguments, {"sub", "start", "end"}, 1);
  heap.charge_scan(self.bytes.size());
  const TextSpan span = part(heap, self, start, end);
  const std::string_view text = std::string_view(self.bytes).substr(span.begin, span.end - span.begin);
  const std::string& wanted = require_string(*sub).bytes;
  if (wanted.empty()) return Value::size(count_characters(text) + 1);
  int64_t n = 0;
  for (size_t at = find_bytes(text, wanted); at != std::string_view::npos;
       at = find_bytes(text, wanted, at + wanted.size()))
    ++n;
  return Value::of(n);
}

Value replace_method(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [old, by, count] = bind<3>("replace", arguments, {"old", "new", "count"}, 2);
  return replace(heap, self, require_string(*old), require_string(*by), count ? require_integer(*count) : -1);
}

Value join_method(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [iterable] = bind<1>("join", arguments, {"iterable"}, 1);
  const std::vector<Value> items = elements(heap, *iterable);
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_string())
      throw Failure(fmt::format("sequence item {}: expected str instance, {} found", i, type_name(items[i])));
  }
  return join(heap, self, items);
}

template <Align kAlign>
Value padded(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [width, fill] = bind<2>("center", arguments, {"width", "fillchar"}, 1);
  if (fill && (require_string(*fill).bytes.size() > 4 || count_characters(fill->bytes()) != 1))
    throw Failure("The fill character must be exactly one character long");
  return pad(heap, self, kAlign, require_integer(*width),
             fill ? std::string_view(require_string(*fill).bytes) : " ");
}

Value zfill(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [width] = bind<1>("zfill", arguments, {"width"}, 1);
  const bool sign = self.bytes.starts_with('-') || self.bytes.starts_with('+');
  const Value digits = substring(heap, self, sign ? 1 : 0, self.bytes.size());
  const Value filled = pad(heap, *digits.text, Align::kRight, require_integer(*width) - (sign ? 1 : 0), "0");
  TextBuilder out(heap);
  out.append(self, 0, sign ? 1 : 0);
  out.append(*filled.text);
  return out.take_value(self.markup);
}

Value removeprefix(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [prefix] = bind<1>("removeprefix", arguments, {"prefix"}, 1);
  const std::string& affix = require_string(*prefix).bytes;
  return substring(heap, self, self.bytes.starts_with(affix) ? affix.size() : 0, self.bytes.size());
}

Value removesuffix(Heap& heap, const Text& self, const CallArguments& arguments) {
  const auto [suffix] = bind<1>("removesuffix", arguments, {"suffix"}, 1);
  const std::string& affix = require_string(*suffix).bytes;
  return substring(heap, self, 0, self.bytes.size() - (self.bytes.ends_with(affix) ? affix.size() : 0));
}

/// Whether all characters are of a class, and there are any.
template <CharacterClass kClass>
Value all_are(Heap& heap, const Text& self, const CallArguments& arguments) {
  bind<0>("isspace", arguments, {});
  heap.charge_steps(self.bytes.size() / 8);
  for (size_t at = 0; at < self.bytes.size();) {
    const Utf8Char c = next_utf8(std::string_view(self.bytes).substr(at));
    if (!c.valid || !is_in(c.code, kClass)) return Value::of(false);
    at += c.length;
  }
  return Value::of(!self.bytes.empty());
}

Value isalnum(Heap& heap, const Text& self, const CallArguments& arguments) {
  bind<0>("isalnum", arguments, {});
  heap.charge_steps(self.bytes.size() / 8);
  for (size_t at = 0; at < self.bytes.size();) {
    const Utf8Char c = next_utf8(std::string_view(self.bytes).substr(at));
    if (!c.valid || !(is_in(c.code, CharacterClass::kAlphabetic) || is_in(c.code, CharacterClass::kNumeric)))
      return Value::of(false);
    at += c.length;
  }
  return Value::of(!self.bytes.empty());
}

/// str.islower(), str.isupper(): some character has the case, none the other.
template <CharacterClass kCase, CharacterClass kOther>
Value has_case(Heap& heap, const Text& self, const CallArguments& arguments) {
  bind<0>("islower", arguments, {});
  heap.charge_steps(self.bytes.size() / 8);
  bool any = false;
  for (size_t at = 0; at < self.bytes.size();) {
    const std::string_view rest = std::string_view(self.bytes).substr(at);
    const Utf8Char c = next_utf8(rest);
    if (c.valid && is_in(c.code, kOther)) return Value::of(false);
    any = any || (c.valid && is_in(c.code, kCase));
    at += character_length(rest);
  }
  return Value::of(any);
}

const std::unordered_map<std::string_view, StringMethod>& string_methods() {
  static const std::unordered_map<std::string_view, StringMethod> kMethods = {
      {"capitalize", cased<Case::kCapitalize>},
      {"casefold", cased<Case::kLower>},
      {"center", padded<Align::kCenter>},
      {"count", count},
      {"endswith", starts_or_ends_with<false>},
      {"find", find<false, false>},
      {"format",
       [](Heap& heap, const Text& self, const CallArguments& a) { return brace_format(heap, self, a); }},
      {"index", find<false, true>},
      {"isalnum", isalnum},
      {"isalpha", all_are<CharacterClass::kAlphabetic>},
      {"isdecimal", all_are<CharacterClass::kDecimal>},
      {"isdigit", all_are<CharacterClass::kDigit>},
      {"islower", has_case<CharacterClass::kLower, CharacterClass::kUpper>},
      {"isnumeric", all_are<CharacterClass::kNumeric>},
      {"isspace", all_are<CharacterClass::kSpace>},
      {"isupper", has_case<CharacterClass::kUpper, CharacterClass::kLower>},
      {"join", join_method},
      {"ljust", padded<Align::kLeft>},
      {"lower", cased<Case::kLower>},
      {"lstrip", stripped<true, false>},
      {"partition", partition<false>},
      {"removeprefix", removeprefix},
      {"removesuffix", removesuffix},
      {"replace", replace_method},
      {"rfind", find<true, false>},
      {"rindex", find<true, true>},
      {"rjust", padded<Align::kRight>},
      {"rpartition", partition<true>},
      {"rsplit", split_method<true>},
      {"rstrip", stripped<false, true>},
      {"split", split_method<false>},
      {"splitlines", splitlines},
      {"startswith", starts_or_ends_with<true>},
      {"strip", stripped<true, true>},
      {"swapcase", cased<Case::kSwap>},
      {"title", cased<Case::kTitle>},
      {"upper", cased<Case::kUpper>},
      {"zfill", zfill},
  };
  return kMethods;
}

Value call_dict_method(Heap& heap, const Value& object, std::string_view name,
                       const CallArguments& arguments) {
  const Dict& dict = *object.dict;
  if (name == "get") {
    const auto [key, missing] = bind<2>("get", arguments, {"key", "default"}, 1);
    require_hashable(*key);
    const size_t at = find_key(heap, dict, *key);
    return at != Dict::npos ? dict.entries[at].second : missing.value_or(Value::none());
  }
  bind<0>(name, arguments, {});
  if (name == "copy") {
    const Value copy = heap.dict();
    for (const auto& [key, value] : dict.entries) heap.insert(*copy.dict, key, value);
    return copy;
  }
  std::vector<Value> items;
  for (const auto& [key, value] : dict.entries)
    items.push_back(name == "keys" ? key : name == "values" ? value : heap.tuple({key, value}));
  return heap.sequence(Kind::kView, std::move(items),
                       name == "keys"     ? "dict_keys"
                       : name == "values" ? "dict_values"
                                          : "dict_items");
}

Value call_list_method(Heap& heap, const Value& object, std::string_view name,
                       const CallArguments& arguments) {
  const std::vector<Value>& items = object.sequence->items;
  if (name == "copy") {
    bind<0>(name, arguments, {});
    return heap.list(items);
  }
  const auto [value] = bind<1>(name, arguments, {"value"}, 1);
  if (name == "count") {
    return Value::size(static_cast<size_t>(std::count_if(
        items.begin(), items.end(), [&, v = *value](const Value& i) { return equal(heap, i, v); })));
  }
  for (size_t i = 0; i < items.size(); ++i) {
    if (equal(heap, items[i], *value)) return Value::size(i);
  }
  throw Failure(fmt::format("{} is not in {}", repr_of(heap, *value), type_name(object)));
}

Value call_loop_method(Heap& heap, Loop& loop, std::string_view name, const CallArguments& arguments) {
  const std::vector<Value>& values = arguments.positional;
  if (name == "cycle") {
    if (values.empty()) throw Failure("no items for cycling given");
    return values[loop.index0 % values.size()];
  }
  const Value now = heap.tuple(values);
  const bool changed = !loop.has_changed || !equal(heap, loop.last_changed, now);
  loop.last_changed = now;
  loop.has_changed = true;
  return Value::of(changed);
}

template <size_t N>
bool is_one_of(std::string_view name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

bool has_method(const Value& object, std::string_view name) {
  switch (object.kind) {
    case Kind::kString:
      return string_methods().count(name) > 0;
    case Kind::kDict:
      return is_one_of<5>(name, {"get", "items", "keys", "values", "copy"});
    case Kind::kList:
      return is_one_of<3>(name, {"count", "index", "copy"});
    case Kind::kTuple:
      return is_one_of<2>(name, {"count", "index"});
    case Kind::kLoop:
      return is_one_of<2>(name, {"cycle", "changed"});
    default:
      return false;
  }
}

bool is_mutating_method(const Value& object, std::string_view name) {
  if (object.is(Kind::kDict)) return is_one_of<5>(name, {"clear", "pop", "popitem", "setdefault", "update"});
  if (!object.is(Kind::kList)) return false;
  return is_one_of<8>(name, {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"});
}

Value call_method(Heap& heap, const Method& method, const CallArguments& arguments) {
  const Value& object = method.receiver;
  switch (object.kind) {
    case Kind::kString:
      return string_methods().at(method.name)(heap, *object.text, arguments);
    case Kind::kDict:
      return call_dict_method(heap, object, method.name, arguments);
    case Kind::kLoop:
      return call_loop_method(heap, *object.loop, method.name, arguments);
    default:
      return call_list_method(heap, object, method.name, arguments);
  }
}

}  // namespace mla::jinja
