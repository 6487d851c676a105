#include "text/jinja/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "text/jinja/characters.h"
#include "text/jinja/failure.h"
#include "text/jinja/format.h"

namespace mla::jinja {
namespace {

[[noreturn]] void fail_operands(BinaryOperator op, const Value& left, const Value& right) {
  throw Failure(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", spelling(op),
                            type_name(left), type_name(right)));
}

[[noreturn]] void fail_overflow() {
  throw Failure("an integer beyond 64 bits: templates may not compute with those here");
}

/// Quotient and rest, rounded down as Python does; b is neither 0 nor -1.
std::pair<int64_t, int64_t> floor_divide(int64_t a, int64_t b) {
  const int64_t quotient = a / b, rest = a % b;
  return rest != 0 && (a < 0) != (b < 0) ? std::pair(quotient - 1, rest + b) : std::pair(quotient, rest);
}

double floor_modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) return rest + b;
  return rest == 0 ? std::copysign(0.0, b) : rest;
}

int64_t integer_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) fail_overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) fail_overflow();
  }
  return result;
}

Value integers(BinaryOperator op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case BinaryOperator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) fail_overflow();
      return Value::of(result);
    case BinaryOperator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) fail_overflow();
      return Value::of(result);
    case BinaryOperator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) fail_overflow();
      return Value::of(result);
    case BinaryOperator::kDivide:
      if (b == 0) throw Failure("division by zero");
      return Value::of(static_cast<double>(a) / static_cast<double>(b));
    case BinaryOperator::kFloorDivide:
    case BinaryOperator::kModulo:
      if (b == 0) throw Failure("integer division or modulo by zero");
      if (b == -1) return op == BinaryOperator::kModulo ? Value::of(int64_t{0}) : negative(Value::of(a));
      return Value::of(op == BinaryOperator::kFloorDivide ? floor_divide(a, b).first : floor_divide(a, b).second);
    case BinaryOperator::kPower:
      if (b >= 0) return Value::of(integer_power(a, b));
      if (a == 0) throw Failure("0.0 cannot be raised to a negative power");
      return Value::of(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  return Value();
}

Value reals(BinaryOperator op, double a, double b) {
  switch (op) {
    case BinaryOperator::kAdd:
      return Value::of(a + b);
    case BinaryOperator::kSubtract:
      return Value::of(a - b);
    case BinaryOperator::kMultiply:
      return Value::of(a * b);
    case BinaryOperator::kPower: {
      if (a == 0 && b < 0) throw Failure("0.0 cannot be raised to a negative power");
      const double result = std::pow(a, b);
      if (std::isnan(result) && !std::isnan(a) && !std::isnan(b))
        throw Failure("a root of a negative number: there are no complex numbers here");
      if (std::isinf(result) && std::isfinite(a) && std::isfinite(b))
        throw Failure("Numerical result out of range");
      return Value::of(result);
    }
    default:
      break;
  }
  if (b == 0) throw Failure("float division by zero");
  if (op == BinaryOperator::kDivide) return Value::of(a / b);
  const double rest = floor_modulo(a, b);
  return Value::of(op == BinaryOperator::kModulo ? rest : std::round((a - rest) / b));
}

Value add_texts(Heap& heap, const Text& left, const Text& right) {
  TextBuilder out(heap);
  const bool markup = left.markup || right.markup;
  const auto append = [&](const Text& part) {
    if (markup && !part.markup) {
      out.append_escaped(part);
    } else {
      out.append(part);
    }
  };
  append(left);
  append(right);
  return out.take_value(markup);
}

Value add_sequences(Heap& heap, const Value& left, const Value& right) {
  std::vector<Value> items;
  heap.charge_steps((left.sequence->items.size() + right.sequence->items.size()) / 8);
  items.insert(items.end(), left.sequence->items.begin(), left.sequence->items.end());
  items.insert(items.end(), right.sequence->items.begin(), right.sequence->items.end());
  return heap.sequence(left.kind, std::move(items));
}

Value repeat(Heap& heap, const Value& value, int64_t times) {
  const auto n = static_cast<size_t>(std::max<int64_t>(times, 0));
  const size_t unit =
      value.is_string() ? value.text->bytes.size() : value.sequence->items.size() * sizeof(Value);
  if (unit > 0 && n > heap.limits().max_output / unit) heap.charge_bytes(heap.limits().max_output + 1);
  if (value.is_string()) {
    TextBuilder out(heap);
    for (size_t i = 0; unit > 0 && i < n; ++i) out.append(*value.text);
    return out.take_value(value.text->markup);
  }
  std::vector<Value> items;
  for (size_t i = 0; unit > 0 && i < n; ++i)
    items.insert(items.end(), value.sequence->items.begin(), value.sequence->items.end());
  return heap.sequence(value.kind, std::move(items));
}

