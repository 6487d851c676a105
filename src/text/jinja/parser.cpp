#include "text/jinja/parser.h"

#include <fmt/format.h>

#include <array>
#include <initializer_list>

#include "text/jinja/expression_parser.h"

namespace mla::jinja {
namespace {

/// Jinja's statements. One statement is what stands in {% %}, with its body.
class Parser {
 public:
  Parser(std::string_view source, size_t max_depth)
      : stream_(tokenize(source)), expressions_(stream_, names_, max_depth) {}

  Program run() {
    Program program;
    program.body = body({}, {});
    program.names = names_.take_names();
    program.is_read = names_.take_is_read();
    return program;
  }

 private:
  using Ends = std::initializer_list<std::string_view>;

  template <typename Node>
  static void add(Body& body, Position at, Node node) {
    body.push_back(std::make_unique<const Statement>(Statement{at, std::move(node)}));
  }

  /// Statements up to {% and one of the names `ends`, which is left to be read; without any, up to the end of
  /// the template.
  Body body(Ends ends, std::string_view opened, Position at = {}) {
    const Nesting nesting(expressions_.depth(), expressions_.max_depth(), stream_.position());
    Body result;
    for (;;) {
      const Token& token = stream_.peek();
      if (token.type == TokenType::kEnd) {
        if (ends.size() == 0) return result;
        stream_.fail_expected(
            fmt::format("{{% {} %}} for the {{% {} %}} of line {}", *(ends.end() - 1), opened, at.line));
      }
      if (token.type == TokenType::kData) {
        Token data = stream_.take();
        add(result, data.at, Data{{.bytes = std::move(data.text)}});
      } else if (token.type == TokenType::kVariableBegin) {
        const Position begin = stream_.take().at;
        add(result, begin, Output{expressions_.expression_or_tuple()});
        stream_.expect(TokenType::kVariableEnd, "\"}}\"");
      } else {
        stream_.take();  // {%
        for (const std::string_view end : ends) {
          if (stream_.at_name(end)) return result;
        }
        statement(result, ends.size() == 0 ? std::string_view() : *(ends.end() - 1));
        end_of_tag();
      }
    }
  }

  void end_of_tag() { stream_.expect(TokenType::kBlockEnd, "\"%}\""); }

  /// The body of a block whose tag is read up to its %}; the tag that ends it is read, but for its %}.
  Body block(std::string_view end, std::string_view opened, Position at) {
    open_body();
    Body result = body({end}, opened, at);
    stream_.take();
    return result;
  }

  void open_body() {
    stream_.skip_operator(":");
    end_of_tag();
  }

  void statement(Body& out, std::string_view open_end) {
    const Token tag = stream_.expect(TokenType::kName, "the name of a statement");
    const std::string& name = tag.text;
    if (name == "if") return add(out, tag.at, if_statement(tag.at));
    if (name == "for") return add(out, tag.at, for_statement(tag.at));
    if (name == "set") return set_statement(out, tag.at);
    if (name == "macro") return add(out, tag.at, macro(tag.at));
    if (name == "call") return add(out, tag.at, call_block(tag.at));
    if (name == "filter") return add(out, tag.at, filter_block(tag.at));
    if (name == "with") return add(out, tag.at, with_statement(tag.at));
    if (name == "generation") return add(out, tag.at, With{{}, block("endgeneration", name, tag.at)});
    if (name == "print") return print_statement(out, tag.at);
    if (name == "break" || name == "continue") return loop_control(out, tag);
    for (const std::string_view other : {"extends", "include", "import", "from", "block", "autoescape"}) {
      if (name == other)
        throw SyntaxFailure(tag.at,
                            fmt::format("{{% {} %}} is not supported: a chat template is one file", name));
    }
    throw SyntaxFailure(
        tag.at,
        fmt::format("found the unknown statement {}{}", describe(tag),
                    open_end.empty() ? "" : fmt::format(", expected \"{}\" or a statement", open_end)));
  }

  If if_statement(Position at) {
    If node;
    for (;;) {
      ExpressionPtr test = condition();
      open_body();
      Body then = body({"elif", "else", "endif"}, "if", at);
      node.branches.emplace_back(std::move(test), std::move(then));
      const std::string next = stream_.take().text;
      if (next == "elif") continue;
      if (next == "else") node.otherwise = block("endif", "if", at);
      return node;
    }
  }

