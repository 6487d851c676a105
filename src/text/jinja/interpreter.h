#pragma once

#include <deque>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/call_arguments.h"
#include "text/jinja/heap.h"

namespace mla::jinja {

/// The variables of a block, in the block around it.
struct Scope {
  Scope* outer = nullptr;
  std::vector<std::pair<NameId, Value>> values;
};

/// A macro with the block that it was defined in, whose variables it sees.
struct Macro {
  const MacroDefinition* definition = nullptr;
  Scope* scope = nullptr;
};

/// A function of the environment: range, dict, namespace, raise_exception.
struct Function {
  std::string_view name;
  Value (*call)(Heap& heap, const CallArguments& arguments);
};
/// Null for a name that is none.
const Function* find_function(std::string_view name);

/// Runs a template once. Throws Failure; position() then tells where.
class Interpreter {
 public:
  Interpreter(const Program& program, Heap& heap) : program_(program), heap_(heap) {}

  void set(std::string_view name, Value value);
  Text run();
  Position position() const { return at_; }

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };
  class Block;

  // Statements.
  Flow execute(const Body& body);
  Flow execute(const Statement& statement);
  Flow run_node(const Data& node);
  Flow run_node(const Output& node);
  Flow run_node(const If& node);
  Flow run_node(const For& node);
  Flow run_node(const Assign& node);
  Flow run_node(const AssignBlock& node);
  Flow run_node(const FilterBlock& node);
  Flow run_node(const CallBlock& node);
  Flow run_node(const MacroDefinition& node);
  Flow run_node(const With& node);
  Flow run_node(const Break&) { return Flow::kBreak; }
  Flow run_node(const Continue&) { return Flow::kContinue; }
  std::vector<Value> loop_items(const For& node);
  void assign(const Target& target, Value value);
  /// What a body prints, instead of printing it.
  Value capture(const Body& body, Flow* flow = nullptr);

  // Expressions.
  Value evaluate(const Expression& expression);
  Value value_of(const Literal& node) { return node.value; }
  Value value_of(const Name& node);
  Value value_of(const ListDisplay& node);
  Value value_of(const DictDisplay& node);
  Value value_of(const Binary& node);
  Value value_of(const Sign& node);
  Value value_of(const Concatenation& node);
  Value value_of(const ComparisonChain& node);
  Value value_of(const Logical& node);
  Value value_of(const Not& node);
  Value value_of(const Conditional& node);
  Value value_of(const Attribute& node);
  Value value_of(const Item& node);
  Value value_of(const Slice& node);
  Value value_of(const Call& node);
  Value value_of(const FilterCall& node);
  Value value_of(const TestCall& node);
  Value evaluate_or_none(const ExpressionPtr& expression);
  CallArguments arguments(const ArgumentList& list);
  Value filtered(const FilterCall& node, const Value& input);
  /// Applies a chain of filters whose innermost input is `input`.
  Value filter_chain(const Expression& chain, const Value& input);

  // Calls.
  Value call(const Value& callee, CallArguments arguments);
  Value call_macro(const Macro& macro, CallArguments arguments);
  Value make_macro(const MacroDefinition& definition);

  // Variables.
  Value lookup(NameId id);
  void store(NameId id, Value value);

  const Program& program_;
  Heap& heap_;
  std::deque<Scope> scopes_;  // a stack, but for the scopes that macros see
  std::deque<Macro> macros_;
  Scope* scope_ = nullptr;
  TextBuilder* out_ = nullptr;
  Position at_;
  size_t depth_ = 0;
};

}  // namespace mla::jinja
