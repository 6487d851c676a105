#include <fmt/format.h>

#include "text/jinja/failure.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/levels.h"
#include "text/jinja/operators.h"

namespace mla::jinja {

Value Interpreter::evaluate(const Expression& expression) {
  const Levels level(depth_, heap_.limits().max_depth);
  heap_.charge_steps();
  const Value value = std::visit(
      [&](const auto& node) {
        at_ = expression.at;
        return value_of(node);
      },
      expression.node);
  return value;
}

Value Interpreter::evaluate_or_none(const ExpressionPtr& expression) {
  return expression == nullptr ? Value::none() : evaluate(*expression);
}

Value Interpreter::value_of(const Name& node) {
  return lookup(node.id);
}

Value Interpreter::value_of(const ListDisplay& node) {
  std::vector<Value> items;
  for (const ExpressionPtr& item : node.items) items.push_back(evaluate(*item));
  return heap_.sequence(node.is_tuple ? Kind::kTuple : Kind::kList, std::move(items));
}

Value Interpreter::value_of(const DictDisplay& node) {
  const Value dict = heap_.dict();
  for (const auto& [key, value] : node.items) {
    const Value k = evaluate(*key);
    heap_.insert(*dict.dict, k, evaluate(*value));
  }
  return dict;
}

Value Interpreter::value_of(const Binary& node) {
  const Position at = at_;
  const Value left = evaluate(*node.left);
  const Value right = evaluate(*node.right);
  at_ = at;
  return binary(heap_, node.op, left, right);
}

Value Interpreter::value_of(const Sign& node) {
  const Value operand = evaluate(*node.operand);
  return node.negative ? negative(operand) : positive(operand);
}

Value Interpreter::value_of(const Concatenation& node) {
  TextBuilder out(heap_);
  for (const ExpressionPtr& part : node.parts) append_str(out, evaluate(*part));
  return out.take_value();
}

Value Interpreter::value_of(const ComparisonChain& node) {
  const Position at = at_;
  Value left = evaluate(*node.first);
  for (const auto& [op, expression] : node.rest) {
    const Value right = evaluate(*expression);
    at_ = at;
    if (!compare(heap_, op, left, right)) return Value::of(false);
    left = right;
  }
  return Value::of(true);
}

Value Interpreter::value_of(const Logical& node) {
  const Value left = evaluate(*node.left);
  return truthy(left) == node.is_and ? evaluate(*node.right) : left;
}

Value Interpreter::value_of(const Not& node) {
  return Value::of(!truthy(evaluate(*node.operand)));
}

Value Interpreter::value_of(const Conditional& node) {
  if (truthy(evaluate(*node.test))) return evaluate(*node.then);
  if (node.otherwise != nullptr) return evaluate(*node.otherwise);
  return heap_.undefined("the inline if-expression evaluated to false and no else section was defined.");
}

Value Interpreter::value_of(const Attribute& node) {
  const Position at = at_;
  const Value object = evaluate(*node.object);
  at_ = at;
  return attribute(heap_, object, node.name);
}

Value Interpreter::value_of(const Item& node) {
  const Position at = at_;
  const Value object = evaluate(*node.object);
  const Value key = evaluate(*node.key);
  at_ = at;
  return item(heap_, object, key);
}

Value Interpreter::value_of(const Slice& node) {
  const Position at = at_;
  const Value object = evaluate(*node.object);
  const Value start = evaluate_or_none(node.start);
  const Value stop = evaluate_or_none(node.stop);
  const Value step = evaluate_or_none(node.step);
  at_ = at;
  return slice(heap_, object, start, stop, step);
}

CallArguments Interpreter::arguments(const ArgumentList& list) {
  CallArguments given;
  for (const ExpressionPtr& value : list.positional) given.positional.push_back(evaluate(*value));
  for (const Argument& a : list.keyword) given.keyword.emplace_back(a.name, evaluate(*a.value));
  if (list.unpacked != nullptr) {
    const std::vector<Value> more = elements(heap_, evaluate(*list.unpacked));
    given.positional.insert(given.positional.end(), more.begin(), more.end());
  }
  if (list.unpacked_named != nullptr) {
    const Value named = evaluate(*list.unpacked_named);
    if (!named.is(Kind::kDict))
      throw Failure(fmt::format("argument after ** must be a mapping, not {}", type_name(named)));
    for (const auto& [key, value] : named.dict->entries)
      given.keyword.emplace_back(require_string(key).bytes, value);
  }
  constexpr size_t kMaxKeywords = 1000;
  if (given.keyword.size() > kMaxKeywords) {
    throw Failure(
        fmt::format("{} keyword arguments, expected at most {}", given.keyword.size(), kMaxKeywords));
  }
  heap_.charge_steps(given.keyword.size() * given.keyword.size() / 16);
  for (size_t i = 0; i < given.keyword.size(); ++i) {
    if (given.find(given.keyword[i].first) != &given.keyword[i].second)
      throw Failure(fmt::format("keyword argument repeated: {}", given.keyword[i].first));
  }
  return given;
}

Value Interpreter::value_of(const Call& node) {
  const Position at = at_;
  const Value callee = evaluate(*node.callee);
  CallArguments given = arguments(node.arguments);
  at_ = at;
  return call(callee, std::move(given));
}

Value Interpreter::filtered(const FilterCall& node, const Value& input) {
  const Position at = at_;
  const CallArguments given = arguments(node.arguments);
  at_ = at;
  if (node.filter == nullptr) throw Failure(fmt::format("No filter named '{}'.", node.name));
  return node.filter(heap_, input, given);
}

Value Interpreter::value_of(const FilterCall& node) {
  const Position at = at_;
  const Value input = evaluate(*node.input);
  at_ = at;
  return filtered(node, input);
}

Value Interpreter::filter_chain(const Expression& chain, const Value& input) {
  const FilterCall& node = std::get<FilterCall>(chain.node);
  const Levels level(depth_, heap_.limits().max_depth);
  const Value inner = node.input == nullptr ? input : filter_chain(*node.input, input);
  at_ = chain.at;
  return filtered(node, inner);
}

Value Interpreter::value_of(const TestCall& node) {
  const Position at = at_;
  const Value input = evaluate(*node.input);
  const CallArguments given = arguments(node.arguments);
  at_ = at;
  if (node.test == nullptr) throw Failure(fmt::format("No test named '{}'.", node.name));
  return Value::of(node.test(heap_, input, given));
}

}  // namespace mla::jinja
