#include "grammar/json_schema.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>

#include "grammars.h"
#include "support/paths.h"

namespace mla::test {

Json golden_schemas() {
  std::ifstream file(golden("grammar/schemas.json"));
  return Json::parse(file);
}

namespace {

/// The place that a refusal names.
std::string refused_at(const Json& schema) {
  const auto grammar = compile_json_schema(schema);
  if (grammar.ok()) return "accepted";
  EXPECT_EQ(grammar.error().kind, ErrorKind::kUsage);
  const std::string& message = grammar.error().message;
  EXPECT_LT(message.size(), 1000U);
  return message.substr(3, message.find(": ") - 3);
}
std::string refused_at(const char* schema) { return refused_at(Json::parse(schema)); }

// -- what schemas mean
// -------------------------------------------------------------------------------------------------------------

TEST(JsonSchema, AgreesWithAnotherValidator) {
  size_t n_texts = 0;
  for (const Json& one : golden_schemas()) {
    SCOPED_TRACE(one["name"]);
    const auto grammar = grammar_of(one["schema"]);
    for (const std::string text : one["valid"]) EXPECT_TRUE(is_document(grammar, text)) << text;
    for (const std::string text : one["invalid"]) EXPECT_FALSE(is_document(grammar, text)) << text;
    n_texts += one["valid"].size() + one["invalid"].size();
  }
  EXPECT_GT(n_texts, 500U);
}

TEST(JsonSchema, PropertiesComeInItsOrder) {
  const auto grammar = grammar_of(R"({"properties": {"b": {"type": "integer"}, "a": {"type": "integer"}}, "required": ["a"]})");
  EXPECT_TRUE(is_document(grammar, R"({"b":1,"a":2})"));
  EXPECT_TRUE(is_document(grammar, R"({"a":2})"));
  EXPECT_FALSE(is_document(grammar, R"({"a":2,"b":1})"));
  EXPECT_FALSE(is_document(grammar, R"({"b":1})"));
  EXPECT_FALSE(is_document(grammar, R"({"b":1,"b":1,"a":2})"));
  EXPECT_FALSE(is_document(grammar, R"({"a":2,"c":1})")) << "others only where additionalProperties says so";
}

TEST(JsonSchema, FurtherPropertiesAreNeverOnesThatItNames) {
  const auto grammar = grammar_of(R"({"properties": {"key": {"type": "integer"}}, "additionalProperties": {"type": "string"}})");
  EXPECT_TRUE(is_document(grammar, R"({"ke":"x","keys":"y","":"z"})"));
  EXPECT_TRUE(is_document(grammar, R"({"key":1,"k":"x"})"));
  EXPECT_FALSE(is_document(grammar, R"({"key":"x"})"));
  EXPECT_FALSE(is_document(grammar, R"({"k":"x","key":"y"})"));
  EXPECT_FALSE(is_document(grammar, R"({"\u006bey":"x"})")) << "the same name, spelled with an escape";
}

TEST(JsonSchema, RequiredNamesNeedNoProperties) {
  const auto grammar = grammar_of(R"({"type": "object", "required": ["a"], "additionalProperties": {"type": "null"}})");
  EXPECT_TRUE(is_document(grammar, R"({"a":null,"b":null})"));
  EXPECT_FALSE(is_document(grammar, R"({"b":null})"));
  EXPECT_EQ(refused_at(R"({"type": "object", "required": ["a"], "additionalProperties": false})"), "#");
}

TEST(JsonSchema, ReferencesReachEveryPartOfIt) {
  const auto grammar = grammar_of(R"({"properties": {"a/b": {"type": "integer"}, "c": {"$ref": "#/properties/a~1b"},
                                       "d": {"anyOf": [{"type": "null"}, {"$ref": "#/properties/d/anyOf/0"}]}}})");
  EXPECT_TRUE(is_document(grammar, R"({"a/b":1,"c":2,"d":null})"));
  EXPECT_FALSE(is_document(grammar, R"({"c":null})"));
}

