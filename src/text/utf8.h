#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mla {

/// One step through text that may be broken: a whole character, or a run of bytes that no reading makes
/// valid.
struct Utf8Char {
  char32_t code = 0;  ///< the character; 0 when !valid
  size_t length = 0;  ///< bytes it takes; 0 at the end of the text
  bool valid = false;
  bool truncated = false;  ///< the text ends inside what more bytes may still turn into a character
};

/// Reads the character at the start of `text`. Invalid bytes are taken as the longest run that begins like a
/// character (Unicode 15, section 3.9, "substitution of maximal subparts"), so that each run gives one U+FFFD
/// as in browsers and Python.
Utf8Char next_utf8(std::string_view text);

/// Appends a character that is a Unicode scalar value.
void append_utf8(std::string& out, char32_t code);

/// Bytes at the start of `text` that are valid UTF-8.
size_t valid_utf8_prefix(std::string_view text);

/// The text with every run of invalid bytes replaced by U+FFFD.
std::string replace_invalid_utf8(std::string_view text);

/// Unicode's White_Space property.
bool is_white_space(char32_t code);

/// The text without the white space at its ends.
std::string_view strip_white_space(std::string_view text, bool left = true, bool right = true);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD
inline constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581, SentencePiece's visible space

}  // namespace mla
