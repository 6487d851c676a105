#include "text/jinja/heap.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/failure.h"
#include "text/jinja/operators.h"

namespace mla::jinja {

void Heap::charge_steps(size_t n) {
  steps_ += std::min(n, limits_.max_steps + 1);
  if (steps_ > limits_.max_steps) {
    throw Failure(
        fmt::format("the template does not come to an end: it took more than {} steps", limits_.max_steps));
  }
}

void Heap::charge_bytes(size_t n) {
  if (n > limits_.max_output - bytes_) {
    throw Failure(
        fmt::format("the template makes too much text: more than {} bytes, with all that it "
                    "put together on the way",
                    limits_.max_output));
  }
  bytes_ += n;
}

void Heap::check_depth(size_t depth) const {
  if (depth > limits_.max_depth) {
    throw Failure(fmt::format("values lie in values more than {} levels deep", limits_.max_depth));
  }
}

Value Heap::text(Text text) {
  return Value::of(&texts_.emplace_back(std::move(text)));
}

Value Heap::string(std::string_view bytes) {
  charge_bytes(bytes.size() + sizeof(Text));
  return text({.bytes = std::string(bytes)});
}

size_t value_depth(const Value& value) {
  switch (value.kind) {
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kView:
    case Kind::kIterator:
      return value.sequence->depth;
    case Kind::kDict:
      return value.dict->depth;
    case Kind::kMethod:
      return value_depth(value.method->receiver);
    default:
      return 0;  // a namespace too: it may hold itself, so nothing walks into one
  }
}

Value Heap::sequence(Kind kind, std::vector<Value> items, std::string_view label) {
  charge_bytes(sizeof(Sequence) + items.size() * sizeof(Value));
  charge_steps(items.size() / 8);
  size_t depth = 0;
  for (const Value& item : items) depth = std::max(depth, value_depth(item));
  check_depth(depth + 1);
  return Value::of(kind, &sequences_.emplace_back(Sequence{std::move(items), depth + 1, 0, label}));
}

Value Heap::dict() {
  charge_bytes(sizeof(Dict));
  return Value::of(Kind::kDict, &dicts_.emplace_back());
}

void Heap::insert(Dict& dict, Value key, Value value) {
  require_hashable(key);
  const size_t at = find_key(*this, dict, key);
  dict.depth = std::max({dict.depth, value_depth(value) + 1, value_depth(key) + 1});
  check_depth(dict.depth);
  if (at != Dict::npos) {
    dict.entries[at].second = value;
    return;
  }
  charge_bytes(2 * sizeof(std::pair<Value, Value>));
  dict.append(key, value);
}

Value Heap::range(int64_t start, int64_t stop, int64_t step) {
  const Range range{start, stop, step};
  if (range.size() > limits_.max_range) {
    throw Failure(
        fmt::format("range() of {} elements: at most {} are allowed", range.size(), limits_.max_range));
  }
  charge_bytes(sizeof(Range));
  return Value::of(&ranges_.emplace_back(range));
}

Value Heap::name_space() {
  charge_bytes(sizeof(Dict));
  return Value::of(Kind::kNamespace, &dicts_.emplace_back());
}

Value Heap::undefined_variable(std::string_view name) {
  return undefined_attribute(Value(), name);
}

Value Heap::undefined_attribute(Value object, std::string_view name) {
  charge_bytes(sizeof(Undefined));
  return Value::of(&undefined_.emplace_back(Undefined{name, object, {}}));
}

Value Heap::undefined(std::string hint) {
  charge_bytes(sizeof(Undefined) + hint.size());
  return Value::of(&undefined_.emplace_back(Undefined{{}, {}, std::move(hint)}));
}

Value Heap::method(Value receiver, std::string_view name) {
  charge_bytes(sizeof(Method));
  return Value::of(&methods_.emplace_back(Method{receiver, name}));
}

Value Heap::loop(std::vector<Value> items) {
  charge_bytes(sizeof(Loop) + items.size() * sizeof(Value));
  return Value::of(&loops_.emplace_back(Loop{.items = std::move(items)}));
}

void TextBuilder::mark(size_t begin, size_t end) {
  if (begin == end) return;
  std::vector<TextSpan>& spans = text_.foreign;
  if (!spans.empty() && spans.back().end == begin) {
    spans.back().end = end;
  } else {
    heap_.charge_bytes(sizeof(TextSpan));
    spans.push_back({begin, end});
  }
}

void TextBuilder::append(std::string_view bytes, bool foreign) {
  heap_.charge_bytes(bytes.size());
  const size_t begin = size();
  text_.bytes.append(bytes);
  if (foreign) mark(begin, size());
}

void TextBuilder::append(const Text& text, size_t begin, size_t end) {
  heap_.charge_bytes(end - begin);
  const size_t at = size();
  text_.bytes.append(text.bytes, begin, end - begin);
  auto span = std::upper_bound(text.foreign.begin(), text.foreign.end(), begin,
                               [](size_t byte, const TextSpan& s) { return byte < s.end; });
  for (; span != text.foreign.end() && span->begin < end; ++span)
    mark(at + std::max(span->begin, begin) - begin, at + std::min(span->end, end) - begin);
}

void TextBuilder::repeat(std::string_view bytes, size_t times) {
  if (bytes.empty() || times == 0) return;
  if (times > heap_.limits().max_output) heap_.charge_bytes(heap_.limits().max_output + 1);
  for (size_t i = 0; i < times; ++i) append(bytes);
}

void TextBuilder::append_escaped(const Text& text) {
  ForeignCursor cursor(text);
  for (size_t i = 0; i < text.bytes.size(); ++i) {
    const bool foreign = cursor.at(i);
    switch (const char c = text.bytes[i]) {
      case '&':
        append("&amp;", foreign);
        break;
      case '<':
        append("&lt;", foreign);
        break;
      case '>':
        append("&gt;", foreign);
        break;
      case '\'':
        append("&#39;", foreign);
        break;
      case '"':
        append("&#34;", foreign);
        break;
      default:
        append({&c, 1}, foreign);
    }
  }
}

Value TextBuilder::take_value(bool markup) {
  heap_.charge_bytes(sizeof(Text));
  text_.markup = markup;
  return heap_.text(take());
}

Value substring(Heap& heap, const Text& text, size_t begin, size_t end) {
  TextBuilder out(heap);
  out.append(text, begin, end);
  return out.take_value(text.markup);
}

}  // namespace mla::jinja
