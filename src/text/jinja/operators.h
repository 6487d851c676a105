#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/jinja/heap.h"
#include "text/jinja/value.h"

// What Python's operators do with values. All of it throws Failure with Python's message where Python raises
// an exception.

namespace mla::jinja {

enum class BinaryOperator : uint8_t { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
std::string_view spelling(BinaryOperator op);
Value binary(Heap& heap, BinaryOperator op, const Value& left, const Value& right);
Value negative(const Value& value);
Value positive(const Value& value);

enum class Comparison : uint8_t {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};
bool compare(Heap& heap, Comparison op, const Value& left, const Value& right);
bool equal(Heap& heap, const Value& left, const Value& right);
bool less(Heap& heap, const Value& left, const Value& right);
bool contains(Heap& heap, const Value& container, const Value& item);

/// Throws for what cannot be a dict's key.
void require_hashable(const Value& key);
/// The position of a key, or Dict::npos.
size_t find_key(Heap& heap, const Dict& dict, const Value& key);

/// What a loop over a value sees. Reads an iterator to its end.
std::vector<Value> elements(Heap& heap, const Value& value);
/// len(): elements of what has some, characters of a string.
size_t length(Heap& heap, const Value& value);

/// obj.name: a method, else an item. Undefined where there is neither.
Value attribute(Heap& heap, const Value& object, std::string_view name);
/// obj[key]: an item, else a method.
Value item(Heap& heap, const Value& object, const Value& key);
/// obj[start:stop:step].
Value slice(Heap& heap, const Value& object, const Value& start, const Value& stop, const Value& step);

/// A position in [0, size], Python's way: negative ones count from the end.
size_t clamp_index(int64_t index, size_t size);

}  // namespace mla::jinja
