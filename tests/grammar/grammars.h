#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/json_matcher.h"
#include "grammar/json_schema.h"

namespace mla::test {

using Json = nlohmann::ordered_json;

inline std::shared_ptr<const JsonGrammar> grammar_of(const Json& schema) {
  auto grammar = compile_json_schema(schema);
  EXPECT_TRUE(grammar.ok()) << schema << ": " << (grammar.ok() ? "" : grammar.error().message);
  return grammar.ok() ? std::move(*grammar) : any_json_object();
}
inline std::shared_ptr<const JsonGrammar> grammar_of(const char* schema) { return grammar_of(Json::parse(schema)); }

/// Whether a text is a whole document of the grammar.
inline bool is_document(const std::shared_ptr<const JsonGrammar>& grammar, std::string_view text) {
  JsonMatcher matcher(grammar);
  return matcher.advance(text) && matcher.complete();
}

/// The schemas of tests/golden/grammar with texts that satisfy them and texts that do not.
Json golden_schemas();

}  // namespace mla::test
