#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "grammar/grammar.h"
#include "grammar/json_text.h"

namespace mla {

/// A value that is being read.
struct JsonFrame {
  enum class Place : uint8_t {
    kBegin,    ///< the document's value comes
    kEnd,      ///< the document is over
    kOpen,     ///< behind { or [
    kKey,      ///< in the name of a property of the schema
    kFreeKey,  ///< in another name
    kColon,    ///< behind a name
    kMember,   ///< behind its colon
    kAfter,    ///< behind a member's value or an item
    kComma,
    // Inside a value that is no container:
    kString,
    kNumber,
    kLiteral,
  };

  uint32_t form = JsonGrammar::kNone;  ///< none: the document itself
  Place place = Place::kBegin;
  uint8_t text_place = 0;  ///< strings and free keys: StringPlace; numbers: NumberPlace
  uint8_t n_space = 0;     ///< white space in a row
  uint8_t level = 0;       ///< containers around what it holds
  uint32_t index = 0;      ///< object: the property that comes, or that is read; array: items that have begun
  uint32_t low = 0, high = 0;  ///< keys or texts that may still be the one that is read,
  uint32_t length = 0;         ///< so many bytes of which were; numbers: digits
  int64_t amount = 0;          ///< strings: characters; integers: the value of the digits

  friend bool operator==(const JsonFrame&, const JsonFrame&) = default;
};

/// One way to read the text so far: the innermost value, and where the frames of the containers around it
/// lie.
struct JsonReading {
  JsonFrame top;
  uint32_t below = JsonGrammar::kNone;  ///< index in the stack that all readings share; kNone: nothing

  friend bool operator==(const JsonReading&, const JsonReading&) = default;
};
using JsonReadings = std::vector<JsonReading>;

/// Reads JSON byte by byte, so far as a grammar allows it: a pushdown automaton that follows all ways to read
/// a text at once. What it has accepted can always be continued to a whole document, of at most
/// JsonGrammar::kMaxLevels levels.
///
/// Beyond JSON and the schema it asks for: properties of the schema in its order, and behind them those that
/// it does not name, with names that are written without escapes; values of enum and const as compact JSON;
/// of white space one blank or a line's end with kMaxSpace - 1 blanks, a little in front of the document and
/// none behind it; numbers of bounded length. Where more than kMaxReadings ways are open (unions in unions),
/// later ones are given up: what is accepted is still right, but not everything that is right is accepted.
class JsonMatcher {
 public:
  static constexpr size_t kMaxReadings = 64;
  static constexpr uint8_t kMaxSpace = 32, kMaxLeadingSpace = 4;

  explicit JsonMatcher(std::shared_ptr<const JsonGrammar> grammar);

  /// Takes bytes. False: they are not accepted, and nothing has changed.
  bool advance(std::string_view bytes);
  bool accepts(std::string_view bytes) const;
  /// Whether the text so far is a whole document.
  bool complete() const;
  /// Whether it is one and nothing can follow.
  bool finished() const;

  const JsonGrammar& grammar() const { return *grammar_; }
  const JsonReadings& readings() const { return readings_; }

  /// Frames of containers, below all readings. What is tried out lies above what is known, and is dropped by
  /// truncate().
  class Stack {
   public:
    uint32_t push(const JsonReading& reading) {
      nodes_.push_back(reading);
      return static_cast<uint32_t>(nodes_.size() - 1);
    }
    const JsonReading& operator[](uint32_t node) const { return nodes_[node]; }
    size_t size() const { return nodes_.size(); }
    void truncate(size_t size) { nodes_.resize(size); }
    /// Drops what no reading stands on.
    void compact(JsonReadings& readings);

   private:
    JsonReadings nodes_;
  };
  const Stack& stack() const { return stack_; }

  /// The readings that one more byte leaves of `from`; puts new frames on `stack`.
  static void step(const JsonGrammar& grammar, const JsonReadings& from, uint8_t byte, Stack& stack,
                   JsonReadings& to);

 private:
  bool read(std::string_view bytes, Stack& stack, JsonReadings& readings) const;

  std::shared_ptr<const JsonGrammar> grammar_;
  Stack stack_;
  JsonReadings readings_;
};

}  // namespace mla
