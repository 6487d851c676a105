#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "grammar/json_schema.h"
#include "server/api/chat_messages.h"
#include "server/api/field_reader.h"
#include "server/api/request.h"

namespace mla::server {
namespace {

constexpr double kMaxPenalty = 2.0, kMaxTemperature = 2.0, kMaxRepetitionPenalty = 10.0, kMaxBias = 100.0;
constexpr int64_t kMaxTokens = int64_t{1} << 31;
constexpr int64_t kDefaultCompletionTokens = 16;  // as OpenAI's API has it
constexpr size_t kMaxStopTokens = 64;

/// Fields that would change the answer in a way that is not served: refused unless their value asks for nothing.
struct NotServed {
  std::string_view name, message;
};
constexpr NotServed kNotServed[] = {
    {"functions", "is not served: use 'tools'"},
    {"function_call", "is not served: use 'tool_choice'"},
    {"audio", "is not served: the model writes text only"},
    {"web_search_options", "is not served"},
    {"suffix", "is not served: the model only continues a prompt, it does not fill a gap before a suffix"},
    {"grammar", "is not served: answers are constrained by JSON schemas only ('response_format')"},
    {"json_schema", "is not served: use 'response_format'"},
    {"structured_outputs", "is not served: use 'response_format'"},
    {"guided_json", "is not served: use 'response_format'"},
    {"guided_regex", "is not served: answers are constrained by JSON schemas only ('response_format')"},
    {"guided_choice", "is not served: use 'response_format' with a schema {\"enum\": [...]}"},
    {"guided_grammar", "is not served: answers are constrained by JSON schemas only ('response_format')"},
    {"use_beam_search", "is not served"},
    {"min_tokens", "is not served"},
    {"mirostat", "is not served"},
    {"prompt_logprobs", "is not served: use 'echo' with 'logprobs' of /v1/completions"},
    {"continue_final_message", "is not served"},
    {"chat_template", "is not served: the model's own template is used"},
};

/// Null, false, 0, "", "none", [] and {} ask for nothing.
bool asks_for_nothing(const Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0.0;
  if (value.is_string()) return value == "" || value == "none";
  return value.empty();
}

/// Fields that may stand in any request and change nothing.
constexpr std::string_view kIgnored[] = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
                                         "prompt_cache_retention", "cache_prompt", "prediction", "verbosity"};

void read_stops(FieldReader& body, GenerationParams& p) {
  const Json* const stop = body.find("stop");
  if (stop == nullptr) return;
  const auto add = [&](const Json& text, const std::string& place) {
    if (!text.is_string()) return body.fail(place, fmt::format("expected a string, got {}", shown(text)));
    const auto& bytes = text.get_ref<const std::string&>();
    if (bytes.empty()) return body.fail(place, "is empty: an empty string would stop every answer before it begins");
    if (bytes.size() > kMaxStopBytes) return body.fail(place, fmt::format("has {} bytes; at most {} are taken", bytes.size(), kMaxStopBytes));
    p.stops.push_back(bytes);
  };
  if (!stop->is_array()) return add(*stop, "stop");
  if (stop->size() > kMaxStops) return body.fail("stop", fmt::format("{} strings are more than the {} that are taken", stop->size(), kMaxStops));
  for (size_t i = 0; i < stop->size(); ++i) add((*stop)[i], fmt::format("stop[{}]", i));
}

void read_logit_bias(FieldReader& body, SamplingParams& sampling) {
  const Json* const biases = body.find("logit_bias");
  if (biases == nullptr) return;
  if (!biases->is_object()) return body.fail("logit_bias", fmt::format("expected an object of token ids and biases, got {}", shown(*biases)));
  if (biases->size() > kMaxLogitBiases)
    return body.fail("logit_bias", fmt::format("{} entries are more than the {} that are taken", biases->size(), kMaxLogitBiases));
  FieldReader entries(*biases, "logit_bias");
  for (const auto& [name, value] : biases->items()) {
    int32_t id = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc() || end != name.data() + name.size() || id < 0) {
      return body.fail("logit_bias", fmt::format("expected token ids as keys, got {}", shown(name)));
    }
    if (value.is_null()) entries.fail(name, "expected a number, got null");
    sampling.logit_bias.emplace_back(id, static_cast<float>(entries.number(name, 0.0, -kMaxBias, kMaxBias)));
  }
  if (entries.failed()) body.fail(*entries.error());
}

