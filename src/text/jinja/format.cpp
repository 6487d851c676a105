#include "text/jinja/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "text/jinja/characters.h"
#include "text/jinja/failure.h"
#include "text/jinja/operators.h"

namespace mla::jinja {
namespace {

constexpr size_t kMaxPrecision = 1000;

/// How one value is to be written: the common part of %-formats and of format().
struct Spec {
  std::string fill = " ";
  char align = 0;  ///< < > ^ or =; 0: by type
  char sign = '-';
  bool alternate = false, comma = false;
  size_t width = 0;
  std::optional<size_t> precision;
  char type = 0;
};

/// Reads what stands in front of one value.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}
  bool done() const { return at_ >= text_.size(); }
  char peek() const { return done() ? '\0' : text_[at_]; }
  size_t at() const { return at_; }
  void skip(size_t n) { at_ += n; }
  std::string_view rest() const { return text_.substr(at_); }
  bool take(char c) {
    if (peek() != c || done()) return false;
    ++at_;
    return true;
  }
  /// A number of digits; what is too large to mean anything is as large as can be.
  std::optional<size_t> number() {
    if (peek() < '0' || peek() > '9') return std::nullopt;
    size_t n = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_)
      n = std::min<size_t>(n * 10 + static_cast<size_t>(peek() - '0'), size_t{1} << 40);
    return n;
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

void append_padded(TextBuilder& out, const Spec& spec, std::string_view prefix, const Text& body,
                   char align) {
  const size_t n = prefix.size() + count_characters(body.bytes);
  const size_t padding = spec.width > n ? spec.width - n : 0;
  const size_t before = align == '>' ? padding : align == '^' ? padding / 2 : 0;
  out.repeat(spec.fill, before);
  out.append(prefix);
  if (align == '=') out.repeat(spec.fill, padding);
  out.append(body);
  if (align != '=') out.repeat(spec.fill, padding - before);
}

std::string group_thousands(std::string digits) {
  size_t end = std::min(digits.find_first_not_of("0123456789"), digits.size());
  while (end > 3) {
    end -= 3;
    digits.insert(end, ",");
  }
  return digits;
}

std::string integer_digits(const Spec& spec, uint64_t magnitude) {
  switch (spec.type) {
    case 'x':
      return fmt::format("{}{:x}", spec.alternate ? "0x" : "", magnitude);
    case 'X':
      return fmt::format("{}{:X}", spec.alternate ? "0X" : "", magnitude);
    case 'o':
      return fmt::format("{}{:o}", spec.alternate ? "0o" : "", magnitude);
    case 'b':
      return fmt::format("{}{:b}", spec.alternate ? "0b" : "", magnitude);
    default:
      return fmt::format("{}", magnitude);
  }
}

std::string real_digits(const Spec& spec, double magnitude) {
  if (std::isinf(magnitude)) return "inf";
  if (std::isnan(magnitude)) return "nan";
  if (spec.type == 0 && !spec.precision) return float_repr(magnitude);
  const auto precision = static_cast<int>(spec.precision.value_or(6));
  switch (spec.type) {
    case 'e':
      return fmt::format("{:.{}e}", magnitude, precision);
    case 'E':
      return fmt::format("{:.{}E}", magnitude, precision);
    case 'f':
    case 'F':
      return fmt::format("{:.{}f}", magnitude, precision);
    case '%':
      return fmt::format("{:.{}f}%", magnitude * 100, precision);
    case 'G':
      return fmt::format("{:.{}G}", magnitude, precision);
    default:
      return fmt::format("{:.{}g}", magnitude, precision);
  }
}

void append_number(TextBuilder& out, const Spec& spec, const Value& value) {
  constexpr std::string_view kRealTypes = "eEfFgG%";
  const bool real = value.is(Kind::kFloat) || kRealTypes.find(spec.type) != std::string_view::npos;
  const bool is_real = real && spec.type != 'd';
  if (spec.precision.value_or(0) > kMaxPrecision)
    throw Failure(
        fmt::format("a precision of {} digits: at most {} are allowed", *spec.precision, kMaxPrecision));
  const double number = value.as_real();
  const bool minus = is_real ? std::signbit(number) && !std::isnan(number) : value.as_integer() < 0;
  const auto integer = static_cast<uint64_t>(is_real ? 0 : value.as_integer());
  std::string digits = is_real ? real_digits(spec, std::abs(number))
                               : integer_digits(spec, minus ? uint64_t{0} - integer : integer);
  if (spec.comma) digits = group_thousands(std::move(digits));
  const std::string_view prefix = minus ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
  append_padded(out, spec, prefix, {.bytes = std::move(digits)}, spec.align != 0 ? spec.align : '>');
}

void append_string(TextBuilder& out, const Spec& spec, const Text& text, char default_align) {
  Text body = text;
  if (spec.precision && *spec.precision < count_characters(text.bytes)) {
    body.bytes.resize(character_offset(text.bytes, *spec.precision));
    std::erase_if(body.foreign, [&](const TextSpan& s) { return s.begin >= body.bytes.size(); });
    if (!body.foreign.empty()) body.foreign.back().end = std::min(body.foreign.back().end, body.bytes.size());
  }
  append_padded(out, spec, "", body, spec.align != 0 ? spec.align : default_align);
}

// ---------------------------------------------------------------------------------------------- template %
// arguments

class PercentFormat {
 public:
  PercentFormat(Heap& heap, const Text& format, const Value& arguments)
      : heap_(heap), format_(format), reader_(format.bytes), arguments_(arguments), out_(heap) {}