bool repeatable(const Value& value) {
  return value.is_string() || value.is_list_like();
}

/// -1, 0 or 1; nothing where an operand is NaN.
std::optional<int> order_numbers(const Value& left, const Value& right) {
  if (left.is_integral() && right.is_integral()) {
    const int64_t a = left.as_integer(), b = right.as_integer();
    return a < b ? -1 : a > b ? 1 : 0;
  }
  const double a = left.as_real(), b = right.as_real();
  if (std::isnan(a) || std::isnan(b)) return std::nullopt;
  return a < b ? -1 : a > b ? 1 : 0;
}

std::string_view spelling(Comparison op) {
  switch (op) {
    case Comparison::kEqual:
      return "==";
    case Comparison::kNotEqual:
      return "!=";
    case Comparison::kLess:
      return "<";
    case Comparison::kLessEqual:
      return "<=";
    case Comparison::kGreater:
      return ">";
    case Comparison::kGreaterEqual:
      return ">=";
    case Comparison::kIn:
      return "in";
    case Comparison::kNotIn:
      return "not in";
  }
  return "";
}

bool holds(Comparison op, int order) {
  switch (op) {
    case Comparison::kLess:
      return order < 0;
    case Comparison::kLessEqual:
      return order <= 0;
    case Comparison::kGreater:
      return order > 0;
    default:
      return order >= 0;
  }
}

bool ordered(Heap& heap, Comparison op, const Value& left, const Value& right) {
  heap.charge_steps();
  require_defined(left);
  require_defined(right);
  if (left.is_number() && right.is_number()) {
    const std::optional<int> order = order_numbers(left, right);
    return order && holds(op, *order);
  }
  if (left.is_string() && right.is_string()) {
    // UTF-8 sorts as its characters do.
    heap.charge_scan(std::min(left.bytes().size(), right.bytes().size()));
    return holds(op, left.bytes().compare(right.bytes()));
  }
  if (left.is_list_like() && left.kind == right.kind) {
    const std::vector<Value>&a = left.sequence->items, &b = right.sequence->items;
    for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
      if (!equal(heap, a[i], b[i])) return ordered(heap, op, a[i], b[i]);
    }
    return holds(op, a.size() < b.size() ? -1 : a.size() > b.size() ? 1 : 0);
  }
  throw Failure(fmt::format("'{}' not supported between instances of '{}' and '{}'", spelling(op),
                            type_name(left), type_name(right)));
}

bool equal_dicts(Heap& heap, const Dict& left, const Dict& right) {
  if (left.entries.size() != right.entries.size()) return false;
  for (const auto& [key, value] : left.entries) {
    const size_t at = find_key(heap, right, key);
    if (at == Dict::npos || !equal(heap, value, right.entries[at].second)) return false;
  }
  return true;
}

}  // namespace

std::string_view spelling(BinaryOperator op) {
  switch (op) {
    case BinaryOperator::kAdd:
      return "+";
    case BinaryOperator::kSubtract:
      return "-";
    case BinaryOperator::kMultiply:
      return "*";
    case BinaryOperator::kDivide:
      return "/";
    case BinaryOperator::kFloorDivide:
      return "//";
    case BinaryOperator::kModulo:
      return "%";
    case BinaryOperator::kPower:
      return "** or pow()";
  }
  return "";
}

Value binary(Heap& heap, BinaryOperator op, const Value& left, const Value& right) {
  if (op == BinaryOperator::kModulo && left.is_string()) return percent_format(heap, *left.text, right);
  require_defined(left);
  require_defined(right);
  if (left.is_integral() && right.is_integral()) return integers(op, left.as_integer(), right.as_integer());
  if (left.is_number() && right.is_number()) return reals(op, left.as_real(), right.as_real());
  if (op == BinaryOperator::kAdd) {
    if (left.is_string() && right.is_string()) return add_texts(heap, *left.text, *right.text);
    if (left.is_list_like() && left.kind == right.kind) return add_sequences(heap, left, right);
    if (left.is_string()) {
      throw Failure(fmt::format("can only concatenate str (not \"{}\") to str", type_name(right)));
    }
  }
  if (op == BinaryOperator::kMultiply) {
    if (repeatable(left) && right.is_integral()) return repeat(heap, left, right.as_integer());
    if (repeatable(right) && left.is_integral()) return repeat(heap, right, left.as_integer());
  }
  fail_operands(op, left, right);
}

Value negative(const Value& value) {
  require_defined(value);
  if (value.is(Kind::kFloat)) return Value::of(-value.real);
  if (!value.is_integral())
    throw Failure(fmt::format("bad operand type for unary -: '{}'", type_name(value)));
  int64_t result = 0;
  if (__builtin_sub_overflow(int64_t{0}, value.as_integer(), &result)) fail_overflow();
  return Value::of(result);
}