void read_sampling(FieldReader& body, SamplingParams& s) {
  const auto real = [&](std::string_view name, double otherwise, double low, double high) {
    return static_cast<float>(body.number(name, otherwise, low, high));
  };
  s.temperature = real("temperature", 1.0, 0.0, kMaxTemperature);
  s.top_p = real("top_p", 1.0, 0.0, 1.0);
  s.min_p = real("min_p", 0.0, 0.0, 1.0);
  s.typical_p = real("typical_p", 1.0, 0.0, 1.0);
  // -1 is how some clients write "off".
  s.top_k = static_cast<int32_t>(std::max<int64_t>(0, body.whole("top_k", 0, -1, std::numeric_limits<int32_t>::max())));
  s.presence_penalty = real("presence_penalty", 0.0, -kMaxPenalty, kMaxPenalty);
  s.frequency_penalty = real("frequency_penalty", 0.0, -kMaxPenalty, kMaxPenalty);
  constexpr double kSmallest = 0.01;
  s.repetition_penalty = real("repeat_penalty", 1.0, kSmallest, kMaxRepetitionPenalty);  // llama-server's name
  s.repetition_penalty = real("repetition_penalty", s.repetition_penalty, kSmallest, kMaxRepetitionPenalty);
  read_logit_bias(body, s);
}

void read_stream_options(FieldReader& body, GenerationParams& p) {
  p.stream = body.boolean("stream", false);
  const Json* const options = body.find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) return body.fail("stream_options", fmt::format("expected an object, got {}", shown(*options)));
  if (!p.stream) return body.fail("stream_options", "is only for requests with \"stream\": true");
  FieldReader reader(*options, "stream_options");
  p.include_usage = reader.boolean("include_usage", false);
  reader.boolean("include_obfuscation", false);
  if (reader.failed()) body.fail(*reader.error());
}

/// The schema in a member of an object.
std::shared_ptr<const JsonGrammar> read_schema(FieldReader& object, std::string_view name) {
  const Json* const schema = object.find(name);
  if (schema == nullptr) {
    object.fail(name, "is missing");
    return nullptr;
  }
  if (const size_t size = schema->dump(-1, ' ', false, Json::error_handler_t::replace).size(); size > kMaxSchemaBytes) {
    object.fail(name, fmt::format("has {} bytes; at most {} are taken", size, kMaxSchemaBytes));
    return nullptr;
  }
  auto grammar = compile_json_schema(*schema);
  if (grammar.ok()) return std::move(*grammar);
  object.fail(name, grammar.error().message);
  return nullptr;
}

std::shared_ptr<const JsonGrammar> read_json_schema(FieldReader& format) {
  const Json* const described = format.find("json_schema");
  if (described == nullptr || !described->is_object()) {
    format.fail("json_schema", R"(expected an object such as {"name": "answer", "schema": {...}})");
    return nullptr;
  }
  FieldReader reader(*described, format.path_of("json_schema"));
  constexpr size_t kMaxName = 64;
  const std::string name = reader.text("name");
  const auto is_plain = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '-'; };
  if (name.size() > kMaxName || !std::all_of(name.begin(), name.end(), is_plain)) {
    reader.fail("name", fmt::format("expected at most {} letters, digits, '_' and '-', got {}", kMaxName, shown(name)));
  }
  reader.text("description");
  reader.boolean("strict", false);  // answers satisfy the schema either way
  auto grammar = reader.failed() ? nullptr : read_schema(reader, "schema");
  if (reader.failed()) format.fail(*reader.error());
  return grammar;
}