  Value run() {
    heap_.charge_steps(format_.bytes.size() / 8);
    while (!reader_.done()) {
      const size_t literal = std::min(reader_.rest().find('%'), reader_.rest().size());
      out_.append(format_, reader_.at(), reader_.at() + literal);
      reader_.skip(literal);
      if (reader_.take('%')) conversion();
    }
    const bool mapping = arguments_.is(Kind::kDict) || arguments_.is(Kind::kList);
    const size_t given = arguments_.is(Kind::kTuple) ? arguments_.sequence->items.size() : 1;
    if (!mapping && next_ < given) throw Failure("not all arguments converted during string formatting");
    return out_.take_value(format_.markup);
  }

 private:
  void conversion() {
    std::optional<Value> named;
    if (reader_.take('(')) {
      const size_t end = reader_.rest().find(')');
      if (end == std::string_view::npos) throw Failure("incomplete format key");
      if (!arguments_.is(Kind::kDict)) throw Failure("format requires a mapping");
      const Value* value = arguments_.dict->get(reader_.rest().substr(0, end));
      if (value == nullptr) throw Failure(fmt::format("no key '{}'", reader_.rest().substr(0, end)));
      named = *value;
      reader_.skip(end + 1);
    }
    const Spec spec = read_spec();
    if (reader_.done()) throw Failure("incomplete format");
    const char type = reader_.peek();
    reader_.skip(1);
    if (type == '%') return out_.append("%");
    convert(spec, type, named ? *named : next());
  }

  Spec read_spec() {
    Spec spec;
    bool zero = false, left = false;
    for (;; reader_.skip(1)) {
      const char c = reader_.peek();
      if (c == '-')
        left = true;
      else if (c == '0')
        zero = true;
      else if (c == '+')
        spec.sign = '+';
      else if (c == ' ' && spec.sign != '+')
        spec.sign = ' ';
      else if (c == '#')
        spec.alternate = true;
      else if (c != ' ')
        break;
    }
    if (reader_.take('*')) {
      const int64_t width = require_integer(next());
      left = left || width < 0;
      spec.width = static_cast<size_t>(std::abs(std::max<int64_t>(width, -(int64_t{1} << 40))));
    } else {
      spec.width = reader_.number().value_or(0);
    }
    if (reader_.take('.')) {
      spec.precision = reader_.take('*') ? static_cast<size_t>(std::max<int64_t>(require_integer(next()), 0))
                                         : reader_.number().value_or(0);
    }
    if (left) {
      spec.align = '<';
    } else if (zero) {
      spec.fill = "0";
      spec.align = '=';
    }
    return spec;
  }

