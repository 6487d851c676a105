#include "text/jinja/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "text/jinja/characters.h"
#include "text/jinja/failure.h"
#include "text/jinja/format.h"
#include "text/jinja/operators.h"

namespace mla::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Heap& heap, const CallArguments& arguments) : heap_(heap), out_(heap) {
    const auto [ascii, indent, separators, sorted] =
        bind<4>("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
    ascii_ = ascii && truthy(*ascii);
    sorted_ = sorted && truthy(*sorted);
    if (indent && !indent->is(Kind::kNone)) {
      indent_ = indent->is_string() ? indent->text->bytes : std::string(width(require_integer(*indent)), ' ');
      comma_ = ",";
    }
    if (separators && !separators->is(Kind::kNone)) {
      const std::vector<Value> two = elements(heap, *separators);
      if (two.size() != 2) throw Failure("tojson: separators must be a pair of strings");
      comma_ = require_string(two[0]).bytes;
      colon_ = require_string(two[1]).bytes;
    }
  }

  Value run(const Value& value) {
    write(value);
    return out_.take_value();
  }

 private:
  size_t width(int64_t n) const {
    constexpr int64_t kMost = 1000;
    if (n > kMost) throw Failure(fmt::format("tojson: an indent of {}: at most {} is allowed", n, kMost));
    return static_cast<size_t>(std::max<int64_t>(n, 0));
  }

  void write(const Value& value) {
    heap_.charge_steps();
    switch (value.kind) {
      case Kind::kNone:
        return out_.append("null");
      case Kind::kBool:
        return out_.append(value.boolean ? "true" : "false");
      case Kind::kInt:
        return out_.append(fmt::format("{}", value.integer));
      case Kind::kFloat:
        return out_.append(number(value.real));
      case Kind::kString:
        return write_string(*value.text);
      case Kind::kList:
      case Kind::kTuple:
        return write_list(value.sequence->items);
      case Kind::kDict:
        return write_dict(*value.dict);
      default:
        throw Failure(fmt::format("Object of type {} is not JSON serializable", type_name(value)));
    }
  }

  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_repr(value);
  }

  void write_string(const Text& text) {
    out_.append("\"");
    ForeignCursor cursor(text);
    const std::string_view bytes = text.bytes;
    size_t plain = 0;  // copied up to here
    for (size_t at = 0; at < bytes.size();) {
      const size_t n = character_length(bytes.substr(at));
      const std::string escaped = escape(bytes.substr(at, n));
      if (!escaped.empty()) {
        out_.append(text, plain, at);
        out_.append(escaped, cursor.at(at));
        plain = at + n;
      }
      at += n;
    }
    out_.append(text, plain, bytes.size());
    out_.append("\"");
  }

  /// Empty for a character that stands for itself.
  std::string escape(std::string_view character) const {
    switch (character[0]) {
      case '"':
        return "\\\"";
      case '\\':
        return "\\\\";
      case '\n':
        return "\\n";
      case '\r':
        return "\\r";
      case '\t':
        return "\\t";
      case '\f':
        return "\\f";
      case '\b':
        return "\\b";
      default:
        break;
    }
    const Utf8Char c = next_utf8(character);
    const uint32_t code = c.valid ? static_cast<uint32_t>(c.code) : 0xFFFD;
    if (code < 0x20) return fmt::format("\\u{:04x}", code);
    if (!ascii_ || code < 0x80) return {};
    if (code < 0x10000) return fmt::format("\\u{:04x}", code);
    return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((code - 0x10000) >> 10),
                       0xDC00 + ((code - 0x10000) & 0x3FF));
  }

  void line_break() {
    if (!indent_) return;
    out_.append("\n");
    for (size_t i = 0; i < level_; ++i) out_.append(*indent_);
  }

  void write_list(const std::vector<Value>& items) {
    if (items.empty()) return out_.append("[]");
    out_.append("[");
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_.append(comma_);
      line_break();
      write(items[i]);
    }
    --level_;
    line_break();
    out_.append("]");
  }

  void write_dict(const Dict& dict) {
    if (dict.entries.empty()) return out_.append("{}");
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (sorted_) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto* a, const auto* b) { return less(heap_, a->first, b->first); });
    }
    out_.append("{");
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_.append(comma_);
      line_break();
      write_key(entries[i]->first);
      out_.append(colon_);
      write(entries[i]->second);
    }
    --level_;
    line_break();
    out_.append("}");
  }

  void write_key(const Value& key) {
    if (key.is_string()) return write_string(*key.text);
    if (!key.is_number() && !key.is(Kind::kNone))
      throw Failure(fmt::format("keys must be str, int, float, bool or None, not {}", type_name(key)));
    out_.append("\"");
    write(key);
    out_.append("\"");
  }

  Heap& heap_;
  TextBuilder out_;
  bool ascii_ = false, sorted_ = false;
  std::optional<std::string> indent_;
  std::string comma_ = ", ", colon_ = ": ";
  size_t level_ = 0;
};

}  // namespace

Value to_json(Heap& heap, const Value& value, const CallArguments& arguments) {
  return JsonWriter(heap, arguments).run(value);
}

}  // namespace mla::jinja