void read_response_format(FieldReader& body, GenerationParams& p) {
  const Json* const format = body.find("response_format");
  if (format == nullptr) return;
  if (!format->is_object()) return body.fail("response_format", fmt::format("expected an object such as {{\"type\": \"json_object\"}}, got {}", shown(*format)));
  FieldReader reader(*format, "response_format");
  const std::string type = reader.text("type");
  if (type == "json_schema") {
    p.grammar = read_json_schema(reader);
  } else if (type == "json_object") {
    p.grammar = reader.find("schema") != nullptr ? read_schema(reader, "schema") : any_json_object();  // llama-server's clients give one
  } else if (type != "text") {
    reader.fail("type", fmt::format("expected \"text\", \"json_object\" or \"json_schema\", got {}", shown(type)));
  }
  if (reader.failed()) body.fail(*reader.error());
}

/// What chat and completions share. `max_tokens_low`: 0 where a request may ask for no new token at all.
void read_common(FieldReader& body, GenerationParams& p, int64_t max_tokens_low) {
  p.model = body.text("model");
  read_stream_options(body, p);
  p.max_tokens = body.optional_whole("max_tokens", max_tokens_low, kMaxTokens);
  if (const auto newer = body.optional_whole("max_completion_tokens", max_tokens_low, kMaxTokens)) p.max_tokens = newer;
  p.n = body.whole("n", 1, 1, kMaxChoices);
  read_stops(body, p);
  p.stop_tokens = body.ids("stop_token_ids", kMaxStopTokens);
  p.ignore_eos = body.boolean("ignore_eos", false);
  if (const auto seed = body.optional_whole("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())) {
    p.seed = static_cast<uint64_t>(*seed);
  }
  read_sampling(body, p.sampling);
  read_response_format(body, p);
  for (const NotServed& field : kNotServed) {
    if (const Json* value = body.find(field.name); value != nullptr && !asks_for_nothing(*value)) {
      body.fail(field.name, std::string(field.message));
    }
  }
  for (const std::string_view name : kIgnored) body.find(name);
}

void read_chat_logprobs(FieldReader& body, SamplingParams& sampling) {
  const bool wanted = body.boolean("logprobs", false);
  const auto top = body.optional_whole("top_logprobs", 0, kMaxTopLogprobs);
  if (top && *top > 0 && !wanted) return body.fail("top_logprobs", "needs \"logprobs\": true");
  if (wanted) sampling.n_logprobs = static_cast<int32_t>(top.value_or(0));
}

/// The name that {"type": "function", "function": {"name": ...}} chooses.
std::string chosen_function(FieldReader& body, const Json& choice) {
  const bool good = choice.is_object() && choice.value("type", Json()) == "function" && choice.contains("function") && choice["function"].is_object() &&
                    choice["function"].contains("name") && choice["function"]["name"].is_string();
  if (good) return choice["function"]["name"].get<std::string>();
  body.fail("tool_choice", fmt::format(R"(expected "auto", "none", "required" or {{"type": "function", "function": {{"name": ...}}}}, got {})", shown(choice)));
  return {};
}

bool gives_objects_only(const JsonGrammar& grammar) {
  const JsonGrammar::Choice& root = grammar.choices[grammar.root];
  return std::all_of(grammar.alternatives.begin() + root.begin, grammar.alternatives.begin() + root.end,
                     [&](uint32_t form) { return grammar.forms[form].kind == JsonGrammar::Kind::kObject; });
}

/// The calls of which the answer must be one: of any of the tools, or of the one that is named.
void read_required_calls(FieldReader& body, const Json& choice, ChatRequest& request) {
  const std::string named = choice == "required" ? std::string() : chosen_function(body, choice);
  if (body.failed()) return;
  if (request.tools.is_null()) return body.fail("tool_choice", "asks for a call, but there are no 'tools'");
  for (size_t i = 0; i < request.tools.size(); ++i) {
    FieldReader function(request.tools[i]["function"], fmt::format("tools[{}].function", i));
    RequiredCall call{.name = function.text("name"), .arguments = any_json_object()};
    if (!named.empty() && call.name != named) continue;
    if (function.find("parameters") != nullptr) call.arguments = read_schema(function, "parameters");
    if (call.arguments != nullptr && !gives_objects_only(*call.arguments)) function.fail("parameters", "arguments are objects: expected \"type\": \"object\"");
    if (function.failed()) return body.fail(*function.error());
    request.required_calls.push_back(std::move(call));
  }
  if (request.required_calls.empty()) body.fail("tool_choice", fmt::format("there is no tool named {}", shown(named)));
}

void read_tool_choice(FieldReader& body, ChatRequest& request) {
  request.tools = read_tools(body);
  request.parallel_tool_calls = body.boolean("parallel_tool_calls", true);
  const Json* const choice = body.find("tool_choice");
  if (choice == nullptr || *choice == "auto") return;
  if (*choice == "none") {
    request.tools = Json();
  } else {
    read_required_calls(body, *choice, request);
  }
}

void read_template_arguments(FieldReader& body, ChatRequest& request) {
  request.add_generation_prompt = body.boolean("add_generation_prompt", true);
  if (const Json* arguments = body.find("chat_template_kwargs")) {
    if (!arguments->is_object()) return body.fail("chat_template_kwargs", fmt::format("expected an object, got {}", shown(*arguments)));
    // The conversation itself is not theirs to replace.
    for (const char* name : {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}) {
      if (arguments->contains(name)) return body.fail(fmt::format("chat_template_kwargs.{}", name), "cannot be set here");
    }
    request.template_arguments = *arguments;
  }
  if (const std::string effort = body.text("reasoning_effort"); !effort.empty()) request.template_arguments["reasoning_effort"] = effort;
  const std::string format = body.text("reasoning_format");
  if (format.empty() || format == "auto") return;
  if (format != "none" && format != "deepseek") return body.fail("reasoning_format", fmt::format("expected \"deepseek\", \"none\" or \"auto\", got {}", shown(format)));
  request.split_reasoning = format == "deepseek";
}

/// A prompt: a string, an array of strings, of ids, or of arrays of ids.
std::vector<PromptInput> read_prompts(FieldReader& body, std::string_view name) {
  const Json* const value = body.find(name);
  if (value == nullptr) {
    body.fail(name, "is missing");
    return {};
  }
  if (value->is_string()) return {value->get<std::string>()};
  constexpr const char* kExpected = "expected a string, an array of strings, of token ids, or of arrays of token ids";
  if (!value->is_array() || value->empty()) {
    body.fail(name, fmt::format("{}, got {}", kExpected, value->is_array() ? "an empty array" : shown(*value)));
    return {};
  }
  if (value->front().is_number()) {
    std::vector<int32_t> ids = body.ids(name, kMaxIds);
    return {std::move(ids)};
  }
  std::vector<PromptInput> prompts;
  if (value->size() > kMaxPrompts) body.fail(name, fmt::format("{} prompts are more than the {} that are taken in one request", value->size(), kMaxPrompts));
  for (size_t i = 0; i < value->size() && !body.failed(); ++i) {
    const Json& element = (*value)[i];
    const std::string place = fmt::format("{}[{}]", name, i);
    if (element.is_string()) {
      prompts.emplace_back(element.get<std::string>());
    } else if (auto ids = ids_of(element); ids && !ids->empty()) {
      prompts.emplace_back(std::move(*ids));
    } else {
      body.fail(place, fmt::format("{}, got {}", kExpected, element.is_array() && element.empty() ? "an empty array" : shown(element)));
    }
  }
  return prompts;
}

/// What was read, or the first thing that was wrong with it.
template <typename T>
ApiResult<T> finish(const FieldReader& body, T request) {
  if (body.failed()) return *body.error();
  return request;
}

}  // namespace

