#include "text/jinja/string_literal.h"

#include <fmt/format.h>

#include <charconv>

#include "text/utf8.h"

namespace mla::jinja {
namespace {

constexpr std::string_view kSimple = "\\'\"abfnrtv";
constexpr std::string_view kMeaning = "\\'\"\a\b\f\n\r\t\v";

/// The digits after \x, \u and \U; 0 for other escapes.
size_t hex_digits(char kind) {
  return kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
}

size_t octal_digits(std::string_view text) {
  size_t n = 0;
  while (n < 3 && n < text.size() && text[n] >= '0' && text[n] <= '7') ++n;
  return n;
}

uint32_t read_number(std::string_view digits, int base) {
  uint32_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  return value;
}

}  // namespace

std::string unescape(std::string_view written, std::string& out) {
  for (size_t at = 0; at < written.size();) {
    const size_t slash = std::min(written.find('\\', at), written.size());
    out.append(written.substr(at, slash - at));
    if (slash + 1 >= written.size()) break;
    const char kind = written[slash + 1];
    const std::string_view rest = written.substr(slash + 2);
    at = slash + 2;
    if (const size_t simple = kSimple.find(kind); simple != std::string_view::npos) {
      out.push_back(kMeaning[simple]);
    } else if (kind == '\n') {
      continue;
    } else if (const size_t n = octal_digits(written.substr(slash + 1)); n > 0) {
      append_utf8(out, read_number(written.substr(slash + 1, n), 8));
      at = slash + 1 + n;
    } else if (const size_t digits = hex_digits(kind); digits > 0) {
      const std::string_view number = rest.substr(0, digits);
      if (number.size() < digits ||
          number.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos)
        return fmt::format("the escape \\{} in a string needs {} hexadecimal digits", kind, digits);
      const uint32_t code = read_number(number, 16);
      if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        return fmt::format("the escape \\{}{} in a string is no character", kind, number);
      append_utf8(out, code);
      at += digits;
    } else if (kind == 'N') {
      return "the escape \\N in a string (a character by its name) is not supported: use \\u";
    } else {
      out.push_back('\\');
      at = slash + 1;
    }
  }
  return {};
}

}  // namespace mla::jinja
