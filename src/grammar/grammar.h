#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace mla {

/// What JSON text an answer may be: JSON Schema after compilation (json_schema.h), as JsonMatcher reads it.
/// Plain data that nobody changes any more.
///
/// A place where a value stands has a choice of forms: everything that anyOf, $ref and lists of types say is
/// resolved into one flat list, so that matching never recurses into the grammar. Forms of containers name
/// choices for what they hold.
struct JsonGrammar {
  /// Objects and arrays in each other that a text may have.
  static constexpr int32_t kMaxLevels = 64;
  /// Height of what no text of any length satisfies.
  static constexpr int32_t kNoText = std::numeric_limits<int32_t>::max() / 2;
  static constexpr int64_t kUnbounded = std::numeric_limits<int64_t>::max();
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  enum class Kind : uint8_t {
    kObject,
    kArray,
    kString,
    kInteger,
    kNumber,
    kLiteral,  ///< one of a list of texts: enum, const, true, false, null
  };

  struct Form {
    Kind kind = Kind::kLiteral;
    int32_t height = 0;  ///< levels of the flattest text: 0 for what is no container
    /// Array: items. String: characters. Integer: its value.
    int64_t least = 0, most = kUnbounded;
    /// Object: its properties, and its keys. Array: the items in front. Literal: its texts.
    uint32_t begin = 0, end = 0;
    /// Choice for the value of every further property, or for every further item; kNone: there may be none.
    uint32_t rest = kNone;
  };

  struct Property {
    uint32_t choice = 0;
    bool required = false;
    /// Of the object's properties from this one on, the first that is required; its index in the object
    uint32_t next_required = 0;
  };
  /// A property's name as JSON spells it, behind its first quote and with its last.
  struct Key {
    std::string text;
    uint32_t property = 0;  ///< index in the object
  };

  struct Choice {
    uint32_t begin = 0, end = 0;  ///< in `alternatives`
    int32_t height = 0;           ///< of the flattest form
  };

  std::vector<Form> forms;
  std::vector<Property> properties;  ///< of each object in the order in which they are written
  std::vector<Key> keys;             ///< of each object sorted by bytes
  std::vector<uint32_t> items;       ///< choices
  std::vector<std::string> texts;    ///< of each literal sorted by bytes, none twice
  std::vector<Choice> choices;
  std::vector<uint32_t> alternatives;  ///< forms
  uint32_t root = 0;                   ///< choice
};

/// Fills in next_required and the heights. True when some text satisfies the root.
bool finish_grammar(JsonGrammar& grammar);

}  // namespace mla
