#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/characters.h"
#include "text/jinja/failure.h"
#include "text/jinja/format.h"

namespace mla::jinja {
namespace {

void append_character_repr(TextBuilder& out, std::string_view character, char quote, bool foreign) {
  const Utf8Char c = next_utf8(character);
  const char32_t code = c.valid ? c.code : static_cast<unsigned char>(character[0]);
  if (code == '\\' || code == static_cast<char32_t>(quote)) {
    out.append("\\", foreign);
    out.append(character, foreign);
  } else if (code == '\n') {
    out.append("\\n", foreign);
  } else if (code == '\r') {
    out.append("\\r", foreign);
  } else if (code == '\t') {
    out.append("\\t", foreign);
  } else if (c.valid && is_in(code, CharacterClass::kPrintable)) {
    out.append(character, foreign);
  } else if (code < 0x100) {
    out.append(fmt::format("\\x{:02x}", static_cast<uint32_t>(code)), foreign);
  } else if (code < 0x10000) {
    out.append(fmt::format("\\u{:04x}", static_cast<uint32_t>(code)), foreign);
  } else {
    out.append(fmt::format("\\U{:08x}", static_cast<uint32_t>(code)), foreign);
  }
}

void append_string_repr(TextBuilder& out, const Text& text) {
  const std::string_view bytes = text.bytes;
  const bool single = bytes.find('\'') != std::string_view::npos;
  const char quote = single && bytes.find('"') == std::string_view::npos ? '"' : '\'';
  const std::string_view mark(&quote, 1);
  if (text.markup) out.append("Markup(");
  out.append(mark);
  ForeignCursor cursor(text);
  for (size_t at = 0; at < bytes.size();) {
    const size_t n = character_length(bytes.substr(at));
    append_character_repr(out, bytes.substr(at, n), quote, cursor.at(at));
    at += n;
  }
  out.append(mark);
  if (text.markup) out.append(")");
}

void append_items(TextBuilder& out, const std::vector<Value>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.append(", ");
    append_repr(out, items[i]);
  }
}

void append_dict(TextBuilder& out, const Dict& dict) {
  out.append("{");
  for (size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out.append(", ");
    append_repr(out, dict.entries[i].first);
    out.append(": ");
    append_repr(out, dict.entries[i].second);
  }
  out.append("}");
}

void append_range(TextBuilder& out, const Range& r) {
  out.append(r.step == 1 ? fmt::format("range({}, {})", r.start, r.stop)
                         : fmt::format("range({}, {}, {})", r.start, r.stop, r.step));
}

}  // namespace

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), std::abs(value),
                                 std::chars_format::scientific);
  const std::string_view written(buffer.data(), static_cast<size_t>(end.ptr - buffer.data()));
  const size_t e = written.find('e');
  int exponent = 0;
  const std::string_view power = written.substr(e + (written[e + 1] == '+' ? 2 : 1));
  std::from_chars(power.data(), power.data() + power.size(), exponent);
  std::string digits(1, written[0]);
  if (e > 2) digits += written.substr(2, e - 2);

  std::string out = std::signbit(value) ? "-" : "";
  const auto n = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (n > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (n <= exponent + 1) return out + digits + std::string(static_cast<size_t>(exponent + 1 - n), '0') + ".0";
  const auto point = static_cast<size_t>(exponent + 1);
  return out + digits.substr(0, point) + "." + digits.substr(point);
}

void append_repr(TextBuilder& out, const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined:
      return out.append("Undefined");
    case Kind::kNone:
      return out.append("None");
    case Kind::kBool:
      return out.append(value.boolean ? "True" : "False");
    case Kind::kInt:
      return out.append(fmt::format("{}", value.integer));
    case Kind::kFloat:
      return out.append(float_repr(value.real));
    case Kind::kString:
      return append_string_repr(out, *value.text);
    case Kind::kList:
      out.append("[");
      append_items(out, value.sequence->items);
      return out.append("]");
    case Kind::kTuple:
      out.append("(");
      append_items(out, value.sequence->items);
      return out.append(value.sequence->items.size() == 1 ? ",)" : ")");
    case Kind::kView:
      out.append(value.sequence->label);
      out.append("([");
      append_items(out, value.sequence->items);
      return out.append("])");
    case Kind::kDict:
      return append_dict(out, *value.dict);
    case Kind::kRange:
      return append_range(out, *value.range);
    case Kind::kLoop:
      return out.append(fmt::format("<LoopContext {}/{}>", value.loop->index0 + 1, value.loop->items.size()));
    default:
      break;
  }
  // Python prints addresses here, or a namespace's attributes, among which may be itself.
  throw Failure(fmt::format("a {} cannot be printed", type_name(value)));
}

void append_str(TextBuilder& out, const Value& value) {
  if (value.is_undefined()) return;
  if (value.is_string()) return out.append(*value.text);
  append_repr(out, value);
}

Value str(Heap& heap, const Value& value) {
  if (value.is_string()) return value;
  TextBuilder out(heap);
  append_str(out, value);
  return out.take_value();
}

std::string repr_of(Heap& heap, const Value& value) {
  constexpr size_t kMost = 80;
  if (value.kind >= Kind::kNamespace && !value.is(Kind::kLoop)) return fmt::format("<{}>", type_name(value));
  TextBuilder out(heap);
  append_repr(out, value);
  std::string text = out.take().bytes;
  if (text.size() <= kMost) return text;
  return text.substr(0, character_offset(text, kMost)) + "...";
}

}  // namespace mla::jinja