  void convert(Spec spec, char type, const Value& value) {
    if (type == 's' || type == 'r') {
      if (spec.align == '=') {  // 0 means nothing for text
        spec.align = 0;
        spec.fill = " ";
      }
      TextBuilder text(heap_);
      if (type == 'r') {
        append_repr(text, value);
      } else if (format_.markup) {
        const Value plain = str(heap_, value);
        plain.text->markup ? text.append(*plain.text) : text.append_escaped(*plain.text);
      } else {
        append_str(text, value);
      }
      return append_string(out_, spec, text.take(), '>');
    }
    const bool integer =
        type == 'd' || type == 'i' || type == 'u' || type == 'x' || type == 'X' || type == 'o';
    if (!integer && std::string_view("eEfFgG").find(type) == std::string_view::npos)
      throw Failure(fmt::format("unsupported format character '{}'", type));
    require_defined(value);
    if (!value.is_number())
      throw Failure(fmt::format("%{} format: a real number is required, not {}", type, type_name(value)));
    spec.type = integer && (type == 'i' || type == 'u') ? 'd' : type;
    if (integer && value.is(Kind::kFloat)) {
      if (std::abs(value.real) > 9e18 || std::isnan(value.real))
        throw Failure("cannot convert float to integer");
      return append_number(out_, spec, Value::of(static_cast<int64_t>(value.real)));
    }
    append_number(out_, spec, value);
  }

  Value next() {
    if (!arguments_.is(Kind::kTuple)) {
      if (next_++ == 0) return arguments_;
    } else if (next_ < arguments_.sequence->items.size()) {
      return arguments_.sequence->items[next_++];
    }
    throw Failure("not enough arguments for format string");
  }

  Heap& heap_;
  const Text& format_;
  Reader reader_;
  const Value& arguments_;
  TextBuilder out_;
  size_t next_ = 0;
};

// ------------------------------------------------------------------------------------------------------
// str.format()

class BraceFormat {
 public:
  BraceFormat(Heap& heap, const Text& format, const CallArguments& arguments)
      : heap_(heap), format_(format), arguments_(arguments), out_(heap) {}

  Value run() {
    const std::string_view text = format_.bytes;
    heap_.charge_steps(text.size() / 8);
    for (size_t at = 0; at < text.size();) {
      const size_t brace = std::min(text.find_first_of("{}", at), text.size());
      out_.append(format_, at, brace);
      at = brace;
      if (at == text.size()) break;
      if (text.substr(at, 2) == "{{" || text.substr(at, 2) == "}}") {
        out_.append(format_, at, at + 1);
        at += 2;
        continue;
      }
      if (text[at] == '}') throw Failure("Single '}' encountered in format string");
      const size_t end = text.find('}', at);
      if (end == std::string_view::npos) throw Failure("expected '}' before end of string");
      field(text.substr(at + 1, end - at - 1));
      at = end + 1;
    }
    return out_.take_value(format_.markup);
  }

 private:
  void field(std::string_view field) {
    if (field.find('{') != std::string_view::npos)
      throw Failure("format(): fields inside a field's specification are not supported");
    const size_t colon = std::min(field.find(':'), field.size());
    std::string_view name = field.substr(0, colon);
    const Spec spec = read_spec(colon < field.size() ? field.substr(colon + 1) : std::string_view());
    char conversion = 0;
    if (const size_t mark = name.find('!'); mark != std::string_view::npos) {
      if (mark + 2 != name.size() || (name[mark + 1] != 'r' && name[mark + 1] != 's'))
        throw Failure(fmt::format("format(): a conversion must be !r or !s, got \"{}\"", name.substr(mark)));
      conversion = name[mark + 1];
      name = name.substr(0, mark);
    }
    const Value value = lookup(name);
    const bool number = conversion == 0 && value.is_number() && !value.is(Kind::kBool);
    // The types of format() that are for other values.
    const std::string_view other_types = !number ? "dbeEfFgGoxX%" : value.is(Kind::kFloat) ? "sdboxX" : "s";
    if (spec.type != 0 && other_types.find(spec.type) != std::string_view::npos)
      throw Failure(
          fmt::format("Unknown format code '{}' for object of type '{}'", spec.type, type_name(value)));
    if (number) return append_number(out_, spec, value);
    TextBuilder text(heap_);
    if (conversion == 'r') {
      append_repr(text, value);
    } else {
      append_str(text, value);
    }
    append_string(out_, spec, text.take(), '<');
  }

