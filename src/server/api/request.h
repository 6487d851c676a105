#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/engine.h"
#include "grammar/grammar.h"
#include "sampling/sampler.h"
#include "server/api/api_error.h"
#include "server/api/json_body.h"

namespace mla::server {

/// What one request may ask for (docs/http-api.md, "Limits").
inline constexpr int64_t kMaxChoices = 8;
inline constexpr size_t kMaxStops = 4, kMaxStopBytes = 256;
inline constexpr size_t kMaxLogitBiases = 1024;
inline constexpr int64_t kMaxTopLogprobs = 20;
inline constexpr size_t kMaxTools = 128;
inline constexpr size_t kMaxSchemaBytes = size_t{256} << 10;  ///< as compact JSON
inline constexpr size_t kMaxMessages = 65'536;
inline constexpr size_t kMaxPrompts = 64;  ///< in one completion or embedding request
inline constexpr size_t kMaxIds = size_t{1} << 20;

/// What chat and plain completions share.
struct GenerationParams {
  std::string model;  ///< empty: whichever is served
  bool stream = false;
  bool include_usage = false;
  std::optional<int64_t> max_tokens;
  SamplingParams sampling;  ///< without the seed
  std::optional<uint64_t> seed;
  int64_t n = 1;
  std::vector<std::string> stops;
  std::vector<int32_t> stop_tokens;  ///< besides the model's own
  bool ignore_eos = false;
  std::shared_ptr<const JsonGrammar> grammar;  ///< what answers must be; null: any text
  std::vector<std::string> unknown_fields;  ///< names that nothing is done with
};

/// A function that may be called, and what its arguments must be.
struct RequiredCall {
  std::string name;
  std::shared_ptr<const JsonGrammar> arguments;
};

struct ChatRequest {
  GenerationParams common;
  /// Objects with "role" (system, user, assistant, tool) and "content" (a string), and where they apply "tool_calls",
  /// "tool_call_id", "name" and "reasoning_content".
  Json messages;
  Json tools;  ///< an array, or null when none are given or none may be called
  bool parallel_tool_calls = true;
  std::vector<RequiredCall> required_calls;  ///< the answer must be one of them; empty: it is free
  Json template_arguments = Json::object();  ///< further variables for the chat template
  bool add_generation_prompt = true;
  std::optional<bool> split_reasoning;  ///< reasoning_format; none: as the server does by default
};

/// A text or the ids that it would become.
using PromptInput = std::variant<std::string, std::vector<int32_t>>;

struct CompletionRequest {
  GenerationParams common;
  std::vector<PromptInput> prompts;
  bool echo = false;
};

struct EmbeddingRequest {
  std::string model;
  std::vector<PromptInput> inputs;
  bool base64 = false;
  Pooling pooling = Pooling::kMean;
};

struct TokenizeRequest {
  std::string text;
  bool add_special = true;  ///< what the model's prompts begin with (BOS) goes in front
  bool parse_special = false;
  bool with_pieces = false;
};

struct DetokenizeRequest {
  std::vector<int32_t> ids;
};

/// These take any bytes. Errors: 400 naming the field that is missing, of another type, out of range or not served.
ApiResult<ChatRequest> parse_chat_request(std::string_view body);
ApiResult<CompletionRequest> parse_completion_request(std::string_view body);
ApiResult<EmbeddingRequest> parse_embedding_request(std::string_view body);
ApiResult<TokenizeRequest> parse_tokenize_request(std::string_view body);
ApiResult<DetokenizeRequest> parse_detokenize_request(std::string_view body);

}  // namespace mla::server
