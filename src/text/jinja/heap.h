#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat_template.h"
#include "text/jinja/value.h"

namespace mla::jinja {

/// Everything that one rendering makes, and what it has used up. Values are freed together at the end: what
/// may be made is limited, and values may refer to each other in circles (a namespace that holds itself).
class Heap {
 public:
  explicit Heap(const ChatTemplateLimits& limits) : limits_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  const ChatTemplateLimits& limits() const { return limits_; }
  /// Work, in expressions evaluated. Throws when there has been too much of it.
  void charge_steps(size_t n = 1);
  /// Work on n bytes of text: comparing, searching.
  void charge_scan(size_t n) { charge_steps(n / 32); }
  /// Memory. Throws before it is taken.
  void charge_bytes(size_t n);

  /// Text that is already paid for (by a TextBuilder, or with charge_bytes).
  Value text(Text text);
  /// Text of the template's own making.
  Value string(std::string_view bytes);
  Value list(std::vector<Value> items) { return sequence(Kind::kList, std::move(items)); }
  Value tuple(std::vector<Value> items) { return sequence(Kind::kTuple, std::move(items)); }
  Value sequence(Kind kind, std::vector<Value> items, std::string_view label = {});
  /// An empty dict, to be filled with insert().
  Value dict();
  /// d[key] = value.
  void insert(Dict& dict, Value key, Value value);
  /// Errors: more elements than limits().max_range.
  Value range(int64_t start, int64_t stop, int64_t step);
  Value name_space();
  Value undefined_variable(std::string_view name);
  Value undefined_attribute(Value object, std::string_view name);
  Value undefined(std::string hint);
  Value method(Value receiver, std::string_view name);
  Value loop(std::vector<Value> items);

 private:
  void check_depth(size_t depth) const;

  ChatTemplateLimits limits_;
  size_t steps_ = 0, bytes_ = 0;
  std::deque<Text> texts_;
  std::deque<Sequence> sequences_;
  std::deque<Dict> dicts_;
  std::deque<Range> ranges_;
  std::deque<Undefined> undefined_;
  std::deque<Method> methods_;
  std::deque<Loop> loops_;
};

/// How deep values lie in a value: 0 for what holds none.
size_t value_depth(const Value& value);

/// Puts a string together, and keeps account of which bytes people wrote. Every byte is charged to the heap.
class TextBuilder {
 public:
  explicit TextBuilder(Heap& heap) : heap_(heap) {}

  void append(std::string_view bytes, bool foreign = false);
  void append(const Text& text) { append(text, 0, text.bytes.size()); }
  /// Bytes [begin, end) of `text`.
  void append(const Text& text, size_t begin, size_t end);
  void repeat(std::string_view bytes, size_t times);
  /// `&<>'"` as HTML entities.
  void append_escaped(const Text& text);

  size_t size() const { return text_.bytes.size(); }
  Text take() { return std::move(text_); }
  Value take_value(bool markup = false);

 private:
  void mark(size_t begin, size_t end);
  Heap& heap_;
  Text text_;
};

/// The bytes [begin, end) of a string, as a value.
Value substring(Heap& heap, const Text& text, size_t begin, size_t end);

/// Tells for places of a text, asked from left to right, whether people wrote them.
class ForeignCursor {
 public:
  explicit ForeignCursor(const Text& text) : spans_(text.foreign) {}
  bool at(size_t byte) {
    while (next_ < spans_.size() && spans_[next_].end <= byte) ++next_;
    return next_ < spans_.size() && spans_[next_].begin <= byte;
  }

 private:
  const std::vector<TextSpan>& spans_;
  size_t next_ = 0;
};

}  // namespace mla::jinja