Value positive(const Value& value) {
  require_defined(value);
  if (value.is(Kind::kFloat)) return value;
  if (value.is_integral()) return Value::of(value.as_integer());
  throw Failure(fmt::format("bad operand type for unary +: '{}'", type_name(value)));
}

bool equal(Heap& heap, const Value& left, const Value& right) {
  heap.charge_steps();
  if (left.is_number() && right.is_number()) return order_numbers(left, right) == 0;
  if (left.kind != right.kind) return false;
  switch (left.kind) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      if (left.bytes().size() != right.bytes().size()) return false;
      heap.charge_scan(left.bytes().size());
      return left.bytes() == right.bytes();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kView: {
      if (left.sequence == right.sequence) return true;
      const std::vector<Value>&a = left.sequence->items, &b = right.sequence->items;
      return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                        [&](const Value& x, const Value& y) { return equal(heap, x, y); });
    }
    case Kind::kDict:
      return left.dict == right.dict || equal_dicts(heap, *left.dict, *right.dict);
    case Kind::kRange: {
      const Range &a = *left.range, &b = *right.range;
      const size_t n = a.size();
      return n == b.size() && (n == 0 || (a.start == b.start && (n == 1 || a.step == b.step)));
    }
    case Kind::kNamespace:
      return left.dict == right.dict;
    case Kind::kIterator:
      return left.sequence == right.sequence;
    case Kind::kMacro:
      return left.macro == right.macro;
    case Kind::kLoop:
      return left.loop == right.loop;
    case Kind::kFunction:
      return left.function == right.function;
    default:
      return false;
  }
}

bool less(Heap& heap, const Value& left, const Value& right) {
  return ordered(heap, Comparison::kLess, left, right);
}

bool compare(Heap& heap, Comparison op, const Value& left, const Value& right) {
  switch (op) {
    case Comparison::kEqual:
      return equal(heap, left, right);
    case Comparison::kNotEqual:
      return !equal(heap, left, right);
    case Comparison::kIn:
      return contains(heap, right, left);
    case Comparison::kNotIn:
      return !contains(heap, right, left);
    default:
      return ordered(heap, op, left, right);
  }
}

bool contains(Heap& heap, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      require_defined(item);
      throw Failure(fmt::format("'in <string>' requires string as left operand, not {}", type_name(item)));
    }
    heap.charge_scan(container.bytes().size());
    return find_bytes(container.bytes(), item.bytes()) != std::string_view::npos;
  }
  if (container.is(Kind::kDict)) {
    require_hashable(item);
    return find_key(heap, *container.dict, item) != Dict::npos;
  }
  if (container.is(Kind::kRange) && item.is_integral()) {
    const Range& r = *container.range;
    const int64_t i = item.as_integer();
    const bool inside = r.step > 0 ? i >= r.start && i < r.stop : i <= r.start && i > r.stop;
    // In unsigned arithmetic: the difference may not fit into an integer.
    const auto low = static_cast<uint64_t>(r.step > 0 ? r.start : i);
    const auto high = static_cast<uint64_t>(r.step > 0 ? i : r.start);
    const auto step = static_cast<uint64_t>(r.step);
    return inside && (high - low) % (r.step > 0 ? step : uint64_t{0} - step) == 0;
  }
  const auto is_item = [&](const Value& v) { return equal(heap, v, item); };
  if (container.is_list_like() || container.is(Kind::kView)) {
    const std::vector<Value>& items = container.sequence->items;
    return std::any_of(items.begin(), items.end(), is_item);
  }
  if (!container.is_undefined() && !container.is(Kind::kIterator) && !container.is(Kind::kRange)) {
    throw Failure(fmt::format("argument of type '{}' is not iterable", type_name(container)));
  }
  const std::vector<Value> items = elements(heap, container);
  return std::any_of(items.begin(), items.end(), is_item);
}

void require_hashable(const Value& key) {
  if (key.is(Kind::kList) || key.is(Kind::kDict))
    throw Failure(fmt::format("unhashable type: '{}'", type_name(key)));
  if (!key.is(Kind::kTuple)) return;
  for (const Value& part : key.sequence->items) require_hashable(part);
}

size_t find_key(Heap& heap, const Dict& dict, const Value& key) {
  if (key.is_string()) {
    heap.charge_scan(key.bytes().size());
    return dict.find(key.bytes());
  }
  for (size_t i = 0; i < dict.entries.size(); ++i) {
    if (equal(heap, dict.entries[i].first, key)) return i;
  }
  return Dict::npos;
}

}  // namespace mla::jinja
