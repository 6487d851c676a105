#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/text_span.h"

namespace mla::jinja {

/// A string: UTF-8 (other bytes pass unchanged, each counted as one character), and which of its bytes people
/// wrote.
struct Text {
  std::string bytes;
  std::vector<TextSpan> foreign;  ///< in order, neither empty nor touching
  bool markup = false;            ///< markupsafe.Markup: `safe` and `escape` make it
};

struct Sequence;
struct Dict;
struct Range;
struct Undefined;
struct Method;
struct Function;
struct Macro;
struct Loop;

/// Python's types as far as a template meets them.
enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kView,      ///< dict.keys(), dict.values(), dict.items()
  kIterator,  ///< what map, select and their like give: can be read once
  kDict,
  kRange,
  kNamespace,
  kMacro,
  kLoop,
  kFunction,
  kMethod,
};

/// A value of a template at run time. What it points to belongs to the Heap or to the template and outlives
/// the rendering.
struct Value {
  Kind kind = Kind::kUndefined;
  union {
    bool boolean;
    int64_t integer;
    double real;
    const Text* text;
    Sequence* sequence;  // kList, kTuple, kView, kIterator
    Dict* dict;          // kDict, kNamespace
    const Range* range;
    const Undefined* undefined;  // may be null
    const Method* method;
    const Function* function;
    const Macro* macro;
    Loop* loop;
  };

  Value() : undefined(nullptr) {}
  static Value none() { return make(Kind::kNone); }
  static Value of(bool b) {
    Value v = make(Kind::kBool);
    v.boolean = b;
    return v;
  }
  static Value of(int64_t i) {
    Value v = make(Kind::kInt);
    v.integer = i;
    return v;
  }
  static Value of(double d) {
    Value v = make(Kind::kFloat);
    v.real = d;
    return v;
  }
  static Value of(const Text* t) {
    Value v = make(Kind::kString);
    v.text = t;
    return v;
  }
  static Value of(Kind kind, Sequence* s) {
    Value v = make(kind);
    v.sequence = s;
    return v;
  }
  static Value of(Kind kind, Dict* d) {
    Value v = make(kind);
    v.dict = d;
    return v;
  }
  static Value of(const Range* r) {
    Value v = make(Kind::kRange);
    v.range = r;
    return v;
  }
  static Value of(const Undefined* u) {
    Value v = make(Kind::kUndefined);
    v.undefined = u;
    return v;
  }
  static Value of(const Method* m) {
    Value v = make(Kind::kMethod);
    v.method = m;
    return v;
  }
  static Value of(const Function* f) {
    Value v = make(Kind::kFunction);
    v.function = f;
    return v;
  }
  static Value of(const Macro* m) {
    Value v = make(Kind::kMacro);
    v.macro = m;
    return v;
  }
  static Value of(Loop* l) {
    Value v = make(Kind::kLoop);
    v.loop = l;
    return v;
  }
  static Value size(size_t n) { return of(static_cast<int64_t>(n)); }

  bool is(Kind k) const { return kind == k; }
  bool is_undefined() const { return kind == Kind::kUndefined; }
  bool is_string() const { return kind == Kind::kString; }
  bool is_list_like() const { return kind == Kind::kList || kind == Kind::kTuple; }
  /// Python's bool is an int.
  bool is_integral() const { return kind == Kind::kInt || kind == Kind::kBool; }
  bool is_number() const { return is_integral() || kind == Kind::kFloat; }
  int64_t as_integer() const { return kind == Kind::kBool ? static_cast<int64_t>(boolean) : integer; }
  double as_real() const { return kind == Kind::kFloat ? real : static_cast<double>(as_integer()); }
  std::string_view bytes() const { return text->bytes; }

 private:
  static Value make(Kind kind) {
    Value v;
    v.kind = kind;
    return v;
  }
};

struct Sequence {
  std::vector<Value> items;
  size_t depth = 1;        ///< of values in values
  size_t next = 0;         ///< kIterator: the first that was not read yet
  std::string_view label;  ///< kView: "dict_keys"
};

/// In the order of insertion. Also the attributes of a namespace.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  size_t depth = 1;

  /// The position of a string among the keys, or npos.
  size_t find(std::string_view key) const;
  const Value* get(std::string_view key) const {
    const size_t at = find(key);
    return at == npos ? nullptr : &entries[at].second;
  }
  /// Appends a key that is not there yet.
  void append(Value key, Value value);
  static constexpr size_t npos = ~size_t{0};

 private:
  // Filled when a dict grows beyond a handful of entries.
  std::unordered_map<std::string_view, size_t> index_;
};

struct Range {
  int64_t start = 0, stop = 0, step = 1;
  size_t size() const;
  int64_t at(size_t i) const { return start + static_cast<int64_t>(i) * step; }
};

/// Why a value is undefined, for the message of whoever uses it.
struct Undefined {
  std::string_view name;  ///< points into the template or into a Text
  Value object;           ///< that has no such attribute; undefined for a variable
  std::string hint;       ///< instead of both
};

struct Method {
  Value receiver;
  std::string_view name;
};

/// What a loop knows of itself.
struct Loop {
  std::vector<Value> items;
  size_t index0 = 0;
  size_t depth = 1;  ///< always 1: recursive loops are not supported
  Value last_changed;
  bool has_changed = false;
};

/// Python's name of a value's type.
std::string_view type_name(const Value& value);
bool truthy(const Value& value);
/// What jinja2 says when an undefined value is used.
std::string undefined_message(const Value& value);
/// Throws what jinja2 says of an undefined value; any other value passes.
void require_defined(const Value& value);

}  // namespace mla::jinja
