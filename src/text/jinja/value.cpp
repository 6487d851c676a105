#include "text/jinja/value.h"

#include <fmt/format.h>

#include "text/jinja/failure.h"

namespace mla::jinja {
namespace {

constexpr size_t kLinearEntries = 8;

}  // namespace

size_t Dict::find(std::string_view key) const {
  if (entries.size() > kLinearEntries) {
    const auto hit = index_.find(key);
    return hit == index_.end() ? npos : hit->second;
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].first.is_string() && entries[i].first.bytes() == key) return i;
  }
  return npos;
}

void Dict::append(Value key, Value value) {
  entries.emplace_back(key, value);
  if (entries.size() <= kLinearEntries) return;
  const size_t from = index_.empty() ? 0 : entries.size() - 1;
  for (size_t i = from; i < entries.size(); ++i) {
    if (entries[i].first.is_string()) index_.emplace(entries[i].first.bytes(), i);
  }
}

size_t Range::size() const {
  // In unsigned arithmetic: the difference of two integers may not fit into one.
  const auto distance = [](int64_t low, int64_t high) {
    return static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  };
  if (step > 0) return stop > start ? (distance(start, stop) - 1) / static_cast<uint64_t>(step) + 1 : 0;
  return start > stop ? (distance(stop, start) - 1) / (uint64_t{0} - static_cast<uint64_t>(step)) + 1 : 0;
}

std::string_view type_name(const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return value.text->markup ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kView:
      return value.sequence->label;
    case Kind::kIterator:
      return "generator";
    case Kind::kDict:
      return "dict";
    case Kind::kRange:
      return "range";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kMacro:
      return "Macro";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kFunction:
      return "function";
    case Kind::kMethod:
      return "method";
  }
  return "object";
}

bool truthy(const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return value.boolean;
    case Kind::kInt:
      return value.integer != 0;
    case Kind::kFloat:
      return value.real != 0;
    case Kind::kString:
      return !value.text->bytes.empty();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kView:
      return !value.sequence->items.empty();
    case Kind::kDict:
      return !value.dict->entries.empty();
    case Kind::kRange:
      return value.range->size() > 0;
    case Kind::kLoop:
      return !value.loop->items.empty();
    default:
      return true;
  }
}

std::string undefined_message(const Value& value) {
  if (value.undefined == nullptr) return "a value is undefined";
  const Undefined& u = *value.undefined;
  if (!u.hint.empty()) return u.hint;
  if (u.object.is_undefined()) return fmt::format("'{}' is undefined", u.name);
  const std::string object =
      u.object.is(Kind::kNone) ? "None" : fmt::format("'{} object'", type_name(u.object));
  return fmt::format("{} has no attribute '{}'", object, u.name);
}

void require_defined(const Value& value) {
  if (value.is_undefined()) throw Failure(undefined_message(value));
}

}  // namespace mla::jinja
