#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace mla {

/// Where in a JSON string (RFC 8259) a text has got to, behind its first quote. Characters are valid UTF-8;
/// an escaped surrogate is followed by the escape that completes the pair.
enum class StringPlace : uint8_t {
  kPlain,   ///< between characters
  kEnd,     ///< behind the last quote
  kEscape,  ///< behind a backslash
  kHex1,    ///< \u, and the number of the digit that comes
  kHex2,
  kHex3,
  kHex4,
  kHexD,   ///< \ud: the next digit tells whether this is a surrogate
  kHigh3,  ///< of a high surrogate
  kHigh4,
  kLowEscape,  ///< the backslash of a low surrogate comes,
  kLowU,       ///< its u,
  kLowD,       ///< its first digit,
  kLowHex2,    ///< its second
  kTail1,      ///< so many bytes of a UTF-8 character come
  kTail2,
  kTail3,
  kTailE0,  ///< behind these bytes not every next one is valid
  kTailED,
  kTailF0,
  kTailF4,
  kInvalid,
};

namespace detail {

constexpr bool is_hex(int c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

constexpr StringPlace after_lead_byte(int c) {
  using enum StringPlace;
  if (c < 0x20) return kInvalid;
  if (c < 0x80) return c == '"' ? kEnd : c == '\\' ? kEscape : kPlain;
  if (c >= 0xC2 && c <= 0xDF) return kTail1;
  if (c == 0xE0) return kTailE0;
  if (c == 0xED) return kTailED;
  if (c >= 0xE1 && c <= 0xEF) return kTail2;
  if (c == 0xF0) return kTailF0;
  if (c >= 0xF1 && c <= 0xF3) return kTail3;
  return c == 0xF4 ? kTailF4 : kInvalid;
}

constexpr StringPlace after_escape(int c) {
  if (c == 'u') return StringPlace::kHex1;
  for (const char known : {'"', '\\', '/', 'b', 'f', 'n', 'r', 't'}) {
    if (c == known) return StringPlace::kPlain;
  }
  return StringPlace::kInvalid;
}

constexpr StringPlace after_hex_digit(StringPlace place, int c) {
  using enum StringPlace;
  if (!is_hex(c)) return kInvalid;
  const bool is_d = c == 'd' || c == 'D', below_8 = c >= '0' && c <= '7';
  const bool is_89ab = c == '8' || c == '9' || c == 'a' || c == 'b' || c == 'A' || c == 'B';
  switch (place) {
    case kHex1:
      return is_d ? kHexD : kHex2;
    case kHexD:
      return below_8 ? kHex3 : is_89ab ? kHigh3 : kInvalid;
    case kLowD:
      return is_d ? kLowHex2 : kInvalid;
    case kLowHex2:
      return below_8 || is_89ab ? kInvalid : kHex3;
    case kHex2:
      return kHex3;
    case kHex3:
      return kHex4;
    case kHigh3:
      return kHigh4;
    case kHigh4:
      return kLowEscape;
    default:
      return kPlain;
  }
}

constexpr StringPlace after(StringPlace place, int c) {
  using enum StringPlace;
  const auto tail = [c](int low, int high, StringPlace next) {
    return c >= low && c <= high ? next : kInvalid;
  };
  switch (place) {
    case kPlain:
      return after_lead_byte(c);
    case kEscape:
      return after_escape(c);
    case kLowEscape:
      return c == '\\' ? kLowU : kInvalid;
    case kLowU:
      return c == 'u' ? kLowD : kInvalid;
    case kTail1:
      return tail(0x80, 0xBF, kPlain);
    case kTail2:
      return tail(0x80, 0xBF, kTail1);
    case kTail3:
      return tail(0x80, 0xBF, kTail2);
    case kTailE0:  // no overlong forms
      return tail(0xA0, 0xBF, kTail1);
    case kTailED:  // no surrogates
      return tail(0x80, 0x9F, kTail1);
    case kTailF0:
      return tail(0x90, 0xBF, kTail2);
    case kTailF4:  // nothing above U+10FFFF
      return tail(0x80, 0x8F, kTail2);
    case kEnd:
    case kInvalid:
      return kInvalid;
    default:
      return after_hex_digit(place, c);
  }
}

constexpr size_t kStringPlaces = static_cast<size_t>(StringPlace::kInvalid) + 1;
using StringTable = std::array<std::array<StringPlace, 256>, kStringPlaces>;

constexpr StringTable make_string_table() {
  StringTable table{};
  for (size_t place = 0; place < kStringPlaces; ++place) {
    for (int c = 0; c < 256; ++c)
      table[place][static_cast<size_t>(c)] = after(static_cast<StringPlace>(place), c);
  }
  return table;
}

inline constexpr StringTable kStringTable = make_string_table();

}  // namespace detail

/// Where a string has got to after one more byte.
inline StringPlace next_in_string(StringPlace place, uint8_t byte) {
  return detail::kStringTable[static_cast<size_t>(place)][byte];
}

/// Where in a number a text has got to.
enum class NumberPlace : uint8_t {
  kMinus,
  kZero,    ///< a leading zero
  kDigits,  ///< of the whole part
  kPoint,
  kFraction,  ///< digits of it
  kMark,      ///< behind e or E
  kSign,      ///< of the exponent
  kExponent,  ///< digits of it
};

/// A number that is being read. Its parts are bounded, so that an answer cannot be digits for ever, and so
/// that every number is one that a double can hold.
struct NumberText {
  static constexpr uint32_t kMaxDigits = 18, kMaxFraction = 17, kMaxExponent = 2;

  NumberPlace place = NumberPlace::kMinus;
  uint32_t n_digits = 0;  ///< of the part that is being read
  int64_t whole = 0;      ///< integers: the value of the digits so far, with its sign

  /// Takes a byte of a number, or of its beginning where `begins`; false when no number has it there.
  bool advance(uint8_t byte, bool begins);
  /// The same for an integer from `least` to `most`, without fraction and exponent: takes only what some such
  /// integer begins with.
  bool advance_integer(uint8_t byte, bool begins, int64_t least, int64_t most);
  /// Whether this is a number already.
  bool complete() const;
};

}  // namespace mla
