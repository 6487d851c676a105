#include "text/jinja/interpreter.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/failure.h"
#include "text/jinja/format.h"
#include "text/jinja/levels.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

// Statements, macros and variables; expressions.cpp evaluates expressions.

namespace mla::jinja {

// ----------------------------------------------------------------------------------------------------------
// variables

void Interpreter::set(std::string_view name, Value value) {
  if (scope_ == nullptr) scope_ = &scopes_.emplace_back();
  const auto& names = program_.names;
  const auto at = std::find(names.begin(), names.end(), name);
  if (at != names.end()) store(static_cast<NameId>(at - names.begin()), value);
}

/// A scope of variables, for as long as it lives; kept longer where a macro was defined that sees it.
class Interpreter::Block {
 public:
  explicit Block(Interpreter& i) : Block(i, i.scope_) {}
  Block(Interpreter& i, Scope* around) : interpreter_(i), before_(i.scope_), n_macros_(i.macros_.size()) {
    i.scope_ = &i.scopes_.emplace_back(Scope{around, {}});
  }
  ~Block() {
    if (interpreter_.macros_.size() == n_macros_) interpreter_.scopes_.pop_back();
    interpreter_.scope_ = before_;
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

 private:
  Interpreter& interpreter_;
  Scope* before_;
  size_t n_macros_;
};

Value Interpreter::lookup(NameId id) {
  for (const Scope* s = scope_; s != nullptr; s = s->outer) {
    heap_.charge_steps(s->values.size() / 32);
    for (const auto& [name, value] : s->values) {
      if (name == id) return value;
    }
  }
  const std::string& name = program_.names[id];
  if (name == "strftime_now") {
    return heap_.undefined(
        "strftime_now is not defined: a prompt must not change overnight. The template asks for the day "
        "without asking "
        "whether it can be had");
  }
  const Function* function = find_function(name);
  return function != nullptr ? Value::of(function) : heap_.undefined_variable(name);
}

void Interpreter::store(NameId id, Value value) {
  heap_.charge_steps(scope_->values.size() / 32);
  for (auto& [name, old] : scope_->values) {
    if (name == id) {
      old = value;
      return;
    }
  }
  scope_->values.emplace_back(id, value);
}

// ---------------------------------------------------------------------------------------------------------
// statements

Text Interpreter::run() {
  if (scope_ == nullptr) scope_ = &scopes_.emplace_back();
  TextBuilder out(heap_);
  out_ = &out;
  execute(program_.body);
  return out.take();
}

Interpreter::Flow Interpreter::execute(const Body& body) {
  for (const auto& statement : body) {
    const Flow flow = execute(*statement);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const Statement& statement) {
  const Levels level(depth_, heap_.limits().max_depth);
  heap_.charge_steps();
  at_ = statement.at;
  return std::visit([&](const auto& node) { return run_node(node); }, statement.node);
}

Interpreter::Flow Interpreter::run_node(const Data& node) {
  out_->append(node.text);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_node(const Output& node) {
  const Value value = evaluate(*node.value);
  append_str(*out_, value);
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_node(const If& node) {
  for (const auto& [test, body] : node.branches) {
    if (truthy(evaluate(*test))) return execute(body);
  }
  return execute(node.otherwise);
}

std::vector<Value> Interpreter::loop_items(const For& node) {
  std::vector<Value> items = elements(heap_, evaluate(*node.iterable));
  if (node.filter == nullptr) return items;
  const Block block(*this);
  std::vector<Value> kept;
  for (const Value& item : items) {
    assign(node.target, item);
    if (truthy(evaluate(*node.filter))) kept.push_back(item);
  }
  return kept;
}

Interpreter::Flow Interpreter::run_node(const For& node) {
  const Position at = at_;
  const Value loop = heap_.loop(loop_items(node));
  if (loop.loop->items.empty()) {
    const Block block(*this);
    return execute(node.otherwise);
  }
  for (size_t& i = loop.loop->index0; i < loop.loop->items.size(); ++i) {
    const Block block(*this);
    at_ = at;
    heap_.charge_steps();
    if (program_.is_read[kLoopName]) store(kLoopName, loop);
    assign(node.target, loop.loop->items[i]);
    if (execute(node.body) == Flow::kBreak) break;
  }
  return Flow::kNext;
}

void Interpreter::assign(const Target& target, Value value) {
  if (target.is_tuple) {
    const std::vector<Value> parts = elements(heap_, value);
    if (parts.size() != target.parts.size()) {
      throw Failure(fmt::format("{} values to unpack (expected {}, got {})",
                                parts.size() < target.parts.size() ? "not enough" : "too many",
                                target.parts.size(), parts.size()));
    }
    for (size_t i = 0; i < parts.size(); ++i) assign(target.parts[i], parts[i]);
    return;
  }
  if (target.attribute.empty()) return store(target.id, value);
  const Value name_space = lookup(target.id);
  if (!name_space.is(Kind::kNamespace)) throw Failure("cannot assign attribute on non-namespace object");
  if (target.attribute.starts_with('_'))
    throw Failure(fmt::format("a namespace's attribute may not begin with _: '{}'", target.attribute));
  const size_t at = name_space.dict->find(target.attribute);
  if (at == Dict::npos) {
    heap_.insert(*name_space.dict, heap_.string(target.attribute), value);
  } else {
    name_space.dict->entries[at].second = value;
  }
}

Interpreter::Flow Interpreter::run_node(const Assign& node) {
  const Value value = evaluate(*node.value);
  at_ = node.target.at;
  assign(node.target, value);
  return Flow::kNext;
}

Value Interpreter::capture(const Body& body, Flow* flow) {
  TextBuilder inner(heap_);
  TextBuilder* const outer = std::exchange(out_, &inner);
  const Flow end = execute(body);
  out_ = outer;
  if (flow != nullptr) *flow = end;
  return inner.take_value();
}

Interpreter::Flow Interpreter::run_node(const AssignBlock& node) {
  Flow flow = Flow::kNext;
  Value value;
  {
    const Block block(*this);
    value = capture(node.body, &flow);
    if (node.filter != nullptr) value = filter_chain(*node.filter, value);
  }
  if (flow == Flow::kNext) assign(node.target, value);
  return flow;
}

Interpreter::Flow Interpreter::run_node(const FilterBlock& node) {
  const Block block(*this);
  Flow flow = Flow::kNext;
  const Value value = capture(node.body, &flow);
  if (flow == Flow::kNext) append_str(*out_, filter_chain(*node.filter, value));
  return flow;
}

Interpreter::Flow Interpreter::run_node(const With& node) {
  // The values are those of the block around, all of them, also where a name is assigned before.
  std::vector<Value> values;
  for (const auto& [target, value] : node.values) values.push_back(evaluate(*value));
  const Block block(*this);
  for (size_t i = 0; i < values.size(); ++i) assign(node.values[i].first, values[i]);
  return execute(node.body);
}

// -------------------------------------------------------------------------------------------------------------
// macros

Value Interpreter::make_macro(const MacroDefinition& definition) {
  heap_.charge_bytes(sizeof(Macro));
  return Value::of(&macros_.emplace_back(Macro{&definition, scope_}));
}

Interpreter::Flow Interpreter::run_node(const MacroDefinition& node) {
  store(node.id, make_macro(node));
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_node(const CallBlock& node) {
  const Call& written = std::get<Call>(node.call->node);
  const Value callee = evaluate(*written.callee);
  CallArguments given = arguments(written.arguments);
  given.keyword.emplace_back("caller", make_macro(node.caller));
  at_ = node.call->at;
  append_str(*out_, call(callee, std::move(given)));
  return Flow::kNext;
}

namespace {

/// Takes the argument that a parameter's name was given, if there is one.
std::optional<Value> take_named(CallArguments& arguments, std::string_view name) {
  for (auto at = arguments.keyword.begin(); at != arguments.keyword.end(); ++at) {
    if (at->first != name) continue;
    const Value value = at->second;
    arguments.keyword.erase(at);
    return value;
  }
  return std::nullopt;
}

}  // namespace

Value Interpreter::call_macro(const Macro& macro, CallArguments given) {
  const MacroDefinition& definition = *macro.definition;
  const Block block(*this, macro.scope);
  const size_t n_positional = std::min(given.positional.size(), definition.parameters.size());
  std::vector<std::optional<Value>> values(
      given.positional.begin(), given.positional.begin() + static_cast<std::ptrdiff_t>(n_positional));
  bool takes_caller = false;  // as a parameter
  for (size_t i = n_positional; i < definition.parameters.size(); ++i)
    values.push_back(take_named(given, definition.parameters[i].name));
  for (const Parameter& p : definition.parameters) takes_caller = takes_caller || p.name == "caller";
  std::optional<Value> caller;
  if (definition.uses_caller && !takes_caller) caller = take_named(given, "caller");
  if (!given.keyword.empty() && !definition.uses_kwargs) {
    throw Failure(fmt::format("macro '{}' takes no keyword argument '{}'", definition.name,
                              given.keyword.front().first));
  }
  if (given.positional.size() > n_positional && !definition.uses_varargs) {
    throw Failure(fmt::format("macro '{}' takes not more than {} argument(s)", definition.name,
                              definition.parameters.size()));
  }
  if (definition.uses_caller && !takes_caller)
    store(kCallerName, caller ? *caller : heap_.undefined("No caller defined"));
  if (definition.uses_varargs) {
    const auto rest = given.positional.begin() + static_cast<std::ptrdiff_t>(n_positional);
    store(kVarargsName, heap_.tuple({rest, given.positional.end()}));
  }
  if (definition.uses_kwargs) {
    const Value named = heap_.dict();
    for (const auto& [key, value] : given.keyword) heap_.insert(*named.dict, heap_.string(key), value);
    store(kKwargsName, named);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const Parameter& p = definition.parameters[i];
    if (!values[i] && p.missing != nullptr) values[i] = evaluate(*p.missing);
    if (!values[i]) values[i] = heap_.undefined(fmt::format("parameter '{}' was not provided", p.name));
    store(p.id, *values[i]);
  }
  return capture(definition.body);
}

Value Interpreter::call(const Value& callee, CallArguments given) {
  require_defined(callee);
  const Levels level(depth_, heap_.limits().max_depth);
  switch (callee.kind) {
    case Kind::kMacro:
      return call_macro(*callee.macro, std::move(given));
    case Kind::kFunction:
      return callee.function->call(heap_, given);
    case Kind::kMethod:
      return call_method(heap_, *callee.method, given);
    case Kind::kLoop:
      throw Failure("recursive loops are not supported: use a macro that calls itself");
    default:
      throw Failure(fmt::format("'{}' object is not callable", type_name(callee)));
  }
}

}  // namespace mla::jinja
