#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/characters.h"
#include "text/jinja/failure.h"
#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

namespace mla::jinja {
namespace {

[[noreturn]] void fail_not_iterable(const Value& value) {
  throw Failure(fmt::format("'{}' object is not iterable", type_name(value)));
}

std::vector<Value> characters(Heap& heap, const Text& text) {
  std::vector<Value> items;
  for (size_t at = 0; at < text.bytes.size();) {
    const size_t n = character_length(std::string_view(text.bytes).substr(at));
    TextBuilder one(heap);
    one.append(text, at, at + n);
    items.push_back(one.take_value());
    at += n;
  }
  return items;
}

/// The element that a Python index means; nothing when there is none.
std::optional<size_t> position(int64_t index, size_t size) {
  const auto n = static_cast<int64_t>(size);
  if (index < -n || index >= n) return std::nullopt;
  return static_cast<size_t>(index < 0 ? index + n : index);
}

Value element(Heap& heap, const Value& object, int64_t index) {
  if (object.is_string()) {
    const Text& text = *object.text;
    heap.charge_scan(text.bytes.size());
    const auto at = position(index, count_characters(text.bytes));
    if (!at) return heap.undefined(fmt::format("str object has no element {}", index));
    const size_t begin = character_offset(text.bytes, *at);
    return substring(heap, text, begin, begin + character_length(std::string_view(text.bytes).substr(begin)));
  }
  const size_t size = object.is(Kind::kRange) ? object.range->size() : object.sequence->items.size();
  const auto at = position(index, size);
  if (!at) return heap.undefined(fmt::format("{} object has no element {}", type_name(object), index));
  return object.is(Kind::kRange) ? Value::of(object.range->at(*at)) : object.sequence->items[*at];
}

bool is_indexed(const Value& value) {
  return value.is_string() || value.is_list_like() || value.is(Kind::kRange);
}

/// What a loop tells of itself; nothing for a name that is none of its attributes.
std::optional<Value> loop_attribute(Heap& heap, const Value& value, std::string_view name) {
  const Loop& loop = *value.loop;
  const size_t n = loop.items.size(), i = loop.index0;
  if (name == "index0") return Value::size(i);
  if (name == "index") return Value::size(i + 1);
  if (name == "first") return Value::of(i == 0);
  if (name == "last") return Value::of(i + 1 == n);
  if (name == "length") return Value::size(n);
  if (name == "revindex") return Value::size(n - i);
  if (name == "revindex0") return Value::size(n - i - 1);
  if (name == "depth") return Value::size(loop.depth);
  if (name == "depth0") return Value::size(loop.depth - 1);
  if (name == "previtem") return i > 0 ? loop.items[i - 1] : heap.undefined("there is no previous item");
  if (name == "nextitem") return i + 1 < n ? loop.items[i + 1] : heap.undefined("there is no next item");
  return std::nullopt;
}

/// obj.name without a look at items: nothing where Python raises an AttributeError.
std::optional<Value> own_attribute(Heap& heap, const Value& object, std::string_view name) {
  if (object.is(Kind::kNamespace)) {
    const Value* value = object.dict->get(name);
    return value != nullptr ? std::optional(*value) : std::nullopt;
  }
  if (object.is(Kind::kLoop)) {
    if (auto value = loop_attribute(heap, object, name)) return value;
  }
  if (has_method(object, name)) return heap.method(object, name);
  const bool internal = name.size() > 4 && name.starts_with("__") && name.ends_with("__");
  if (internal || is_mutating_method(object, name)) {
    return heap.undefined(
        fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(object)));
  }
  return std::nullopt;
}

std::optional<Value> own_item(Heap& heap, const Value& object, const Value& key) {
  if (object.is(Kind::kDict)) {
    if (key.is(Kind::kList) || key.is(Kind::kDict)) return std::nullopt;
    const size_t at = find_key(heap, *object.dict, key);
    return at != Dict::npos ? std::optional(object.dict->entries[at].second) : std::nullopt;
  }
  if (is_indexed(object) && key.is_integral()) return element(heap, object, key.as_integer());
  return std::nullopt;
}

struct SliceBounds {
  int64_t start, stop, step;
};

SliceBounds slice_bounds(const Value& start, const Value& stop, const Value& step, size_t size) {
  const auto check = [](const Value& v) {
    if (!v.is_integral() && !v.is(Kind::kNone))
      throw Failure("slice indices must be integers or None or have an __index__ method");
  };
  check(start);
  check(stop);
  check(step);
  const int64_t stride = step.is_integral() ? step.as_integer() : 1;
  if (stride == 0) throw Failure("slice step cannot be zero");
  const auto n = static_cast<int64_t>(size);
  // Downwards, positions run from n - 1 to -1.
  const int64_t lowest = stride > 0 ? 0 : -1, highest = stride > 0 ? n : n - 1;
  const auto clamp = [&](const Value& v, int64_t missing) {
    if (!v.is_integral()) return missing;
    const int64_t i = v.as_integer();
    return std::clamp(i < 0 ? std::max(i, -n - 1) + n : i, lowest, highest);
  };
  return {clamp(start, stride > 0 ? 0 : n - 1), clamp(stop, stride > 0 ? n : -1), stride};
}

}  // namespace

