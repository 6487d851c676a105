#pragma once

#include <cstddef>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace mla {

/// Where a subschema stands in its schema: one step of the way, and the way to it. The texts lie in the
/// schema, which may be long; the way is written out for messages only.
struct SchemaPlace {
  static constexpr size_t kNoIndex = std::numeric_limits<size_t>::max();

  const SchemaPlace* parent = nullptr;  ///< null: the way begins here
  std::string_view begin = "#";         ///< with this pointer
  std::string_view keyword, name = {};  ///< the keyword that has the subschema, and the property's name
  size_t index = kNoIndex;              ///< in an array of them
  int depth = 0;

  bool is_root() const { return parent == nullptr && begin == "#"; }
};

/// The JSON pointer of a keyword there, or of the place itself: "#/properties/age/pattern". Long ones are
/// cut.
std::string pointer_to(const SchemaPlace& place, std::string_view keyword);

/// The subschema that a reference leads to: "#", or '#' and a JSON pointer (RFC 6901). Errors: kUsage.
Result<const nlohmann::ordered_json*> follow_pointer(const nlohmann::ordered_json& root,
                                                     std::string_view reference);

}  // namespace mla
