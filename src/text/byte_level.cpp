#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace mla {
namespace {

struct ByteLevelTable {
  std::array<std::string, 256> spelling;
  std::array<int16_t, 512> byte_of;  // code point -> byte, -1: none

  // Printable Latin-1 bytes stand for themselves; the rest take U+0100 and following in order.
  ByteLevelTable() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t code = printable ? static_cast<char32_t>(b) : next++;
      append_utf8(spelling[static_cast<size_t>(b)], code);
      byte_of[code] = static_cast<int16_t>(b);
    }
  }
};

const ByteLevelTable& table() {
  static const ByteLevelTable instance;
  return instance;
}

}  // namespace

std::string to_byte_level(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) out += table().spelling[static_cast<uint8_t>(c)];
  return out;
}

std::optional<std::string> from_byte_level(std::string_view spelled) {
  const ByteLevelTable& t = table();
  std::string out;
  out.reserve(spelled.size());
  while (!spelled.empty()) {
    const Utf8Char c = next_utf8(spelled);
    if (!c.valid || c.code >= t.byte_of.size() || t.byte_of[c.code] < 0) return std::nullopt;
    out.push_back(static_cast<char>(t.byte_of[c.code]));
    spelled.remove_prefix(c.length);
  }
  return out;
}

std::string_view byte_level_spelling(uint8_t byte) {
  return table().spelling[byte];
}

std::optional<uint8_t> parse_byte_token(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return std::nullopt;
  unsigned value = 0;
  for (const char c : text.substr(3, 2)) {
    unsigned digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<unsigned>(c - 'A') + 10;
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else {
      return std::nullopt;
    }
    value = value * 16 + digit;
  }
  return static_cast<uint8_t>(value);
}

}  // namespace mla
