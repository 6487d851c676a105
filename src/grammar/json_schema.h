#pragma once

#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "grammar/grammar.h"

namespace mla {

/// Of subschemas in each other; and of everything that a schema comes to: forms, properties, items, texts,
/// and the alternatives that unions and references are resolved into.
inline constexpr int kMaxSchemaDepth = 32;
inline constexpr size_t kMaxSchemaStates = 1'000'000;

/// A JSON Schema (2020-12) as a grammar. What it allows satisfies the schema; where a schema leaves things
/// open it allows less:
///
/// - An object with `properties` has no others unless `additionalProperties` says so. Theirs come in the
/// schema's order.
/// - Without `type` the keywords tell what is meant (`properties`: an object); without any it is any value.
/// - `oneOf` is read as `anyOf`. `allOf` may have one subschema.
/// - `$ref` points into the schema itself (`#`, `#/$defs/...`) and may be recursive.
///
/// `schema` is nested at most 64 deep and lives as long as the call. Errors: kUsage, naming the place in the
/// schema as a JSON pointer (`#/properties/age/pattern`), for keywords that are not known, are not served,
/// cannot be combined or have a value of another kind; for a schema that is too deep or too large; and for
/// one that no finite text satisfies.
Result<std::shared_ptr<const JsonGrammar>> compile_json_schema(const nlohmann::ordered_json& schema);

/// Any JSON object.
std::shared_ptr<const JsonGrammar> any_json_object();

}  // namespace mla
