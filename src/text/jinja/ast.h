#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/failure.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/value.h"

// A template as a tree. Nodes are immutable once the parser has made them: one tree is rendered by many
// threads.

namespace mla::jinja {

struct Expression;
struct Statement;
using ExpressionPtr = std::unique_ptr<const Expression>;
using Body = std::vector<std::unique_ptr<const Statement>>;

/// A variable's name, as an index into Program::names.
using NameId = uint32_t;
/// The names that the language itself gives values to: the first of every program's.
enum SpecialName : NameId { kLoopName, kCallerName, kVarargsName, kKwargsName };

struct Argument {
  std::string name;
  ExpressionPtr value;
};

struct ArgumentList {
  std::vector<ExpressionPtr> positional;
  std::vector<Argument> keyword;
  ExpressionPtr unpacked;        ///< *args; may be null
  ExpressionPtr unpacked_named;  ///< **kwargs; may be null
};

// -------------------------------------------------------------------------------------------------------
// expressions

struct Literal {
  Value value;
  std::unique_ptr<const Text> text;  ///< of a string
};
struct Name {
  NameId id;
};
struct ListDisplay {
  std::vector<ExpressionPtr> items;
  bool is_tuple;
};
struct DictDisplay {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> items;
};
struct Binary {
  BinaryOperator op;
  ExpressionPtr left, right;
};
struct Sign {
  bool negative;
  ExpressionPtr operand;
};
/// a ~ b ~ c
struct Concatenation {
  std::vector<ExpressionPtr> parts;
};
/// a < b == c
struct ComparisonChain {
  ExpressionPtr first;
  std::vector<std::pair<Comparison, ExpressionPtr>> rest;
};
/// `and`, `or`
struct Logical {
  bool is_and;
  ExpressionPtr left, right;
};
struct Not {
  ExpressionPtr operand;
};
/// a if test else b
struct Conditional {
  ExpressionPtr test, then, otherwise;  ///< otherwise may be null
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Item {
  ExpressionPtr object, key;
};
/// object[start:stop:step]; each may be null
struct Slice {
  ExpressionPtr object, start, stop, step;
};
struct Call {
  ExpressionPtr callee;
  ArgumentList arguments;
};
/// input | name(arguments); the input of a block's filter is null
struct FilterCall {
  ExpressionPtr input;
  std::string name;
  Filter filter;  ///< null for a name that is none: an error where it is reached
  ArgumentList arguments;
};
struct TestCall {
  ExpressionPtr input;
  std::string name;
  Test test;  ///< as FilterCall's
  ArgumentList arguments;
};

struct Expression {
  Position at;
  size_t height;  ///< of the tree below, for the limit on nesting
  std::variant<Literal, Name, ListDisplay, DictDisplay, Binary, Sign, Concatenation, ComparisonChain, Logical,
               Not, Conditional, Attribute, Item, Slice, Call, FilterCall, TestCall>
      node;
};

// --------------------------------------------------------------------------------------------------------
// statements

/// What a value is assigned to: a variable, a namespace's attribute or several of them.
struct Target {
  Position at;
  NameId id = 0;
  std::string attribute;      ///< of the namespace `id`; empty for a variable
  std::vector<Target> parts;  ///< not empty: a value per part
  bool is_tuple = false;
};

struct Parameter {
  NameId id;
  std::string name;
  ExpressionPtr missing;  ///< its value when the call gives none; may be null
};

/// A macro, or the body of a call block (which is the macro `caller`).
struct MacroDefinition {
  NameId id = 0;
  std::string name;
  std::vector<Parameter> parameters;
  Body body;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
};

struct Data {
  Text text;
};
struct Output {
  ExpressionPtr value;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  Body otherwise;
};
struct For {
  Target target;
  ExpressionPtr iterable, filter;  ///< filter may be null
  Body body, otherwise;
};
struct Assign {
  Target target;
  ExpressionPtr value;
};
struct AssignBlock {
  Target target;
  ExpressionPtr filter;  ///< a chain of FilterCall, or null
  Body body;
};
struct FilterBlock {
  ExpressionPtr filter;
  Body body;
};
struct CallBlock {
  ExpressionPtr call;  ///< a Call
  MacroDefinition caller;
};
/// {% with %}, and {% generation %}, which only opens a scope
struct With {
  std::vector<std::pair<Target, ExpressionPtr>> values;
  Body body;
};
struct Break {};
struct Continue {};

struct Statement {
  Position at;
  std::variant<Data, Output, If, For, Assign, AssignBlock, FilterBlock, CallBlock, MacroDefinition, With,
               Break, Continue>
      node;
};

/// A whole template.
struct Program {
  Body body;
  std::vector<std::string> names;
  std::vector<bool> is_read;  ///< [names.size()]: whether the variable is read anywhere, not only assigned
};

}  // namespace mla::jinja
