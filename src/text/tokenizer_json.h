#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/text_tokenizer.h"

namespace mla::tokenizer_json {

using Json = nlohmann::json;

/// The member `name` of an object; null when `object` is none, or has no such member, or it is JSON's null.
const Json* member(const Json& object, const char* name);
/// The same with a type asked for. Errors: kInvalidFile when the member is there and of another type.
Result<std::string> string_member(const Json& object, const char* name, std::string fallback);
Result<bool> bool_member(const Json& object, const char* name, bool fallback);

/// tokenizer.json's "normalizer". Errors: kInvalidFile for a kind that is not supported.
Result<Normalizer> read_normalizer(const Json& normalizer);

struct PreTokenizerSection {
  PreTokenizer pre_tokenizer;
  bool byte_level = false;
  bool empty = true;
};
/// tokenizer.json's "pre_tokenizer". Errors: kInvalidFile for a kind that is not supported or a malformed
/// pattern.
Result<PreTokenizerSection> read_pre_tokenizer(const Json& pre_tokenizer);

struct DecoderSection {
  Spelling spelling = Spelling::kPlain;
  bool strip_leading_space = false;
};
/// tokenizer.json's "decoder". Errors: kInvalidFile for a kind that is not supported.
Result<DecoderSection> read_decoder(const Json& decoder);

/// The tokens that "post_processor" puts around a text.
struct TemplateSection {
  std::string first, last;  ///< texts; empty: none
};
TemplateSection read_post_processor(const Json& post_processor);

}  // namespace mla::tokenizer_json
