#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/failure.h"

namespace mla::jinja {

enum class TokenType : uint8_t {
  kData,           ///< text outside of tags
  kVariableBegin,  ///< {{
  kVariableEnd,
  kBlockBegin,  ///< {%
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,  ///< of the template
};

struct Token {
  TokenType type = TokenType::kEnd;
  Position at;
  std::string text;  ///< data and strings as they are meant, others as they are written

  bool is_operator(std::string_view op) const { return type == TokenType::kOperator && text == op; }
  bool is_name(std::string_view name) const { return type == TokenType::kName && text == name; }
};

/// What a message calls a token.
std::string describe(const Token& token);

/// Cuts a template into tokens, with the white space that jinja2 takes away under trim_blocks and
/// lstrip_blocks gone: the line break behind a block tag, the blanks in front of one at the start of a line,
/// and what a - in a tag asks for. Comments leave nothing, {% raw %} is data. The last token is kEnd. Throws
/// SyntaxFailure.
std::vector<Token> tokenize(std::string_view source);

}  // namespace mla::jinja
