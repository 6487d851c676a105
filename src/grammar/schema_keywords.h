#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"
#include "grammar/schema_place.h"

namespace mla {

/// Bits for the types of values that JSON Schema names.
namespace schema_type {
inline constexpr unsigned kNull = 1, kBoolean = 2, kInteger = 4, kNumber = 8, kString = 16, kArray = 32,
                          kObject = 64, kAny = 127;
}

/// What the keywords of a subschema say together.
struct SchemaKeywords {
  /// Those that `type` lists; where it is missing those that the other keywords are about; kAny where there
  /// are none.
  unsigned types = schema_type::kAny;
  bool says_nothing = false;  ///< annotations only: any value is valid
  /// $ref, anyOf, oneOf, allOf, enum or const; beside it nothing else stands, but `type` beside enum and
  /// const. Empty: none
  std::string_view alone;
};

/// Errors: kUsage, naming the place, for a keyword that is not known or not served, for two that cannot stand
/// beside each other, and for a type that there is not. `schema` is an object.
Result<SchemaKeywords> read_schema_keywords(const nlohmann::ordered_json& schema, const SchemaPlace& place);

/// The type of a value; a number without a fraction is an integer.
unsigned schema_type_of(const nlohmann::ordered_json& value);

/// "at #/properties/age/pattern: ..."
Error schema_error(const SchemaPlace& place, std::string_view keyword, std::string_view message);

}  // namespace mla
