#include "text/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "text/jinja/characters.h"
#include "text/jinja/string_literal.h"

namespace mla::jinja {
namespace {

/// Longest first.
constexpr std::array<std::string_view, 26> kOperators = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                         "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                         ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/// Line breaks become \n; one at the very end is left out.
std::string normalize_line_breaks(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out.push_back(source[i] == '\r' ? '\n' : source[i]);
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_line_breaks(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = find_tag();
      if (tag == std::string::npos) {
        add(TokenType::kData, std::string(rest()));
        advance(source_.size());
        break;
      }
      open_tag(tag);
    }
    add(TokenType::kEnd, {});
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool looking_at(std::string_view text) const { return rest().starts_with(text); }
  char character(size_t ahead) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }

  void advance(size_t to) {
    for (; at_ < to; ++at_) {
      if (source_[at_] == '\n') {
        ++position_.line;
        position_.column = 1;
      } else if ((static_cast<unsigned char>(source_[at_]) & 0xC0) != 0x80) {
        ++position_.column;
      }
    }
  }

  void add(TokenType type, std::string text) {
    if (type == TokenType::kData && text.empty()) return;
    tokens_.push_back({type, position_, std::move(text)});
  }

  [[noreturn]] void fail(const std::string& message) const { throw SyntaxFailure(position_, message); }

