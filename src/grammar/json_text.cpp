#include "grammar/json_text.h"

#include <algorithm>

namespace mla {
namespace {

bool is_digit(uint8_t byte) {
  return byte >= '0' && byte <= '9';
}

/// Whether an integer from `least` to `most` begins with the digits of `whole`, which are n_digits.
bool leads_to(int64_t whole, uint32_t n_digits, int64_t least, int64_t most) {
  int64_t low = whole, high = whole;  // of all integers that have so many more digits
  for (uint32_t n = n_digits;; ++n) {
    if (low <= most && high >= least) return true;
    if (whole == 0 || n >= NumberText::kMaxDigits) return false;
    low = 10 * low - (whole < 0 ? 9 : 0);
    high = 10 * high + (whole > 0 ? 9 : 0);
  }
}

}  // namespace

bool NumberText::complete() const {
  return place == NumberPlace::kZero || place == NumberPlace::kDigits || place == NumberPlace::kFraction ||
         place == NumberPlace::kExponent;
}

bool NumberText::advance(uint8_t byte, bool begins) {
  using enum NumberPlace;
  const auto go = [this](NumberPlace to, uint32_t digits) {
    place = to;
    n_digits = digits;
    return true;
  };
  const bool digit = is_digit(byte), mark = byte == 'e' || byte == 'E';
  if (begins && byte == '-') return go(kMinus, 0);
  if (begins || place == kMinus) return digit && go(byte == '0' ? kZero : kDigits, 1);
  switch (place) {
    case kZero:
    case kDigits:
      if (digit) return place == kDigits && n_digits < kMaxDigits && go(kDigits, n_digits + 1);
      return (byte == '.' && go(kPoint, 0)) || (mark && go(kMark, 0));
    case kPoint:
    case kFraction:
      if (digit) return n_digits < kMaxFraction && go(kFraction, n_digits + 1);
      return place == kFraction && mark && go(kMark, 0);
    case kMark:
      if (byte == '+' || byte == '-') return go(kSign, 0);
      return digit && go(kExponent, 1);
    case kSign:
    case kExponent:
      return digit && n_digits < kMaxExponent && go(kExponent, n_digits + 1);
    case kMinus:
      break;
  }
  return false;
}

bool NumberText::advance_integer(uint8_t byte, bool begins, int64_t least, int64_t most) {
  if (begins && byte == '-') {
    place = NumberPlace::kMinus;
    return least < 0 && least <= most;  // some negative integer
  }
  if (!is_digit(byte)) return false;
  const bool negative = !begins && (place == NumberPlace::kMinus || whole < 0);
  const bool first = begins || place == NumberPlace::kMinus;
  if (!first && (place == NumberPlace::kZero || n_digits >= kMaxDigits)) return false;
  if (first && negative && byte == '0') return false;  // "-0" is 0 spelled in another way
  const int64_t digit = byte - '0';
  whole = first ? (negative ? -digit : digit) : 10 * whole + (negative ? -digit : digit);
  n_digits = first ? 1 : n_digits + 1;
  place = first && byte == '0' ? NumberPlace::kZero : NumberPlace::kDigits;
  return leads_to(whole, n_digits, least, most);
}

}  // namespace mla