  Value lookup(std::string_view path) {
    size_t end = std::min(path.find_first_of(".["), path.size());
    const std::string_view first = path.substr(0, end);
    Value value;
    Reader digits(first);
    const std::optional<size_t> index = digits.number();
    if (first.empty() || (index && digits.done())) {
      const size_t i = first.empty() ? next_++ : *index;
      if (i >= arguments_.positional.size())
        throw Failure(fmt::format("Replacement index {} out of range for positional args tuple", i));
      value = arguments_.positional[i];
    } else {
      const Value* named = arguments_.find(first);
      if (named == nullptr) throw Failure(fmt::format("format(): no argument '{}'", first));
      value = *named;
    }
    while (end < path.size()) {
      const bool bracket = path[end] == '[';
      const size_t stop = std::min(path.find_first_of(bracket ? "]" : ".[", end + 1), path.size());
      if (bracket && stop == path.size()) throw Failure("Missing ']' in format string");
      const Value key = heap_.string(path.substr(end + 1, stop - end - 1));
      value = bracket ? item_named(value, key) : attribute(heap_, value, key.bytes());
      end = stop + (bracket ? 1 : 0);
    }
    return value;
  }

  Value item_named(const Value& object, const Value& key) {
    Reader digits(key.bytes());
    const std::optional<size_t> index = digits.number();
    return item(heap_, object, index && digits.done() ? Value::size(*index) : key);
  }

  static Spec read_spec(std::string_view text) {
    constexpr std::string_view kAligns = "<>^=";
    Spec spec;
    Reader reader(text);
    const size_t first = text.empty() ? 0 : character_length(text);
    if (first < text.size() && kAligns.find(text[first]) != std::string_view::npos) {
      spec.fill = text.substr(0, first);
      spec.align = text[first];
      reader.skip(first + 1);
    } else if (!text.empty() && kAligns.find(text[0]) != std::string_view::npos) {
      spec.align = text[0];
      reader.skip(1);
    }
    if (reader.peek() == '+' || reader.peek() == '-' || reader.peek() == ' ') {
      spec.sign = reader.peek();
      reader.skip(1);
    }
    spec.alternate = reader.take('#');
    if (reader.take('0') && spec.align == 0) {
      spec.fill = "0";
      spec.align = '=';
    }
    spec.width = reader.number().value_or(0);
    spec.comma = reader.take(',');
    if (reader.take('.')) {
      spec.precision = reader.number();
      if (!spec.precision) throw Failure("Format specifier missing precision");
    }
    if (!reader.done()) {
      spec.type = reader.peek();
      reader.skip(1);
    }
    if (!reader.done() ||
        (spec.type != 0 && std::string_view("sdbeEfFgGoxX%").find(spec.type) == std::string_view::npos))
      throw Failure(fmt::format("Invalid format specifier '{}'", text));
    return spec;
  }

  Heap& heap_;
  const Text& format_;
  const CallArguments& arguments_;
  TextBuilder out_;
  size_t next_ = 0;
};

}  // namespace

Value percent_format(Heap& heap, const Text& format, const Value& arguments) {
  return PercentFormat(heap, format, arguments).run();
}

Value brace_format(Heap& heap, const Text& format, const CallArguments& arguments) {
  return BraceFormat(heap, format, arguments).run();
}

}  // namespace mla::jinja