size_t clamp_index(int64_t index, size_t size) {
  const auto n = static_cast<int64_t>(size);
  return static_cast<size_t>(std::clamp<int64_t>(index < 0 ? std::max(index, -n) + n : index, 0, n));
}

std::vector<Value> elements(Heap& heap, const Value& value) {
  std::vector<Value> items;
  switch (value.kind) {
    case Kind::kUndefined:
      return items;
    case Kind::kString:
      return characters(heap, *value.text);
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kView:
      items = value.sequence->items;
      break;
    case Kind::kIterator: {
      Sequence& s = *value.sequence;
      items.assign(s.items.begin() + static_cast<std::ptrdiff_t>(s.next), s.items.end());
      s.next = s.items.size();
      break;
    }
    case Kind::kDict:
      for (const auto& [key, unused] : value.dict->entries) items.push_back(key);
      break;
    case Kind::kRange:
      for (size_t i = 0; i < value.range->size(); ++i) items.push_back(Value::of(value.range->at(i)));
      break;
    default:
      fail_not_iterable(value);
  }
  heap.charge_steps(items.size() / 8);
  return items;
}

size_t length(Heap& heap, const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      heap.charge_scan(value.bytes().size());
      return count_characters(value.bytes());
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kView:
      return value.sequence->items.size();
    case Kind::kDict:
      return value.dict->entries.size();
    case Kind::kRange:
      return value.range->size();
    case Kind::kLoop:
      return value.loop->items.size();
    default:
      throw Failure(fmt::format("object of type '{}' has no len()", type_name(value)));
  }
}

Value attribute(Heap& heap, const Value& object, std::string_view name) {
  require_defined(object);
  if (auto value = own_attribute(heap, object, name)) return *value;
  if (object.is(Kind::kDict)) {
    if (const Value* value = object.dict->get(name)) return *value;
  }
  return heap.undefined_attribute(object, name);
}

Value item(Heap& heap, const Value& object, const Value& key) {
  require_defined(object);
  if (auto value = own_item(heap, object, key)) return *value;
  if (key.is_string()) {
    if (auto value = own_attribute(heap, object, key.bytes())) return *value;
    return heap.undefined_attribute(object, key.bytes());
  }
  return heap.undefined(fmt::format("{} object has no element {}", type_name(object), repr_of(heap, key)));
}

Value slice(Heap& heap, const Value& object, const Value& start, const Value& stop, const Value& step) {
  require_defined(object);
  if (!is_indexed(object)) {
    throw Failure(fmt::format("'{}' object is not subscriptable by a slice", type_name(object)));
  }
  const bool is_text = object.is_string();
  const size_t size = length(heap, object);
  const auto [first, end, stride] = slice_bounds(start, stop, step, size);
  if (is_text && stride == 1) {
    const std::string_view bytes = object.bytes();
    const size_t from = character_offset(bytes, static_cast<size_t>(first));
    const size_t n = end > first ? static_cast<size_t>(end - first) : 0;
    return substring(heap, *object.text, from, from + character_offset(bytes.substr(from), n));
  }
  const std::vector<Value> all = elements(heap, object);
  std::vector<Value> taken;
  const size_t n = Range{first, end, stride}.size();
  for (size_t i = 0; i < n; ++i) taken.push_back(all[static_cast<size_t>(Range{first, end, stride}.at(i))]);
  if (!is_text) return heap.sequence(object.is(Kind::kTuple) ? Kind::kTuple : Kind::kList, std::move(taken));
  TextBuilder out(heap);
  for (const Value& c : taken) out.append(*c.text);
  return out.take_value(object.text->markup);
}

}  // namespace mla::jinja
