#include "grammar/json_matcher.h"

#include <algorithm>
#include <span>
#include <utility>

namespace mla {
namespace {

using Place = JsonFrame::Place;
using Kind = JsonGrammar::Kind;
constexpr uint32_t kNone = JsonGrammar::kNone;

bool is_space(uint8_t byte) {
  return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

/// Narrows a sorted range of texts, which share the first `length` bytes and are longer, to those that go on
/// with `byte`.
template <typename TextOf>
void narrow(uint32_t& low, uint32_t& high, uint32_t length, uint8_t byte, TextOf text_of) {
  const auto bound = [&](uint32_t from, uint32_t to, auto before) {
    while (from < to) {
      const uint32_t middle = from + (to - from) / 2;
      if (before(static_cast<uint8_t>(text_of(middle)[length]))) {
        from = middle + 1;
      } else {
        to = middle;
      }
    }
    return from;
  };
  low = bound(low, high, [byte](uint8_t c) { return c < byte; });
  high = bound(low, high, [byte](uint8_t c) { return c <= byte; });
}

/// One byte of one reading. The functions take the reading by value: what they change becomes the next one.
class Step {
 public:
  Step(const JsonGrammar& grammar, JsonMatcher::Stack& stack, JsonReadings& out)
      : grammar_(grammar), stack_(stack), out_(out) {}

  void read(JsonReading reading, uint8_t byte);

 private:
  const JsonGrammar::Form& form_of(const JsonReading& reading) const {
    return grammar_.forms[reading.top.form];
  }
  const std::string& key(uint32_t i) const { return grammar_.keys[i].text; }

  void document(JsonReading reading, uint8_t byte);
  void object(JsonReading reading, uint8_t byte);
  void begin_key(JsonReading reading);
  void in_key(JsonReading reading, uint8_t byte);
  void in_free_key(JsonReading reading, uint8_t byte);
  void member(JsonReading reading, uint8_t byte);
  void array(JsonReading reading, uint8_t byte);
  void item(JsonReading reading, uint8_t byte);
  void in_string(JsonReading reading, uint8_t byte);
  void in_number(JsonReading reading, uint8_t byte, bool begins);
  void in_literal(JsonReading reading, uint8_t byte);

  bool fits(uint32_t choice, const JsonFrame& container) const {
    return choice != kNone && container.level + grammar_.choices[choice].height <= JsonGrammar::kMaxLevels;
  }
  bool lacks_property(const JsonReading& reading) const;
  bool may_be_next(const JsonReading& reading, uint32_t property) const;
  bool may_name_any(const JsonReading& reading) const;
  bool may_go_on(const JsonReading& reading) const;
  uint32_t item_choice(const JsonReading& reading) const;

  bool space(const JsonReading& reading, uint8_t byte);
  void go(JsonReading reading, Place place);
  void begin_value(const JsonReading& after, uint32_t choice, uint8_t byte);
  void end_value(const JsonReading& reading);
  void emit(const JsonReading& reading);

  const JsonGrammar& grammar_;
  JsonMatcher::Stack& stack_;
  JsonReadings& out_;
};

void Step::read(JsonReading reading, uint8_t byte) {
  switch (reading.top.place) {
    case Place::kString:
      return in_string(reading, byte);
    case Place::kNumber:
      return in_number(reading, byte, false);
    case Place::kLiteral:
      return in_literal(reading, byte);
    case Place::kBegin:
    case Place::kEnd:
      return document(reading, byte);
    default:
      return form_of(reading).kind == Kind::kObject ? object(reading, byte) : array(reading, byte);
  }
}

// -- what all share
// -------------------------------------------------------------------------------------------------------------

/// Readings become equal where values end: those that share a container, which lie near each other.
void Step::emit(const JsonReading& reading) {
  constexpr size_t kNear = 16;
  const size_t n = out_.size();
  if (n >= JsonMatcher::kMaxReadings) return;
  const bool in_value = reading.top.place >= Place::kString;
  const auto near = out_.end() - static_cast<std::ptrdiff_t>(std::min(n, kNear));
  if (in_value || std::find(near, out_.end(), reading) == out_.end()) out_.push_back(reading);
}

/// The reading in another place of the same container, nothing of the old place left.
void Step::go(JsonReading reading, Place place) {
  JsonFrame& f = reading.top;
  reading.top = {.form = f.form, .place = place, .level = f.level, .index = f.index};
  emit(reading);
}

/// Whether the byte is white space, which is then dealt with: one blank, or a line's end and the next one's indentation. Small
/// models would fill an answer with more.
bool Step::space(const JsonReading& reading, uint8_t byte) {
  if (!is_space(byte)) return false;
  JsonReading next = reading;
  constexpr uint8_t kReturn = JsonMatcher::kMaxSpace + 1;  // a carriage return: only a line's end may follow
  uint8_t& n = next.top.n_space;
  const bool first = n == 0;
  if (byte == '\r') {
    if (!first) return true;
    n = kReturn;
  } else if (byte == '\n') {
    if (!first && n != kReturn) return true;
    n = 1;
  } else {
    if (n >= JsonMatcher::kMaxSpace) return true;
    n = first ? JsonMatcher::kMaxSpace : static_cast<uint8_t>(n + 1);
  }
  emit(next);
  return true;
}

/// Every form of the choice that the byte begins; `after` is the container behind the value.
void Step::begin_value(const JsonReading& after, uint32_t choice, uint8_t byte) {
  uint32_t below = kNone;
  const JsonGrammar::Choice& c = grammar_.choices[choice];
  for (uint32_t i = c.begin; i < c.end; ++i) {
    const uint32_t id = grammar_.alternatives[i];
    const JsonGrammar::Form& form = grammar_.forms[id];
    if (after.top.level + form.height > JsonGrammar::kMaxLevels) continue;
    const bool number = form.kind == Kind::kInteger || form.kind == Kind::kNumber;
    const char opening = form.kind == Kind::kObject ? '{' : form.kind == Kind::kArray ? '[' : '"';
    const bool may_begin =
        number ? byte == '-' || (byte >= '0' && byte <= '9') : form.kind == Kind::kLiteral || byte == opening;
    if (!may_begin) continue;
    if (below == kNone) below = stack_.push(after);
    JsonReading inner{{.form = id, .level = after.top.level}, below};
    if (number) {
      in_number(inner, byte, true);
    } else if (form.kind == Kind::kLiteral) {
      inner.top.place = Place::kLiteral;
      inner.top.low = form.begin;
      inner.top.high = form.end;
      in_literal(inner, byte);
    } else if (form.kind == Kind::kString) {
      inner.top.place = Place::kString;
      emit(inner);
    } else {
      ++inner.top.level;
      go(inner, Place::kOpen);
    }
  }
}

void Step::end_value(const JsonReading& reading) {
  emit(stack_[reading.below]);
}

void Step::document(JsonReading reading, uint8_t byte) {
  if (reading.top.place == Place::kEnd) return;
  if (is_space(byte)) {  // answers begin with empty lines, behind thoughts above all
    if (reading.top.n_space++ < JsonMatcher::kMaxLeadingSpace) emit(reading);
    return;
  }
  reading.top = {.place = Place::kEnd};
  begin_value(reading, grammar_.root, byte);
}

// -- objects
// -------------------------------------------------------------------------------------------------------------

bool Step::lacks_property(const JsonReading& reading) const {
  const JsonGrammar::Form& form = form_of(reading);
  const uint32_t n = form.end - form.begin;
  return reading.top.index < n && grammar_.properties[form.begin + reading.top.index].next_required < n;
}

/// Whether the property may be written now: it comes behind those that were, and none between them is
/// required.
bool Step::may_be_next(const JsonReading& reading, uint32_t property) const {
  const JsonGrammar::Form& form = form_of(reading);
  const uint32_t next = reading.top.index;
  return property >= next && property <= grammar_.properties[form.begin + next].next_required &&
         fits(grammar_.properties[form.begin + property].choice, reading.top);
}

bool Step::may_name_any(const JsonReading& reading) const {
  return fits(form_of(reading).rest, reading.top) && !lacks_property(reading);
}

bool Step::may_go_on(const JsonReading& reading) const {
  const JsonGrammar::Form& form = form_of(reading);
  for (uint32_t i = reading.top.index; i < form.end - form.begin; ++i) {
    if (may_be_next(reading, i)) return true;
    if (grammar_.properties[form.begin + i].required) break;
  }
  return may_name_any(reading);
}

void Step::object(JsonReading reading, uint8_t byte) {
  const Place place = reading.top.place;
  if (place == Place::kKey) return in_key(reading, byte);
  if (place == Place::kFreeKey) return in_free_key(reading, byte);
  if (space(reading, byte)) return;
  if (place == Place::kColon) {
    if (byte == ':') go(reading, Place::kMember);
  } else if (place == Place::kMember) {
    member(reading, byte);
  } else if (byte == '"') {
    if (place != Place::kAfter) begin_key(reading);
  } else if (byte == ',') {
    if (place == Place::kAfter && may_go_on(reading)) go(reading, Place::kComma);
  } else if (byte == '}') {
    if (place != Place::kComma && !lacks_property(reading)) end_value(reading);
  }
}

void Step::begin_key(JsonReading reading) {
  const JsonGrammar::Form& form = form_of(reading);
  reading.top.n_space = 0;
  reading.top.low = form.begin;
  reading.top.high = form.end;
  for (uint32_t i = reading.top.index; i < form.end - form.begin; ++i) {
    if (!may_be_next(reading, i)) continue;
    reading.top.place = Place::kKey;
    emit(reading);
    break;
  }
  if (!may_name_any(reading)) return;
  reading.top.place = Place::kFreeKey;
  reading.top.index = form.end - form.begin;
  emit(reading);
}

void Step::in_key(JsonReading reading, uint8_t byte) {
  JsonFrame& f = reading.top;
  narrow(f.low, f.high, f.length++, byte, [this](uint32_t i) -> const std::string& { return key(i); });
  for (uint32_t i = f.low; i < f.high; ++i) {
    if (!may_be_next(reading, grammar_.keys[i].property)) continue;
    if (key(i).size() > f.length) return emit(reading);
    f.index = grammar_.keys[i].property;  // names end with their quote: no other is as long
    return go(reading, Place::kColon);
  }
}

/// A name that the schema has not: the range holds those of its names that this one may still become.
void Step::in_free_key(JsonReading reading, uint8_t byte) {
  JsonFrame& f = reading.top;
  const StringPlace next = next_in_string(static_cast<StringPlace>(f.text_place), byte);
  if (next == StringPlace::kInvalid || next == StringPlace::kEscape) return;
  narrow(f.low, f.high, f.length++, byte, [this](uint32_t i) -> const std::string& { return key(i); });
  if (next == StringPlace::kEnd) {
    if (f.low == f.high) go(reading, Place::kColon);
    return;
  }
  if (f.low == f.high) f.low = f.high = f.length = 0;
  f.text_place = static_cast<uint8_t>(next);
  emit(reading);
}

void Step::member(JsonReading reading, uint8_t byte) {
  const JsonGrammar::Form& form = form_of(reading);
  JsonFrame& f = reading.top;
  const bool named = f.index < form.end - form.begin;
  const uint32_t choice = named ? grammar_.properties[form.begin + f.index].choice : form.rest;
  f.place = Place::kAfter;
  f.n_space = 0;
  if (named) ++f.index;
  begin_value(reading, choice, byte);
}

// -- arrays
// -------------------------------------------------------------------------------------------------------------

/// The choice for the next item, or kNone.
uint32_t Step::item_choice(const JsonReading& reading) const {
  const JsonGrammar::Form& form = form_of(reading);
  const uint32_t n_front = form.end - form.begin, i = reading.top.index;
  if (i >= form.most) return kNone;
  const uint32_t choice = i < n_front ? grammar_.items[form.begin + i] : form.rest;
  return fits(choice, reading.top) ? choice : kNone;
}

void Step::array(JsonReading reading, uint8_t byte) {
  if (space(reading, byte)) return;
  const Place place = reading.top.place;
  if (byte == ']') {
    if (place != Place::kComma && reading.top.index >= form_of(reading).least) end_value(reading);
  } else if (place != Place::kAfter) {
    item(reading, byte);
  } else if (byte == ',') {
    if (item_choice(reading) != kNone) go(reading, Place::kComma);
  }
}

void Step::item(JsonReading reading, uint8_t byte) {
  const uint32_t choice = item_choice(reading);
  if (choice == kNone) return;
  const JsonGrammar::Form& form = form_of(reading);
  JsonFrame& f = reading.top;
  f.place = Place::kAfter;
  f.n_space = 0;
  // Once their number matters no more items are not counted: equal readings stay equal.
  const int64_t counted =
      form.most < JsonGrammar::kUnbounded ? form.most : std::max<int64_t>(form.least, form.end - form.begin);
  if (f.index < counted) ++f.index;
  begin_value(reading, choice, byte);
}

// -- strings, numbers, literals
// -------------------------------------------------------------------------------------------------------------

void Step::in_string(JsonReading reading, uint8_t byte) {
  const JsonGrammar::Form& form = form_of(reading);
  JsonFrame& f = reading.top;
  const auto place = static_cast<StringPlace>(f.text_place), next = next_in_string(place, byte);
  if (next == StringPlace::kInvalid) return;
  if (next == StringPlace::kEnd) {
    if (f.amount >= form.least) end_value(reading);
    return;
  }
  if (place == StringPlace::kPlain && f.amount >= form.most) return;
  if (next == StringPlace::kPlain && (form.most < JsonGrammar::kUnbounded || f.amount < form.least))
    ++f.amount;
  f.text_place = static_cast<uint8_t>(next);
  emit(reading);
}

void Step::in_number(JsonReading reading, uint8_t byte, bool begins) {
  const JsonGrammar::Form& form = form_of(reading);
  const auto advance = [&](NumberText& number, uint8_t next, bool first) {
    return form.kind == Kind::kInteger ? number.advance_integer(next, first, form.least, form.most)
                                       : number.advance(next, first);
  };
  JsonFrame& f = reading.top;
  NumberText number{static_cast<NumberPlace>(f.text_place), f.length, f.amount};
  if (!advance(number, byte, begins)) return;
  // 1 begins integers from 10 to 19, but is none of them.
  const bool in_bounds =
      form.kind != Kind::kInteger || (number.whole >= form.least && number.whole <= form.most);
  if (number.complete() && in_bounds) end_value(reading);
  for (const char c : std::string_view("0123456789.eE")) {
    NumberText longer = number;
    if (!advance(longer, static_cast<uint8_t>(c), false)) continue;
    f.place = Place::kNumber;
    f.text_place = static_cast<uint8_t>(number.place);
    f.length = number.n_digits;
    f.amount = number.whole;
    return emit(reading);
  }
}

void Step::in_literal(JsonReading reading, uint8_t byte) {
  JsonFrame& f = reading.top;
  narrow(f.low, f.high, f.length++, byte,
         [this](uint32_t i) -> const std::string& { return grammar_.texts[i]; });
  if (f.low < f.high && grammar_.texts[f.low].size() == f.length) {
    end_value(reading);
    ++f.low;  // longer ones may begin with it: 1 and 12
  }
  if (f.low < f.high) emit(reading);
}

}  // namespace

// -- the matcher
// -------------------------------------------------------------------------------------------------------------

void JsonMatcher::Stack::compact(JsonReadings& readings) {
  std::vector<uint32_t> place(nodes_.size(), 0);  // 1: kept; then where it goes
  for (const JsonReading& reading : readings) {
    if (reading.below != kNone) place[reading.below] = 1;
  }
  for (size_t i = nodes_.size(); i-- > 0;) {  // what a frame stands on lies in front of it
    if (place[i] != 0 && nodes_[i].below != kNone) place[nodes_[i].below] = 1;
  }
  const auto move = [&place](JsonReading& reading) {
    if (reading.below != kNone) reading.below = place[reading.below];
  };
  uint32_t n_kept = 0;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (place[i] == 0) continue;
    move(nodes_[i]);
    nodes_[n_kept] = nodes_[i];
    place[i] = n_kept++;
  }
  nodes_.resize(n_kept);
  for (JsonReading& reading : readings) move(reading);
}

JsonMatcher::JsonMatcher(std::shared_ptr<const JsonGrammar> grammar)
    : grammar_(std::move(grammar)), readings_(1) {}

void JsonMatcher::step(const JsonGrammar& grammar, const JsonReadings& from, uint8_t byte, Stack& stack,
                       JsonReadings& to) {
  to.clear();
  Step step(grammar, stack, to);
  for (const JsonReading& reading : from) step.read(reading, byte);
}

bool JsonMatcher::read(std::string_view bytes, Stack& stack, JsonReadings& readings) const {
  JsonReadings next;
  for (const char c : bytes) {
    step(*grammar_, readings, static_cast<uint8_t>(c), stack, next);
    if (next.empty()) return false;
    readings.swap(next);
  }
  return true;
}

bool JsonMatcher::advance(std::string_view bytes) {
  constexpr size_t kCompactAt = 4 * JsonGrammar::kMaxLevels;
  if (stack_.size() > kCompactAt) stack_.compact(readings_);
  const size_t size = stack_.size();
  JsonReadings readings = readings_;
  if (!read(bytes, stack_, readings)) {
    stack_.truncate(size);
    return false;
  }
  readings_ = std::move(readings);
  return true;
}

bool JsonMatcher::accepts(std::string_view bytes) const {
  Stack stack = stack_;
  JsonReadings readings = readings_;
  return read(bytes, stack, readings);
}

bool JsonMatcher::complete() const {
  return std::any_of(readings_.begin(), readings_.end(),
                     [](const JsonReading& r) { return r.top.place == Place::kEnd; });
}

bool JsonMatcher::finished() const {
  return std::all_of(readings_.begin(), readings_.end(),
                     [](const JsonReading& r) { return r.top.place == Place::kEnd; });
}

}  // namespace mla
