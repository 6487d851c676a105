#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mla {

/// GPT-2's reversible spelling of bytes: each of the 256 bytes is one printable character (space is U+0120,
/// newline U+010A), so that vocabularies of raw bytes can be written as text.
std::string to_byte_level(std::string_view bytes);

/// The bytes that a vocabulary entry spells; nothing when it holds a character outside the 256 (then it is
/// not so spelled).
std::optional<std::string> from_byte_level(std::string_view spelled);

/// The spelling of one byte.
std::string_view byte_level_spelling(uint8_t byte);

/// SentencePiece's spelling of a byte token, "<0x0A>"; nothing for any other text (failure-modes GG25:
/// "<0x-1>").
std::optional<uint8_t> parse_byte_token(std::string_view text);

}  // namespace mla