ApiResult<ChatRequest> parse_chat_request(std::string_view text) {
  MLA_ASSIGN(const Json object, parse_json_body(text));
  FieldReader body(object);
  ChatRequest request;
  request.messages = read_messages(body);
  read_common(body, request.common, 1);
  read_chat_logprobs(body, request.common.sampling);
  read_tool_choice(body, request);
  read_template_arguments(body, request);
  if (request.common.grammar != nullptr && !request.tools.is_null()) {
    body.fail("response_format", "JSON answers and calls of 'tools' in one request are not served: leave out one of them, or set 'tool_choice' to \"none\"");
  }
  if (const Json* modalities = body.find("modalities"); modalities != nullptr && *modalities != Json::array({"text"})) {
    body.fail("modalities", "only [\"text\"] is served");
  }
  request.common.unknown_fields = body.unknown();
  return finish(body, std::move(request));
}

ApiResult<CompletionRequest> parse_completion_request(std::string_view text) {
  MLA_ASSIGN(const Json object, parse_json_body(text));
  FieldReader body(object);
  CompletionRequest request;
  request.prompts = read_prompts(body, "prompt");
  request.echo = body.boolean("echo", false);
  read_common(body, request.common, 0);
  GenerationParams& p = request.common;
  if (!p.max_tokens) p.max_tokens = kDefaultCompletionTokens;
  if (*p.max_tokens == 0 && !request.echo) body.fail("max_tokens", "0 is only for requests with \"echo\": true");
  if (const auto top = body.optional_whole("logprobs", 0, kMaxTopLogprobs)) p.sampling.n_logprobs = static_cast<int32_t>(*top);
  if (body.whole("best_of", p.n, 1, kMaxChoices) != p.n) body.fail("best_of", "answers are not ranked: expected the same as 'n', or nothing");
  if (request.prompts.size() * static_cast<size_t>(p.n) > kMaxPrompts) {
    body.fail("n", fmt::format("{} prompts with {} answers each are more than {} answers in one request", request.prompts.size(), p.n, kMaxPrompts));
  }
  p.unknown_fields = body.unknown();
  return finish(body, std::move(request));
}

