#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace mla::test {

/// Whether a value satisfies a schema, by the specification's own recursion: for the keywords that are served, small documents
/// and references that lead somewhere.
class SchemaChecker {
 public:
  using Json = nlohmann::ordered_json;
  explicit SchemaChecker(const Json& root) : root_(root) {}

  bool satisfied(const Json& value) const { return satisfies(value, root_); }

 private:
  bool satisfies(const Json& value, const Json& schema) const {
    if (schema.is_boolean()) return schema.get<bool>();
    if (schema.contains("$ref")) return satisfies(value, target(schema["$ref"]));
    if (schema.contains("const") && value != schema["const"]) return false;
    if (schema.contains("enum") && !holds(schema["enum"], value)) return false;
    for (const char* keyword : {"anyOf", "oneOf", "allOf"}) {
      if (!schema.contains(keyword)) continue;
      bool any = false;
      for (const Json& one : schema[keyword]) any = any || satisfies(value, one);
      if (!any) return false;
    }
    if (schema.contains("type") && !has_type(value, schema["type"])) return false;
    if (value.is_object()) return object(value, schema);
    if (value.is_array()) return array(value, schema);
    if (value.is_string()) return within(characters(value), schema, "minLength", "maxLength");
    return !value.is_number() || number(value, schema);
  }

  const Json& target(const std::string& reference) const { return root_.at(nlohmann::json_pointer<std::string>(reference.substr(1))); }

  static bool holds(const Json& list, const Json& value) {
    for (const Json& one : list) {
      if (one == value) return true;
    }
    return false;
  }
  static bool has_type(const Json& value, const Json& type) {
    if (type.is_array()) {
      for (const Json& one : type) {
        if (has_type(value, one)) return true;
      }
      return false;
    }
    if (type == "integer") return value.is_number_integer();
    return type == value.type_name();
  }
  static double characters(const Json& value) {
    double n = 0;
    for (const char c : value.get_ref<const std::string&>()) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    return n;
  }
  static bool within(double n, const Json& schema, const char* least, const char* most) {
    return (!schema.contains(least) || n >= schema[least].get<double>()) && (!schema.contains(most) || n <= schema[most].get<double>());
  }
  static bool number(const Json& value, const Json& schema) {
    const auto n = value.get<double>();
    return within(n, schema, "minimum", "maximum") && (!schema.contains("exclusiveMinimum") || n > schema["exclusiveMinimum"].get<double>()) &&
           (!schema.contains("exclusiveMaximum") || n < schema["exclusiveMaximum"].get<double>());
  }
  bool object(const Json& value, const Json& schema) const {
    for (const Json& name : schema.value("required", Json::array())) {
      if (!value.contains(name.get<std::string>())) return false;
    }
    const Json properties = schema.value("properties", Json::object());
    for (const auto& [name, member] : value.items()) {
      const Json& rule = properties.contains(name) ? properties[name] : schema.value("additionalProperties", Json(true));
      if (!satisfies(member, Json(rule))) return false;
    }
    return true;
  }
  bool array(const Json& value, const Json& schema) const {
    const Json front = schema.value("prefixItems", Json::array()), rest = schema.value("items", Json(true));
    for (size_t i = 0; i < value.size(); ++i) {
      if (!satisfies(value[i], i < front.size() ? front[i] : rest)) return false;
    }
    return within(static_cast<double>(value.size()), schema, "minItems", "maxItems");
  }

  const Json& root_;
};

}  // namespace mla::test
