#include <fmt/format.h>

#include <unordered_map>

#include "text/jinja/failure.h"
#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

namespace mla::jinja {
namespace {

using ValueTest = bool (*)(const Value&);

/// A test that takes no arguments and only looks at the value.
template <ValueTest kTest>
bool plain(Heap&, const Value& value, const CallArguments& arguments) {
  bind<0>("test", arguments, {});
  return kTest(value);
}

template <Comparison kOp>
bool compares(Heap& heap, const Value& value, const CallArguments& arguments) {
  const auto [other] = bind<1>("test", arguments, {"other"}, 1);
  return compare(heap, kOp, value, *other);
}

bool divides(Heap& heap, const Value& value, const Value& divisor, int64_t rest) {
  return equal(heap, binary(heap, BinaryOperator::kModulo, value, divisor), Value::of(rest));
}

template <int64_t kRest>
bool parity(Heap& heap, const Value& value, const CallArguments& arguments) {
  bind<0>("test", arguments, {});
  return divides(heap, value, Value::of(int64_t{2}), kRest);
}

bool divisible_by(Heap& heap, const Value& value, const CallArguments& arguments) {
  const auto [divisor] = bind<1>("divisibleby", arguments, {"num"}, 1);
  return divides(heap, value, *divisor, 0);
}

bool is_defined(const Value& v) {
  return !v.is_undefined();
}
bool is_undefined(const Value& v) {
  return v.is_undefined();
}
bool is_none(const Value& v) {
  return v.is(Kind::kNone);
}
bool is_boolean(const Value& v) {
  return v.is(Kind::kBool);
}
bool is_false(const Value& v) {
  return v.is(Kind::kBool) && !v.boolean;
}
bool is_true(const Value& v) {
  return v.is(Kind::kBool) && v.boolean;
}
bool is_integer(const Value& v) {
  return v.is(Kind::kInt);
}
bool is_float(const Value& v) {
  return v.is(Kind::kFloat);
}
bool is_number(const Value& v) {
  return v.is_number();
}
bool is_string(const Value& v) {
  return v.is_string();
}
bool is_mapping(const Value& v) {
  return v.is(Kind::kDict);
}
bool is_escaped(const Value& v) {
  return v.is_string() && v.text->markup;
}
// jinja2's undefined values have a length and, when asked, an item.
bool is_sequence(const Value& v) {
  return v.is_string() || v.is_list_like() || v.is(Kind::kDict) || v.is(Kind::kRange) || v.is_undefined();
}
bool is_iterable(const Value& v) {
  return is_sequence(v) || v.is(Kind::kView) || v.is(Kind::kIterator) || v.is(Kind::kLoop);
}
bool is_callable(const Value& v) {
  return v.is(Kind::kMacro) || v.is(Kind::kFunction) || v.is(Kind::kMethod) || v.is(Kind::kLoop) ||
         v.is_undefined();
}

template <bool kUpper>
bool has_case(Heap& heap, const Value& value, const CallArguments& arguments) {
  bind<0>("test", arguments, {});
  const Method method{str(heap, value), kUpper ? "isupper" : "islower"};
  return truthy(call_method(heap, method, {}));
}

bool same_as(Heap&, const Value& value, const CallArguments& arguments) {
  const auto [other] = bind<1>("sameas", arguments, {"other"}, 1);
  if (value.kind != other->kind) return false;
  switch (value.kind) {
    case Kind::kNone:
      return true;
    case Kind::kBool:
      return value.boolean == other->boolean;
    case Kind::kInt:
      return value.integer == other->integer;
    case Kind::kFloat:
      return value.real == other->real;
    case Kind::kString:
      return value.text == other->text;
    case Kind::kDict:
    case Kind::kNamespace:
      return value.dict == other->dict;
    default:
      return value.sequence == other->sequence;
  }
}

bool is_filter(Heap&, const Value& value, const CallArguments& arguments) {
  bind<0>("filter", arguments, {});
  return value.is_string() && find_filter(value.bytes()) != nullptr;
}

bool is_test(Heap&, const Value& value, const CallArguments& arguments) {
  bind<0>("test", arguments, {});
  return value.is_string() && find_test(value.bytes()) != nullptr;
}

}  // namespace

Test find_test(std::string_view name) {
  static const std::unordered_map<std::string_view, Test> kTests = {
      {"boolean", plain<is_boolean>},
      {"callable", plain<is_callable>},
      {"defined", plain<is_defined>},
      {"divisibleby", divisible_by},
      {"escaped", plain<is_escaped>},
      {"even", parity<0>},
      {"false", plain<is_false>},
      {"filter", is_filter},
      {"float", plain<is_float>},
      {"in", compares<Comparison::kIn>},
      {"integer", plain<is_integer>},
      {"iterable", plain<is_iterable>},
      {"lower", has_case<false>},
      {"mapping", plain<is_mapping>},
      {"none", plain<is_none>},
      {"number", plain<is_number>},
      {"odd", parity<1>},
      {"sameas", same_as},
      {"sequence", plain<is_sequence>},
      {"string", plain<is_string>},
      {"test", is_test},
      {"true", plain<is_true>},
      {"undefined", plain<is_undefined>},
      {"upper", has_case<true>},
      {"==", compares<Comparison::kEqual>},
      {"eq", compares<Comparison::kEqual>},
      {"equalto", compares<Comparison::kEqual>},
      {"!=", compares<Comparison::kNotEqual>},
      {"ne", compares<Comparison::kNotEqual>},
      {">", compares<Comparison::kGreater>},
      {"gt", compares<Comparison::kGreater>},
      {"greaterthan", compares<Comparison::kGreater>},
      {">=", compares<Comparison::kGreaterEqual>},
      {"ge", compares<Comparison::kGreaterEqual>},
      {"<", compares<Comparison::kLess>},
      {"lt", compares<Comparison::kLess>},
      {"lessthan", compares<Comparison::kLess>},
      {"<=", compares<Comparison::kLessEqual>},
      {"le", compares<Comparison::kLessEqual>},
  };
  const auto hit = kTests.find(name);
  return hit == kTests.end() ? nullptr : hit->second;
}

bool apply_test(Heap& heap, std::string_view name, const Value& input, const CallArguments& arguments) {
  const Test test = find_test(name);
  if (test == nullptr) throw Failure(fmt::format("No test named '{}'.", name));
  return test(heap, input, arguments);
}

}  // namespace mla::jinja