TEST(JsonSchema, CirclesThatSayNothingAreLeftOut) {
  const auto grammar = grammar_of(R"({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, {"const": 1}]}, "b": {"oneOf": [{"$ref": "#/$defs/a"}]}}})");
  EXPECT_TRUE(is_document(grammar, "1"));
  EXPECT_FALSE(is_document(grammar, "2"));
  EXPECT_EQ(refused_at(R"({"$ref": "#"})"), "#");
}

TEST(JsonSchema, UnusedDefinitionsConstrainNothing) {
  EXPECT_TRUE(is_document(grammar_of(R"({"type": "null", "$defs": {"a": {"pattern": "x"}}})"), "null"));
}

// -- what is refused
// -------------------------------------------------------------------------------------------------------------

TEST(JsonSchema, RefusesByName) {
  EXPECT_EQ(refused_at(R"({"properties": {"age": {"type": "string", "pattern": "x"}}})"), "#/properties/age/pattern");
  EXPECT_EQ(refused_at(R"({"anyOf": [{"type": "string"}, {"type": "string", "format": "date"}]})"), "#/anyOf/1/format");
  EXPECT_EQ(refused_at(R"({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"not": {}}}}})"), "#/$defs/a/items/not");
  EXPECT_EQ(refused_at(R"({"properties": {"a/b~c": {"nobody_knows": 1}}})"), "#/properties/a~1b~0c/nobody_knows");
  EXPECT_EQ(refused_at(R"({"additionalProperties": {"prefixItems": [true, {"uniqueItems": true}]}})"), "#/additionalProperties/prefixItems/1/uniqueItems");
  for (const char* keyword : {"if", "not", "patternProperties", "propertyNames", "dependentRequired", "contains", "multipleOf", "minProperties",
                              "maxProperties", "unevaluatedProperties", "contentEncoding", "$dynamicRef", "$anchor", "nullable"}) {
    EXPECT_EQ(refused_at(Json{{"type", "object"}, {keyword, 1}}), std::string("#/") + keyword);
  }
  EXPECT_EQ(refused_at(R"({"type": "number", "minimum": 0})"), "#/minimum");
  EXPECT_EQ(refused_at(R"({"items": {"$id": "x"}})"), "#/items/$id") << "references would mean something else there";
}

TEST(JsonSchema, AcceptsWhatAsksForNothing) {
  for (const char* schema : {R"({"type": "object", "title": "t", "description": "d", "default": {}, "examples": [], "$schema": "s", "$id": "i", "deprecated": true})",
                             R"({"type": "array", "uniqueItems": false, "x-order": 3})", R"({"minProperties": 0})", "true", "{}"}) {
    EXPECT_EQ(refused_at(schema), "accepted") << schema;
  }
}

TEST(JsonSchema, RefusesWhatIsMalformed) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"1", "#"}, {"[]", "#"}, {"null", "#"}, {"\"x\"", "#"},
      {R"({"type": "strin"})", "#/type"}, {R"({"type": []})", "#/type"}, {R"({"type": ["string", 1]})", "#/type"}, {R"({"type": {}})", "#/type"},
      {R"({"properties": []})", "#/properties"}, {R"({"properties": {"a": 1}})", "#/properties/a"},
      {R"({"required": "a"})", "#/required"}, {R"({"required": [1]})", "#/required"}, {R"({"additionalProperties": 1})", "#/additionalProperties"},
      {R"({"items": [true]})", "#/items"}, {R"({"items": 3})", "#/items"}, {R"({"prefixItems": {}})", "#/prefixItems"},
      {R"({"minItems": -1})", "#/minItems"}, {R"({"maxItems": 1.5})", "#/maxItems"}, {R"({"minLength": "1"})", "#/minLength"}, {R"({"maxLength": 1e300})", "#/maxLength"},
      {R"({"type": "integer", "minimum": "0"})", "#/minimum"}, {R"({"type": "integer", "exclusiveMinimum": true})", "#/exclusiveMinimum"},
      {R"({"enum": []})", "#/enum"}, {R"({"enum": 1})", "#/enum"}, {R"({"type": "string", "enum": [1]})", "#/enum"}, {R"({"type": "string", "const": 1})", "#/const"},
      {R"({"anyOf": []})", "#/anyOf"}, {R"({"anyOf": {}})", "#/anyOf"}, {R"({"allOf": [{}, {}]})", "#/allOf"}, {R"({"anyOf": [{}], "oneOf": [{}]})", "#/oneOf"},
      {R"({"anyOf": [{}], "type": "object"})", "#/type"}, {R"({"$ref": "#", "properties": {}})", "#/properties"}, {R"({"enum": ["a"], "minLength": 2})", "#/minLength"},
      {R"({"$ref": 1})", "#/$ref"}, {R"({"$ref": "#/$defs/a"})", "#/$ref"}, {R"({"$ref": "other.json"})", "#/$ref"}, {R"({"$ref": "#a"})", "#/$ref"},
      {R"({"$ref": "#/%24defs/a", "$defs": {"a": {}}})", "#/$ref"}, {R"({"$ref": "#/enum/99999999999999999999", "$defs": {}})", "#/$ref"}};
  for (const auto& [schema, place] : cases) EXPECT_EQ(refused_at(schema), place) << schema;
}

TEST(JsonSchema, RefusesWhatNoTextSatisfies) {
  for (const char* schema : {"false", R"({"type": "array", "minItems": 2, "maxItems": 1})", R"({"type": "string", "minLength": 3, "maxLength": 2})",
                             R"({"type": "integer", "minimum": 2, "maximum": 1})", R"({"type": "integer", "minimum": 1e30})", R"({"properties": {"a": {"$ref": "#"}}, "required": ["a"]})",
                             R"({"type": "array", "items": false, "minItems": 1})", R"({"type": "array", "items": {"$ref": "#"}, "minItems": 1})"}) {
    EXPECT_EQ(refused_at(schema), "#") << schema;
  }
  // What only part of it asks for does not count.
  EXPECT_TRUE(is_document(grammar_of(R"({"properties": {"a": false, "b": {"$ref": "#"}}})"), R"({"b":{}})"));
  EXPECT_TRUE(is_document(grammar_of(R"({"anyOf": [false, {"type": "array", "items": false}]})"), "[]"));
}

// -- hostile ones
// -------------------------------------------------------------------------------------------------------------

template <typename Work>
double seconds(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

TEST(JsonSchema, DepthIsLimited) {
  const auto nested = [](int depth) {
    Json schema = {{"type", "null"}};
    for (int i = 0; i < depth; ++i) schema = {{"items", schema}};
    return schema;
  };
  EXPECT_EQ(refused_at(nested(kMaxSchemaDepth)), "accepted");
  EXPECT_TRUE(refused_at(nested(kMaxSchemaDepth + 1)).starts_with("#/items/items/items"));
}

TEST(JsonSchema, UnionsOfUnionsAreLimited) {
  // Each definition has all that follow it: their forms are n * n / 2.
  Json definitions;
  constexpr int kN = 3000;
  for (int i = 0; i < kN; ++i)
    definitions[fmt::format("d{}", i)]["anyOf"] =
        Json::array({Json{{"const", i}}, Json{{"$ref", fmt::format("#/$defs/d{}", std::min(i + 1, kN - 1))}}});
  const Json schema = {{"$ref", "#/$defs/d0"}, {"$defs", definitions}};
  EXPECT_LT(seconds([&] { EXPECT_EQ(refused_at(schema), "#"); }), 5.0);
}

TEST(JsonSchema, LargeOnesTakeLinearTime) {
  Json large;
  for (int i = 0; i < 12'000; ++i) large["enum"].push_back(fmt::format("value-{}", i));
  Json wide;
  for (int i = 0; i < 8'000; ++i) wide["properties"][fmt::format("name{}", i)] = {{"type", "integer"}};
  Json chain;  // of references
  for (int i = 0; i < 3'000; ++i) chain["$defs"][fmt::format("d{}", i)] = {{"$ref", fmt::format("#/$defs/d{}", i + 1)}};
  chain["$defs"]["d3000"] = {{"type", "null"}};
  chain["$ref"] = "#/$defs/d2000";
  const double took = seconds([&] {
    EXPECT_TRUE(is_document(grammar_of(large), "\"value-11999\""));
    EXPECT_TRUE(is_document(grammar_of(wide), R"({"name17":1,"name7999":2})"));
    EXPECT_TRUE(is_document(grammar_of(chain), "null"));
  });
  EXPECT_LT(took, 5.0);
}

TEST(JsonSchema, LongNamesDoNotMakeLongMessages) {
  const std::string name(100'000, '~');
  Json schema;
  for (int i = 0; i < 100; ++i) schema["properties"][name]["properties"][fmt::format("{}", i)] = {{"type", "null"}};
  schema["properties"][name]["properties"]["last"] = {{"pattern", "x"}};
  EXPECT_TRUE(refused_at(schema).starts_with("#/properties/~0~0~0"));
}

}  // namespace
}  // namespace mla::test