  ExpressionPtr condition() { return expressions_.expression_or_tuple(/*loop=*/true); }

  For for_statement(Position at) {
    For node;
    node.target = expressions_.target(/*attributes=*/false);
    if (!stream_.skip_name("in")) stream_.fail_expected("\"in\"");
    node.iterable = expressions_.expression_or_tuple(/*loop=*/true);
    if (stream_.skip_name("if")) node.filter = expressions_.expression();
    if (stream_.at_name("recursive"))
      throw SyntaxFailure(stream_.position(),
                          "recursive loops are not supported: use a macro that calls itself");
    open_body();
    ++loops_;
    node.body = body({"else", "endfor"}, "for", at);
    --loops_;
    if (stream_.take().text == "else") node.otherwise = block("endfor", "for", at);
    return node;
  }

  void loop_control(Body& out, const Token& tag) {
    if (loops_ == 0) throw SyntaxFailure(tag.at, fmt::format("{{% {} %}} outside of a loop", tag.text));
    if (tag.text == "break") {
      add(out, tag.at, Break{});
    } else {
      add(out, tag.at, Continue{});
    }
  }

  void set_statement(Body& out, Position at) {
    Target target = expressions_.target(/*attributes=*/true);
    if (stream_.skip_operator("=")) {
      return add(out, at, Assign{std::move(target), expressions_.expression_or_tuple()});
    }
    ExpressionPtr filter;
    if (stream_.skip_operator("|")) filter = expressions_.block_filter();
    if (stream_.peek().type != TokenType::kBlockEnd) stream_.fail_expected("\"=\", \"|\" or \"%}\"");
    Body body = block("endset", "set", at);
    add(out, at, AssignBlock{std::move(target), std::move(filter), std::move(body)});
  }

  MacroDefinition macro(Position at) {
    const Token name = stream_.expect(TokenType::kName, "the name of the macro");
    MacroDefinition node;
    node.id = names_.id(name.text);
    node.name = name.text;
    macro_body(node, "endmacro", "macro", at, expressions_.parameters());
    return node;
  }

  /// Reads the body of a macro, and which of the arguments that no parameter takes it uses.
  void macro_body(MacroDefinition& node, std::string_view end, std::string_view opened, Position at,
                  std::vector<Parameter> parameters) {
    node.parameters = std::move(parameters);
    const size_t loops = std::exchange(loops_, 0);
    const auto outer = std::exchange(expressions_.special_names(), {});
    node.body = block(end, opened, at);
    const auto inner = std::exchange(expressions_.special_names(), outer);
    loops_ = loops;
    node.uses_caller = inner.caller;
    node.uses_varargs = inner.varargs;
    node.uses_kwargs = inner.kwargs;
  }

  CallBlock call_block(Position at) {
    CallBlock node;
    std::vector<Parameter> parameters;
    if (stream_.at_operator("(")) parameters = expressions_.parameters();
    const Position call = stream_.position();
    node.call = expressions_.expression();
    if (!std::holds_alternative<Call>(node.call->node))
      throw SyntaxFailure(call, "expected the call of a macro");
    node.caller.name = "caller";
    macro_body(node.caller, "endcall", "call", at, std::move(parameters));
    return node;
  }

  FilterBlock filter_block(Position at) {
    ExpressionPtr filter = expressions_.block_filter();
    return {std::move(filter), block("endfilter", "filter", at)};
  }

  With with_statement(Position at) {
    With node;
    while (stream_.peek().type != TokenType::kBlockEnd) {
      if (!node.values.empty()) stream_.expect_operator(",");
      Target target = expressions_.target(/*attributes=*/false);
      stream_.expect_operator("=");
      node.values.emplace_back(std::move(target), expressions_.expression());
    }
    node.body = block("endwith", "with", at);
    return node;
  }

  void print_statement(Body& out, Position at) {
    do {
      add(out, at, Output{expressions_.expression()});
    } while (stream_.skip_operator(","));
  }

  TokenStream stream_;
  NameTable names_;
  ExpressionParser expressions_;
  size_t loops_ = 0;  // that break and continue may end here
};

}  // namespace

Program parse(std::string_view source, size_t max_depth) {
  return Parser(source, max_depth).run();
}

}  // namespace mla::jinja