  size_t find_tag() const {
    for (size_t at = source_.find('{', at_); at != std::string::npos; at = source_.find('{', at + 1)) {
      const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return std::string::npos;
  }

  void skip_space() { advance(at_ + strip_bounds(rest(), true, false).begin); }

  /// The text in front of a tag, without the white space that the tag takes away.
  void add_data(size_t end, char sign, bool is_variable) {
    std::string_view text = std::string_view(source_).substr(at_, end - at_);
    if (sign == '-') {
      text = text.substr(0, strip_bounds(text, false, true).end);
    } else if (sign != '+' && !is_variable) {
      const size_t line = text.rfind('\n') + 1;  // 0 without a line break
      const std::string_view blanks = text.substr(line);
      if ((line > 0 || line_starts_) && strip_bounds(blanks, true, false).begin == blanks.size())
        text = text.substr(0, line);
    }
    add(TokenType::kData, std::string(text));
  }

  char sign_at(size_t at) const {
    const char c = at < source_.size() ? source_[at] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  void open_tag(size_t tag) {
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    add_data(tag, sign, kind == '{');
    advance(tag);
    const size_t inside = tag + (sign != '\0' ? 3 : 2);
    if (kind == '#') return comment(inside);
    if (kind == '%') {
      if (const auto raw_begin = raw_tag(inside, "raw")) return raw(*raw_begin);
    }
    add(kind == '{' ? TokenType::kVariableBegin : TokenType::kBlockBegin, source_.substr(tag, 2));
    advance(inside);
    expression(kind == '{');
  }

  /// Behind the end of a block's or comment's tag, whose two characters `close` stand at `at_`, perhaps
  /// behind a sign.
  bool close_block(std::string_view close, bool trims = true) {
    const char sign = sign_at(at_);
    const size_t n = sign != '\0' ? 1 : 0;
    if (source_.compare(at_ + n, 2, close) != 0) return false;
    advance(at_ + n + 2);
    if (sign == '-') skip_space();
    if (sign == '\0' && trims && character(0) == '\n') advance(at_ + 1);
    line_starts_ = source_[at_ - 1] == '\n';
    return true;
  }

  void comment(size_t inside) {
    const size_t end = source_.find("#}", inside);
    if (end == std::string::npos) fail("a comment has no end: expected \"#}\" for the \"{#\" here");
    advance(std::max(inside, sign_at(end - 1) != '\0' ? end - 1 : end));
    close_block("#}");
  }

  /// Where the text behind `{% name %}` begins, if this is one; `inside` is behind its {%.
  std::optional<size_t> raw_tag(size_t inside, std::string_view name) const {
    const std::string_view text = source_;
    const auto skip = [&](size_t from) { return from + strip_bounds(text.substr(from), true, false).begin; };
    size_t at = skip(inside);
    if (!text.substr(at).starts_with(name)) return std::nullopt;
    at = skip(at + name.size());
    if (text.substr(at).starts_with("%}") || text.substr(at).starts_with("-%}") ||
        (name == "endraw" && text.substr(at).starts_with("+%}")))
      return at;
    return std::nullopt;
  }

  void raw(size_t close) {
    const Position begin = position_;
    advance(close);
    close_block("%}", /*trims=*/false);
    for (size_t tag = source_.find("{%", at_); tag != std::string::npos; tag = source_.find("{%", tag + 1)) {
      const char sign = sign_at(tag + 2);
      const auto end = raw_tag(tag + (sign != '\0' ? 3 : 2), "endraw");
      if (!end) continue;
      add_data(tag, sign, false);
      advance(*end);
      close_block("%}");
      return;
    }
    throw SyntaxFailure(begin, "a raw block has no end: expected {% endraw %}");
  }

  void expression(bool is_variable) {
    std::string brackets;  // those that are open, as they must be closed
    const size_t begin = tokens_.size();
    const Position opened = tokens_.back().at;
    for (;;) {
      skip_space();
      if (at_ >= source_.size()) {
        throw SyntaxFailure(opened,
                            fmt::format("the tag has no end: expected \"{}\"", is_variable ? "}}" : "%}"));
      }
      if (brackets.empty() && close_tag(is_variable)) return;
      token(brackets, begin);
    }
  }

  bool close_tag(bool is_variable) {
    if (!is_variable) {
      const size_t n = sign_at(at_) != '\0' ? 1 : 0;
      if (rest().substr(n, 2) != "%}") return false;
      add(TokenType::kBlockEnd, "%}");
      return close_block("%}");
    }
    const bool strips = looking_at("-}}");
    if (!strips && !looking_at("}}")) return false;
    add(TokenType::kVariableEnd, "}}");
    advance(at_ + (strips ? 3 : 2));
    if (strips) skip_space();
    line_starts_ = source_[at_ - 1] == '\n';
    return true;
  }

  void token(std::string& brackets, size_t begin) {
    const char c = character(0);
    const bool behind_dot =
        tokens_.size() > begin && tokens_.back().is_operator(".") && source_[at_ - 1] == '.';
    if (is_digit(c)) return number(!behind_dot);
    if (c == '\'' || c == '"') return string(c);
    if (is_letter(c) || static_cast<unsigned char>(c) >= 0x80) return name();
    for (const std::string_view op : kOperators) {
      if (!looking_at(op)) continue;
      balance(brackets, op[0]);
      add(TokenType::kOperator, std::string(op));
      return advance(at_ + op.size());
    }
    fail(fmt::format("unexpected character {}", quoted(rest().substr(0, character_length(rest())))));
  }

  void balance(std::string& brackets, char c) {
    if (c == '{' || c == '(' || c == '[') brackets.push_back(c == '{' ? '}' : c == '(' ? ')' : ']');
    if (c != '}' && c != ')' && c != ']') return;
    if (brackets.empty()) fail(fmt::format("unexpected '{}': nothing is open that it could close", c));
    if (brackets.back() != c) fail(fmt::format("unexpected '{}', expected '{}'", c, brackets.back()));
    brackets.pop_back();
  }

  /// Behind digits, with single _ between them, that begin at `at`; `at` where there are none.
  template <typename IsDigit>
  size_t digits(size_t at, IsDigit is) const {
    const auto digit_at = [&](size_t i) { return i < source_.size() && is(source_[i]); };
    if (!digit_at(at)) return at;
    while (digit_at(at) || (at < source_.size() && source_[at] == '_' && digit_at(at + 1))) ++at;
    return at;
  }

  void number(bool may_be_float) {
    const char kind = static_cast<char>(character(1) | 0x20);
    if (character(0) == '0' && (kind == 'x' || kind == 'o' || kind == 'b')) {
      const size_t from = at_ + (character(2) == '_' ? 3 : 2);
      const size_t end = kind == 'x'   ? digits(from, is_hex)
                         : kind == 'o' ? digits(from, [](char c) { return c >= '0' && c <= '7'; })
                                       : digits(from, [](char c) { return c == '0' || c == '1'; });
      if (end > from) return add_number(TokenType::kInteger, end);
    }
    size_t end = digits(at_, is_digit);
    bool is_float = false;
    if (may_be_float) {
      if (end < source_.size() && source_[end] == '.' && digits(end + 1, is_digit) > end + 1) {
        end = digits(end + 1, is_digit);
        is_float = true;
      }
      size_t exponent = end;
      if (exponent < source_.size() && (source_[exponent] | 0x20) == 'e') {
        ++exponent;
        if (sign_at(exponent) != '\0') ++exponent;
        if (digits(exponent, is_digit) > exponent) {
          end = digits(exponent, is_digit);
          is_float = true;
        }
      }
    }
    add_number(is_float ? TokenType::kFloat : TokenType::kInteger, end);
  }

  void add_number(TokenType type, size_t end) {
    std::string written = source_.substr(at_, end - at_);
    std::erase(written, '_');
    add(type, std::move(written));
    advance(end);
  }

  void name() {
    size_t end = at_;
    while (end < source_.size() && (is_letter(source_[end]) || is_digit(source_[end]) ||
                                    static_cast<unsigned char>(source_[end]) >= 0x80))
      ++end;
    const std::string_view written = rest().substr(0, end - at_);
    for (size_t i = 0; i < written.size();) {
      const Utf8Char c = next_utf8(written.substr(i));
      if (!c.valid || (c.code >= 0x80 && !is_in(c.code, CharacterClass::kAlphabetic)))
        fail(fmt::format("unexpected character {} in a name",
                         quoted(written.substr(i, std::max<size_t>(c.length, 1)))));
      i += c.length;
    }
    add(TokenType::kName, std::string(written));
    advance(end);
  }

  void string(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) fail(fmt::format("a string has no end: expected {}", quote));
    std::string text;
    const std::string message = unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1), text);
    if (!message.empty()) fail(message);
    add(TokenType::kString, std::move(text));
    advance(end + 1);
  }

  static std::string quoted(std::string_view text) {
    return fmt::format("\"{}\"", replace_invalid_utf8(text));
  }

  std::string source_;
  size_t at_ = 0;
  Position position_;
  bool line_starts_ = true;  // whether the text at at_ begins a line
  std::vector<Token> tokens_;
};

}  // namespace

std::string describe(const Token& token) {
  switch (token.type) {
    case TokenType::kData:
      return "text";
    case TokenType::kEnd:
      return "the end of the template";
    case TokenType::kVariableBegin:
    case TokenType::kVariableEnd:
    case TokenType::kBlockBegin:
    case TokenType::kBlockEnd:
      return fmt::format("\"{}\"", token.text);
    case TokenType::kString:
      return "a string";
    default:
      break;
  }
  constexpr size_t kMost = 40;
  if (token.text.size() <= kMost) return fmt::format("\"{}\"", token.text);
  return fmt::format("\"{}...\"", token.text.substr(0, character_offset(token.text, kMost / 2)));
}

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace mla::jinja
