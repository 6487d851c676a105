#include "grammar/schema_keywords.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

namespace mla {
namespace {

using Json = nlohmann::ordered_json;
using namespace schema_type;

constexpr std::pair<std::string_view, unsigned> kTypes[] = {
    {"null", kNull},     {"boolean", kBoolean}, {"integer", kInteger}, {"number", kNumber},
    {"string", kString}, {"array", kArray},     {"object", kObject}};

/// Keywords that say nothing about what is valid, or are read where others refer to them.
constexpr std::string_view kAnnotations[] = {"title",    "description", "default",  "examples",
                                             "example",  "$schema",     "$comment", "deprecated",
                                             "readOnly", "writeOnly",   "$defs",    "definitions"};

/// Keywords of which a schema may have one.
constexpr std::string_view kAlone[] = {"$ref", "anyOf", "oneOf", "allOf", "enum", "const"};

/// Keywords that say something about values of one type.
constexpr std::pair<std::string_view, unsigned> kAssertions[] = {{"properties", kObject},
                                                                 {"required", kObject},
                                                                 {"additionalProperties", kObject},
                                                                 {"items", kArray},
                                                                 {"prefixItems", kArray},
                                                                 {"minItems", kArray},
                                                                 {"maxItems", kArray},
                                                                 {"minLength", kString},
                                                                 {"maxLength", kString},
                                                                 {"minimum", kInteger},
                                                                 {"maximum", kInteger},
                                                                 {"exclusiveMinimum", kInteger},
                                                                 {"exclusiveMaximum", kInteger}};

template <typename List>
bool lists(const List& list, std::string_view name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

/// What a list of names and bits has for a name; 0: it has none.
template <typename List>
unsigned bits_of(const List& list, std::string_view name) {
  for (const auto& [known, bits] : list) {
    if (known == name) return bits;
  }
  return 0;
}

/// Whether a keyword that is not read keeps nothing out.
bool is_harmless(std::string_view name, const Json& value, const SchemaPlace& place) {
  if (lists(kAnnotations, name) || name.starts_with("x-")) return true;
  if (name == "$id") return place.is_root();
  if (name == "uniqueItems") return value.is_boolean() && !value.get<bool>();
  return (name == "minProperties" || name == "minContains") && value.is_number() &&
         value.get<double>() == 0.0;
}

/// The bits of `type`; 0 when it is malformed.
unsigned types_of(const Json& type) {
  const auto bits = [](const Json& name) {
    return name.is_string() ? bits_of(kTypes, name.get_ref<const std::string&>()) : 0;
  };
  if (!type.is_array()) return bits(type);
  unsigned all = 0;
  for (const Json& name : type) {
    if (bits(name) == 0) return 0;
    all |= bits(name);
  }
  return all;
}

}  // namespace

Result<SchemaKeywords> read_schema_keywords(const Json& schema, const SchemaPlace& place) {
  SchemaKeywords found;
  std::string_view assertion, type;
  unsigned named = 0, meant = 0;
  for (const auto& [name, value] : schema.items()) {
    if (name == "type") {
      type = name;
      named = types_of(value);
      if (named == 0) {
        return schema_error(
            place, name,
            "expected null, boolean, integer, number, string, array or object, or a list of them");
      }
    } else if (lists(kAlone, name)) {
      if (!found.alone.empty())
        return schema_error(place, name, fmt::format("cannot stand beside '{}'", found.alone));
      found.alone = name;
    } else if (const unsigned bits = bits_of(kAssertions, name); bits != 0) {
      assertion = name;
      meant |= bits;
    } else if (!is_harmless(name, value, place)) {
      return schema_error(place, name, "this keyword is not served: what it asks for could not be kept");
    }
  }
  const bool lists_values = found.alone == "enum" || found.alone == "const";
  const std::string_view beside = !assertion.empty() ? assertion : lists_values ? std::string_view() : type;
  if (!found.alone.empty() && !beside.empty())
    return schema_error(place, beside, fmt::format("cannot stand beside '{}'", found.alone));
  found.says_nothing = found.alone.empty() && named + meant == 0;
  if (named + meant != 0) found.types = named != 0 ? named : meant;
  return found;
}

unsigned schema_type_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return kNull;
    case Json::value_t::boolean:
      return kBoolean;
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return kInteger;
    case Json::value_t::number_float:
      return value.get<double>() == std::floor(value.get<double>()) ? kInteger : kNumber;
    case Json::value_t::string:
      return kString;
    case Json::value_t::array:
      return kArray;
    default:
      return kObject;
  }
}

Error schema_error(const SchemaPlace& place, std::string_view keyword, std::string_view message) {
  return Error::usage(fmt::format("at {}: {}", pointer_to(place, keyword), message));
}

}  // namespace mla
