#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/token_stream.h"

namespace mla::jinja {

/// The names of a template's variables.
class NameTable {
 public:
  NameTable() {
    for (const char* name : {"loop", "caller", "varargs", "kwargs"}) id(name);  // SpecialName
  }
  NameId id(const std::string& name);
  void mark_read(NameId id) { is_read_[id] = true; }
  std::vector<std::string> take_names() { return std::move(names_); }
  std::vector<bool> take_is_read() { return std::move(is_read_); }

 private:
  std::unordered_map<std::string, NameId> ids_;
  std::vector<std::string> names_;
  std::vector<bool> is_read_;
};

/// Counts how deep the parser is, for as long as it lives.
class Nesting {
 public:
  Nesting(size_t& depth, size_t most, Position at);
  ~Nesting() { --depth_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  size_t& depth_;
};

/// Jinja's expressions, from the loosest binding to the tightest:
/// if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary + -, then . [] () and behind those | and
/// `is`.
class ExpressionParser {
 public:
  ExpressionParser(TokenStream& stream, NameTable& names, size_t max_depth)
      : stream_(stream), names_(names), max_depth_(max_depth) {}

  ExpressionPtr expression();
  /// Without if-else, which behind a loop's sequence means something else.
  ExpressionPtr unconditional();
  /// Several with commas between them are a tuple. `loop`: as the sequence of a loop, which `if` and
  /// `recursive` end.
  ExpressionPtr expression_or_tuple(bool loop = false, bool in_parentheses = false);
  /// What stands behind {% filter and behind {% set x: name(...) | name(...).
  ExpressionPtr block_filter();
  Target target(bool attributes);
  std::vector<Parameter> parameters();

  /// Names that were read since the flags were last cleared: what a macro must be called with.
  struct SpecialNames {
    bool caller = false, varargs = false, kwargs = false;
  };
  SpecialNames& special_names() { return special_names_; }
  NameTable& names() { return names_; }
  size_t& depth() { return depth_; }
  size_t max_depth() const { return max_depth_; }

 private:
  template <typename Node>
  ExpressionPtr make(Position at, Node node, std::initializer_list<const Expression*> below);
  template <typename Node>
  ExpressionPtr make(Position at, Node node, size_t height_below);
  static size_t height(const std::vector<ExpressionPtr>& all);
  static size_t height(const ArgumentList& arguments);

  ExpressionPtr disjunction();
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filter = true);
  ExpressionPtr primary();
  ExpressionPtr postfix(ExpressionPtr operand);
  ExpressionPtr filters_and_tests(ExpressionPtr operand);
  ExpressionPtr name_or_constant();
  ExpressionPtr number();
  ExpressionPtr string();
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr dotted(ExpressionPtr object);
  ExpressionPtr subscript(ExpressionPtr object);
  ExpressionPtr call(ExpressionPtr callee);
  ExpressionPtr filter(ExpressionPtr input);
  ExpressionPtr test(ExpressionPtr input);
  ArgumentList arguments();
  void argument(ArgumentList& list, Position call);
  Target single_target(bool attributes);
  bool at_tuple_end(bool loop) const;

  TokenStream& stream_;
  NameTable& names_;
  size_t max_depth_;
  size_t depth_ = 0;
  SpecialNames special_names_;
};

}  // namespace mla::jinja
