#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/lexer.h"

namespace mla::jinja {

/// The tokens of a template, read one after the other.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Position position() const { return peek().at; }
  Token take() { return at_ + 1 < tokens_.size() ? std::move(tokens_[at_++]) : tokens_.back(); }

  bool at_operator(std::string_view op) const { return peek().is_operator(op); }
  bool at_name(std::string_view name) const { return peek().is_name(name); }
  bool skip_operator(std::string_view op) { return at_operator(op) && (take(), true); }
  bool skip_name(std::string_view name) { return at_name(name) && (take(), true); }

  [[noreturn]] void fail_expected(std::string_view what) const {
    throw SyntaxFailure(position(), fmt::format("found {}, expected {}", describe(peek()), what));
  }
  void expect_operator(std::string_view op) {
    if (!skip_operator(op)) fail_expected(fmt::format("\"{}\"", op));
  }
  Token expect(TokenType type, std::string_view what) {
    if (peek().type != type) fail_expected(what);
    return take();
  }

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace mla::jinja
