#include "text/jinja/characters.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace mla::jinja {
namespace {

/// Where the last character of [0, end) begins; end > 0.
size_t previous(std::string_view text, size_t end) {
  for (size_t n = 2; n <= 4 && n <= end; ++n) {
    const Utf8Char c = next_utf8(text.substr(end - n, n));
    if (c.valid && c.length == n) return end - n;
  }
  return end - 1;
}

bool eight_are_ascii(std::string_view text, size_t at) {
  if (text.size() - at < 8) return false;
  uint64_t bytes = 0;
  std::memcpy(&bytes, text.data() + at, sizeof bytes);
  return (bytes & 0x8080808080808080U) == 0;
}

char32_t code_of(std::string_view character) {
  const Utf8Char c = next_utf8(character);
  return c.valid ? c.code : 0xFFFFFFFF;
}

template <typename Strips>
Bounds strip_if(std::string_view text, bool left, bool right, Strips strips) {
  Bounds b{0, text.size()};
  while (left && b.begin < b.end) {
    const size_t length = character_length(text.substr(b.begin));
    if (!strips(text.substr(b.begin, length))) break;
    b.begin += length;
  }
  while (right && b.end > b.begin) {
    const size_t at = previous(text, b.end);
    if (!strips(text.substr(at, b.end - at))) break;
    b.end = at;
  }
  return b;
}

void append_code(std::string& out, utf8proc_int32_t code) {
  append_utf8(out, static_cast<char32_t>(code));
}

}  // namespace

size_t count_characters(std::string_view text) {
  size_t n = 0;
  for (size_t at = 0; at < text.size(); ++n) {
    for (; eight_are_ascii(text, at); at += 8) n += 8;
    if (at == text.size()) break;
    at += character_length(text.substr(at));
  }
  return n;
}

size_t character_offset(std::string_view text, size_t n) {
  size_t at = 0;
  while (n > 0 && at < text.size()) {
    const size_t step = n >= 8 && eight_are_ascii(text, at) ? 8 : 1;
    at += step == 8 ? 8 : character_length(text.substr(at));
    n -= step;
  }
  return at;
}

bool is_python_space(char32_t code) {
  return (code >= 0x1C && code <= 0x1F) || is_white_space(code);
}

Bounds strip_bounds(std::string_view text, bool left, bool right) {
  return strip_if(text, left, right, [](std::string_view c) { return is_python_space(code_of(c)); });
}

Bounds strip_bounds(std::string_view text, std::string_view set, bool left, bool right) {
  return strip_if(text, left, right, [&](std::string_view c) {
    for (size_t at = set.find(c); at != std::string_view::npos; at = set.find(c, at + 1)) {
      if ((static_cast<unsigned char>(set[at]) & 0xC0) != 0x80 || c.size() > 1) return true;
    }
    return false;
  });
}

size_t find_bytes(std::string_view text, std::string_view wanted, size_t from) {
  if (from > text.size()) return std::string_view::npos;
  const void* hit = memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  return hit == nullptr ? std::string_view::npos
                        : static_cast<size_t>(static_cast<const char*>(hit) - text.data());
}

size_t find_last_bytes(std::string_view text, std::string_view wanted) {
  if (wanted.size() <= 1) return text.rfind(wanted);
  // Backwards, for want of a memmem() from the right.
  const std::string mirrored(text.rbegin(), text.rend()), wanted_mirrored(wanted.rbegin(), wanted.rend());
  const size_t hit = find_bytes(mirrored, wanted_mirrored);
  return hit == std::string::npos ? hit : text.size() - hit - wanted.size();
}

size_t line_break_length(std::string_view text) {
  if (text.empty()) return 0;
  const char c = text[0];
  if (c == '\r') return text.size() > 1 && text[1] == '\n' ? 2 : 1;
  if ((c >= '\n' && c <= '\f') || (c >= '\x1C' && c <= '\x1E')) return 1;
  if (text.starts_with("\xC2\x85")) return 2;
  return text.starts_with("\xE2\x80\xA8") || text.starts_with("\xE2\x80\xA9") ? 3 : 0;
}

bool is_in(char32_t code, CharacterClass c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  const bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  switch (c) {
    case CharacterClass::kSpace:
      return is_python_space(code);
    case CharacterClass::kAlphabetic:
      return letter;
    case CharacterClass::kDecimal:
      return category == UTF8PROC_CATEGORY_ND;
    case CharacterClass::kDigit:  // superscripts, too
      return category == UTF8PROC_CATEGORY_ND || code == 0xB2 || code == 0xB3 || code == 0xB9 ||
             code == 0x2070 || (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089);
    case CharacterClass::kNumeric:
      return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
    case CharacterClass::kLower:
      return category == UTF8PROC_CATEGORY_LL;
    case CharacterClass::kUpper:
      return category == UTF8PROC_CATEGORY_LU;
    case CharacterClass::kPrintable:
      return code == ' ' || (category > UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS);
  }
  return false;
}

void append_upper(std::string& out, char32_t code) {
  if (code == 0xDF) {
    out += "SS";
  } else {
    append_code(out, utf8proc_toupper(static_cast<utf8proc_int32_t>(code)));
  }
}

void append_title(std::string& out, char32_t code) {
  if (code == 0xDF) {
    out += "Ss";
  } else {
    append_code(out, utf8proc_totitle(static_cast<utf8proc_int32_t>(code)));
  }
}

void append_lower(std::string& out, char32_t code) {
  if (code == 0x130) {
    out += "i\u0307";
  } else {
    append_code(out, utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
  }
}

}  // namespace mla::jinja
