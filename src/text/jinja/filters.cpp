#include "text/jinja/filters.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <unordered_map>

#include "text/jinja/characters.h"
#include "text/jinja/failure.h"
#include "text/jinja/format.h"
#include "text/jinja/json.h"
#include "text/jinja/operators.h"

namespace mla::jinja {
namespace {

/// The digits of a number in text: without white space at the ends and without the _ between digits.
std::optional<std::string> plain_number(std::string_view text) {
  const Bounds b = strip_bounds(text, true, true);
  std::string digits;
  for (size_t i = b.begin; i < b.end; ++i) {
    if (text[i] != '_') {
      digits += text[i];
      continue;
    }
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (i == b.begin || i + 1 == b.end || !is_digit(text[i - 1]) || !is_digit(text[i + 1]))
      return std::nullopt;
  }
  if (digits.starts_with('+')) {
    digits.erase(0, 1);
    if (digits.starts_with('-')) return std::nullopt;
  }
  return digits;
}

std::optional<int64_t> parse_integer(std::string_view text, int base) {
  std::optional<std::string> digits = plain_number(text);
  if (!digits) return std::nullopt;
  const size_t sign = digits->starts_with('-') ? 1 : 0;
  const std::string prefix = digits->substr(sign, 2);
  if ((base == 16 && (prefix == "0x" || prefix == "0X")) ||
      (base == 8 && (prefix == "0o" || prefix == "0O")) || (base == 2 && (prefix == "0b" || prefix == "0B")))
    digits->erase(sign, 2);
  int64_t value = 0;
  const char* end = digits->data() + digits->size();
  const auto read = std::from_chars(digits->data(), end, value, base);
  if (read.ptr != end || digits->empty()) return std::nullopt;
  if (read.ec == std::errc::result_out_of_range)
    throw Failure("an integer beyond 64 bits: templates may not read those here");
  return read.ec == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<double> parse_real(std::string_view text) {
  const std::optional<std::string> digits = plain_number(text);
  if (!digits || digits->empty()) return std::nullopt;
  double value = 0;
  const char* end = digits->data() + digits->size();
  const auto read = std::from_chars(digits->data(), end, value);
  if (read.ec == std::errc::result_out_of_range)
    return digits->find("e-") != std::string::npos ? 0.0 : HUGE_VAL;
  return read.ec == std::errc() && read.ptr == end ? std::optional(value) : std::nullopt;
}

std::optional<double> as_real(const Value& input) {
  if (input.is_number()) return input.as_real();
  return input.is_string() ? parse_real(input.bytes()) : std::nullopt;
}

Value filter_int(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [missing, base] = bind<2>("int", arguments, {"default", "base"});
  require_defined(input);
  if (input.is_string()) heap.charge_scan(input.bytes().size());
  if (input.is_integral()) return Value::of(input.as_integer());
  if (input.is_string()) {
    const int64_t radix = base ? require_integer(*base) : 10;
    if (radix != 10 && radix != 16 && radix != 8 && radix != 2)
      throw Failure("int: a base must be 2, 8, 10 or 16");
    if (const auto value = parse_integer(input.bytes(), static_cast<int>(radix))) return Value::of(*value);
  }
  const std::optional<double> real = as_real(input);
  if (!real || !std::isfinite(*real)) return missing.value_or(Value::of(int64_t{0}));
  if (std::abs(*real) >= 9.2e18) throw Failure("int: the number is beyond 64 bits");
  return Value::of(static_cast<int64_t>(*real));
}

Value filter_float(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [missing] = bind<1>("float", arguments, {"default"});
  require_defined(input);
  if (input.is_string()) heap.charge_scan(input.bytes().size());
  const std::optional<double> real = as_real(input);
  return real ? Value::of(*real) : missing.value_or(Value::of(0.0));
}

Value filter_abs(Heap&, const Value& input, const CallArguments& arguments) {
  bind<0>("abs", arguments, {});
  require_defined(input);
  if (!input.is_number()) throw Failure(fmt::format("bad operand type for abs(): '{}'", type_name(input)));
  if (input.is(Kind::kFloat)) return Value::of(std::abs(input.real));
  return input.as_integer() < 0 ? negative(input) : Value::of(input.as_integer());
}

Value filter_round(Heap&, const Value& input, const CallArguments& arguments) {
  const auto [precision, method] = bind<2>("round", arguments, {"precision", "method"});
  const int64_t digits = precision ? require_integer(*precision) : 0;
  const std::string_view how = method ? std::string_view(require_string(*method).bytes) : "common";
  if (how != "common" && how != "ceil" && how != "floor")
    throw Failure("method must be common, ceil or floor");
  require_defined(input);
  if (!input.is_number())
    throw Failure(fmt::format("type {} doesn't define __round__ method", type_name(input)));
  if (digits < -300 || digits > 300) throw Failure("round: a precision beyond 300 digits");
  const double scale = std::pow(10.0, static_cast<double>(digits));
  if (how == "common") {
    if (input.is_integral() && digits >= 0) return Value::of(input.as_integer());
    if (!std::isfinite(input.as_real())) return input;
    // Exact decimals, as Python rounds: ties are those of the binary number.
    const double rounded = digits >= 0
                               ? std::stod(fmt::format("{:.{}f}", input.real, static_cast<int>(digits)))
                               : std::nearbyint(input.as_real() * scale) / scale;
    if (!input.is_integral()) return Value::of(rounded);
    if (std::abs(rounded) >= 9.2e18) throw Failure("round: the number is beyond 64 bits");
    return Value::of(static_cast<int64_t>(rounded));
  }
  const double scaled = input.as_real() * scale;
  return Value::of((how == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value filter_default(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [value, boolean] = bind<2>("default", arguments, {"default_value", "boolean"});
  const bool missing = input.is_undefined() || (boolean && truthy(*boolean) && !truthy(input));
  if (!missing) return input;
  return value ? *value : heap.string("");
}

Value filter_attr(Heap& heap, const Value& input, const CallArguments& arguments) {
  const auto [name] = bind<1>("attr", arguments, {"name"}, 1);
  const Text& wanted = require_string(*name);
  if (input.is(Kind::kDict) && input.dict->get(wanted.bytes) != nullptr)
    return heap.undefined_attribute(input, wanted.bytes);
  return attribute(heap, input, wanted.bytes);
}

Value filter_length(Heap& heap, const Value& input, const CallArguments& arguments) {
  bind<0>("length", arguments, {});
  return Value::size(length(heap, input));
}

Filter find_other_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Filter> kFilters = {
      {"abs", filter_abs},   {"attr", filter_attr},       {"count", filter_length},
      {"d", filter_default}, {"default", filter_default}, {"float", filter_float},
      {"int", filter_int},   {"length", filter_length},   {"round", filter_round},
      {"tojson", to_json},
  };
  const auto hit = kFilters.find(name);
  return hit == kFilters.end() ? nullptr : hit->second;
}

}  // namespace

Filter find_filter(std::string_view name) {
  for (const auto find : {find_other_filter, find_text_filter, find_sequence_filter}) {
    if (const Filter filter = find(name)) return filter;
  }
  return nullptr;
}

Value apply_filter(Heap& heap, std::string_view name, const Value& input, const CallArguments& arguments) {
  const Filter filter = find_filter(name);
  if (filter == nullptr) throw Failure(fmt::format("No filter named '{}'.", name));
  return filter(heap, input, arguments);
}

}  // namespace mla::jinja
