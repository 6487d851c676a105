#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "text/utf8.h"

// Python's view of a string's characters. A byte that is no UTF-8 counts as a character of its own.

namespace mla::jinja {

/// Bytes of the first character of a text that is not empty.
inline size_t character_length(std::string_view text) {
  if (static_cast<unsigned char>(text[0]) < 0x80) return 1;
  const Utf8Char c = next_utf8(text);
  return c.valid ? c.length : 1;
}

/// Characters of a text.
size_t count_characters(std::string_view text);
/// The byte at which character number n begins; the size for all behind the end.
size_t character_offset(std::string_view text, size_t n);

/// str.isspace(), which holds some control characters more than Unicode's White_Space.
bool is_python_space(char32_t code);
/// Where a text without white space at its ends begins and ends.
struct Bounds {
  size_t begin, end;
};
Bounds strip_bounds(std::string_view text, bool left, bool right);
/// The same for any of the characters in `set`.
Bounds strip_bounds(std::string_view text, std::string_view set, bool left, bool right);

/// string_view::find() and rfind() in linear time, whatever is looked for.
size_t find_bytes(std::string_view text, std::string_view wanted, size_t from = 0);
size_t find_last_bytes(std::string_view text, std::string_view wanted);

/// Bytes of the line break that begins a text, as str.splitlines() sees them; 0 if none does.
size_t line_break_length(std::string_view text);

enum class CharacterClass { kSpace, kAlphabetic, kDigit, kDecimal, kNumeric, kLower, kUpper, kPrintable };
bool is_in(char32_t code, CharacterClass c);
/// Appends a character in another case; "ss" for the sharp s and their like take several.
void append_upper(std::string& out, char32_t code);
void append_title(std::string& out, char32_t code);
void append_lower(std::string& out, char32_t code);

}  // namespace mla::jinja