ApiResult<EmbeddingRequest> parse_embedding_request(std::string_view text) {
  MLA_ASSIGN(const Json object, parse_json_body(text));
  FieldReader body(object);
  EmbeddingRequest request{.model = body.text("model"), .inputs = read_prompts(body, "input")};
  const std::string format = body.text("encoding_format");
  if (!format.empty() && format != "float" && format != "base64") {
    body.fail("encoding_format", fmt::format("expected \"float\" or \"base64\", got {}", shown(format)));
  }
  request.base64 = format == "base64";
  const std::string pooling = body.text("pooling");
  if (!pooling.empty() && pooling != "mean" && pooling != "last") body.fail("pooling", fmt::format("expected \"mean\" or \"last\", got {}", shown(pooling)));
  if (pooling == "last") request.pooling = Pooling::kLast;
  if (body.find("dimensions") != nullptr) body.fail("dimensions", "is not served: embeddings have the model's own width");
  for (const PromptInput& input : request.inputs) {
    if (const auto* s = std::get_if<std::string>(&input); s != nullptr && s->empty()) body.fail("input", "is empty");
  }
  return finish(body, std::move(request));
}

ApiResult<TokenizeRequest> parse_tokenize_request(std::string_view text) {
  MLA_ASSIGN(const Json object, parse_json_body(text));
  FieldReader body(object);
  TokenizeRequest request;
  const char* const name = body.find("content") != nullptr || body.find("prompt") == nullptr ? "content" : "prompt";
  if (body.find(name) == nullptr) body.fail("content", "is missing; expected the text to tokenize");
  request.text = body.text(name);
  request.add_special = body.boolean("add_special", true);
  request.add_special = body.boolean("add_special_tokens", request.add_special);
  request.parse_special = body.boolean("parse_special", false);
  request.with_pieces = body.boolean("with_pieces", false);
  return finish(body, std::move(request));
}

ApiResult<DetokenizeRequest> parse_detokenize_request(std::string_view text) {
  MLA_ASSIGN(const Json object, parse_json_body(text));
  FieldReader body(object);
  if (body.find("tokens") == nullptr) body.fail("tokens", "is missing; expected an array of token ids");
  return finish(body, DetokenizeRequest{body.ids("tokens", kMaxIds)});
}

}  // namespace mla::server
