#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/api/request.h"

namespace mla::server {
namespace {

constexpr const char* kMessages = R"("messages": [{"role": "user", "content": "hi"}])";

ApiResult<ChatRequest> chat(const std::string& members) {
  return parse_chat_request(fmt::format("{{{}{}{}}}", kMessages, members.empty() ? "" : ", ", members));
}
ApiResult<CompletionRequest> completion(const std::string& members) {
  return parse_completion_request(fmt::format("{{\"prompt\": \"hi\"{}{}}}", members.empty() ? "" : ", ", members));
}
ApiResult<ChatRequest> messages(const std::string& list) { return parse_chat_request(fmt::format("{{\"messages\": {}}}", list)); }

template <typename T>
void expect_refused(const ApiResult<T>& parsed, const std::string& param) {
  ASSERT_FALSE(parsed.ok()) << param;
  EXPECT_EQ(parsed.error().status, 400);
  EXPECT_EQ(parsed.error().type, "invalid_request_error");
  EXPECT_EQ(parsed.error().param, param) << parsed.error().message;
  EXPECT_NE(parsed.error().message.find(param), std::string::npos) << parsed.error().message;
}

// -- AP01: every field with a wrong type, null, negative, huge
// -------------------------------------------------------------------------------------------------------------------

struct FieldCase {
  std::string name;
  std::vector<std::string> good, bad;
};
using Values = std::vector<std::string>;

/// Bad values of a number: those given, and everything that is no number.
Values no_number(Values bad) {
  for (const char* value : {"\"1\"", "true", "[]", "{}", "[1]", "1e308", "-1e308"}) bad.emplace_back(value);
  return bad;
}

std::vector<FieldCase> common_fields() {
  return {
      {"model", {"\"m\"", "null"}, {"1", "true", "[]", "{}"}},
      {"stream", {"true", "false", "null"}, {"1", "\"true\"", "[]", "{}"}},
      {"max_tokens", {"1", "5.0", "null"}, no_number({"-1", "1.5", "99999999999999999999", "9223372036854775807"})},
      {"max_completion_tokens", {"1", "null"}, no_number({"-1", "1.5", "18446744073709551615"})},
      {"temperature", {"0", "0.7", "2", "null"}, no_number({"-0.1", "2.1"})},
      {"top_p", {"0", "1", "null"}, no_number({"-1", "1.01"})},
      {"min_p", {"0", "1", "null"}, no_number({"-1", "1.01"})},
      {"typical_p", {"0.5", "1", "null"}, no_number({"-1", "1.01"})},
      {"top_k", {"0", "-1", "40", "null"}, no_number({"-2", "0.5", "4294967296"})},
      {"presence_penalty", {"-2", "2", "null"}, no_number({"-2.1", "2.1"})},
      {"frequency_penalty", {"-2", "2", "null"}, no_number({"-2.1", "2.1"})},
      {"repetition_penalty", {"1.1", "null"}, no_number({"0", "-1", "11"})},
      {"repeat_penalty", {"1.1", "null"}, no_number({"0", "-1", "11"})},
      {"n", {"1", "8", "null"}, no_number({"0", "-1", "9", "1000000", "1.5"})},
      {"seed", {"0", "-5", "9223372036854775807", "null"}, no_number({"1.5", "9223372036854775808"})},
      {"ignore_eos", {"true", "null"}, {"1", "\"x\"", "[]"}},
      {"stop", {"\"x\"", R"(["a", "b", "c", "d"])", "[]", "null"}, {"1", "true", "{}", R"(["a", "b", "c", "d", "e"])"}},
      {"stop_token_ids", {"[1, 2]", "null"}, {"1", "\"x\"", "[-1]", "[\"a\"]", "[1.5]", "[99999999999]"}},
      {"logit_bias", {"{}", R"({"5": -100})", "null"},
       {"1", "[]", "\"x\"", R"({"x": 1})", R"({"-1": 1})", R"({"99999999999": 1})", R"({"1": 101})", R"({"1": null})", R"({"1": "a"})"}},
      {"response_format",
       {R"({"type": "text"})", "null", R"({"type": "json_object"})", R"({"type": "json_object", "schema": {"type": "object"}})",
        R"({"type": "json_schema", "json_schema": {"name": "a-B_9", "schema": {"type": "object"}, "strict": true, "description": "d"}})",
        R"({"type": "json_schema", "json_schema": {"schema": true, "strict": null}})"},
       {"1", "\"text\"", "{}", R"({"type": 1})", R"({"type": "xml"})", R"({"type": "json_object", "schema": 1})", R"({"type": "json_schema"})",
        R"({"type": "json_schema", "json_schema": 1})", R"({"type": "json_schema", "json_schema": {}})", R"({"type": "json_schema", "json_schema": {"schema": 1}})",
        R"({"type": "json_schema", "json_schema": {"schema": {"type": "object"}, "strict": 1}})", R"({"type": "json_schema", "json_schema": {"schema": true, "name": "a b"}})",
        R"({"type": "json_schema", "json_schema": {"schema": true, "name": 1}})", R"({"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": "a"}}})",
        R"({"type": "json_schema", "json_schema": {"schema": {"nobody_knows_this": 1}}})"}},
      {"suffix", {"null", "\"\""}, {"\"x\"", "1"}},
      {"guided_json", {"null"}, {R"({"type": "object"})", "\"x\""}},
      {"grammar", {"null", "\"\""}, {"\"root ::= x\""}},
      {"user", {"null", "\"x\"", "1", "{}"}, {}},
      {"metadata", {"null", R"({"a": 1})"}, {}},
      {"cache_prompt", {"null", "true"}, {}},
      {"nobody_knows_this", {"null", "1", R"({"a": [1]})"}, {}},
  };
}

void check_fields(const std::vector<FieldCase>& fields, const std::function<std::optional<ApiError>(const std::string&)>& parse) {
  for (const FieldCase& field : fields) {
    for (const std::string& good : field.good) {
      const auto error = parse(fmt::format("\"{}\": {}", field.name, good));
      EXPECT_FALSE(error) << field.name << " = " << good << ": " << error->message;
    }
    for (const std::string& bad : field.bad) {
      SCOPED_TRACE(field.name + " = " + bad);
      const auto error = parse(fmt::format("\"{}\": {}", field.name, bad));
      ASSERT_TRUE(error);
      EXPECT_EQ(error->status, 400);
      EXPECT_TRUE(error->param.starts_with(field.name)) << error->param;
    }
  }
}

TEST(Ap01EveryField, OfChatCompletions) {
  std::vector<FieldCase> fields = common_fields();
  const std::vector<FieldCase> own = {
      {"logprobs", {"true", "false", "null"}, {"1", "\"x\"", "[]"}},
      {"tools", {"[]", "null"}, {"1", "{}", "\"x\""}},
      {"tool_choice", {"\"auto\"", "\"none\"", "null"}, {"\"required\"", "1", R"({"type": "function"})", "\"x\"", R"({"type": "function", "function": {"name": "f"}})", R"({"type": "function", "function": {"name": 1}})"}},
      {"parallel_tool_calls", {"true", "false", "null"}, {"1", "\"x\""}},
      {"chat_template_kwargs", {"{}", R"({"enable_thinking": false})", "null"}, {"1", "[]", "\"x\""}},
      {"add_generation_prompt", {"true", "null"}, {"1", "\"x\""}},
      {"reasoning_format", {"\"none\"", "\"deepseek\"", "\"auto\"", "null"}, {"1", "\"x\"", "{}"}},
      {"reasoning_effort", {"\"low\"", "null"}, {"1", "{}"}},
      {"chat_template", {"null"}, {"\"{{ 1 }}\""}},
      {"modalities", {"[\"text\"]", "null"}, {"[\"audio\"]", "1"}},
  };
  fields.insert(fields.end(), own.begin(), own.end());
  check_fields(fields, [](const std::string& member) {
    const auto parsed = chat(member);
    return parsed.ok() ? std::nullopt : std::optional(parsed.error());
  });
}

TEST(Ap01EveryField, OfCompletions) {
  std::vector<FieldCase> fields = common_fields();
  const std::vector<FieldCase> own = {
      {"logprobs", {"0", "20", "null"}, {"-1", "21", "true", "\"x\"", "1.5", "1e308"}},
      {"echo", {"true", "null"}, {"1", "\"x\""}},
      {"best_of", {"1", "null"}, {"2", "0", "-1", "\"x\"", "1e308"}},
  };
  fields.insert(fields.end(), own.begin(), own.end());
  check_fields(fields, [](const std::string& member) {
    const auto parsed = completion(member);
    return parsed.ok() ? std::nullopt : std::optional(parsed.error());
  });
}

TEST(ToolChoice, AsksForCallsOfTools) {
  const auto choose = [](const std::string& choice, const std::string& parameters) {
    return chat(R"("tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g", "parameters": )" + parameters + R"(}}], "tool_choice": )" + choice);
  };
  const std::string named = R"({"type": "function", "function": {"name": "f"}})", object = R"({"type": "object", "properties": {"a": {"type": "integer"}}})";
  EXPECT_EQ(choose("\"auto\"", object)->required_calls.size(), 0U);
  const auto any = choose("\"required\"", object);
  ASSERT_TRUE(any.ok()) << any.error().message;
  ASSERT_EQ(any->required_calls.size(), 2U);
  EXPECT_EQ(any->required_calls[1].name, "g");
  EXPECT_NE(any->required_calls[1].arguments, nullptr);
  ASSERT_EQ(choose(named, object)->required_calls.size(), 1U);
  EXPECT_TRUE(choose(named, R"({"pattern": "x"})").ok()) << "only what may be called is compiled";
  expect_refused(choose("\"required\"", R"({"properties": {"a": {"pattern": "x"}}})"), "tools[1].function.parameters");
  expect_refused(choose("\"required\"", R"({"type": ["object", "null"]})"), "tools[1].function.parameters");
  expect_refused(choose(R"({"type": "function", "function": {"name": "h"}})", object), "tool_choice");
}

TEST(ResponseFormat, IsRefusedWhereItStands) {
  const auto format = [](const std::string& schema) { return chat(R"("response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": )" + schema + "}}"); };
  EXPECT_NE(format(R"({"type": "object"})")->common.grammar, nullptr);
  expect_refused(format(R"({"items": {"format": "date"}})"), "response_format.json_schema.schema");
  expect_refused(chat(R"("response_format": {"type": "json_object", "schema": {"not": {}}})"), "response_format.schema");
  expect_refused(chat(R"("response_format": {"type": "json_schema", "json_schema": {"name": 1}})"), "response_format.json_schema.name");
  expect_refused(format(fmt::format(R"({{"enum": ["{}"]}})", std::string(kMaxSchemaBytes, 'x'))), "response_format.json_schema.schema");
  EXPECT_TRUE(format(fmt::format(R"({{"enum": ["{}"]}})", std::string(kMaxSchemaBytes - 100, 'x'))).ok());
  const std::string tool = R"("tools": [{"type": "function", "function": {"name": "f"}}], "response_format": {"type": "json_object"})";
  expect_refused(chat(tool), "response_format");
  EXPECT_TRUE(chat(tool + R"(, "tool_choice": "none")").ok());
}

TEST(Ap01EveryField, OfTheOtherRoutes) {
  for (const char* value : {"null", "1", "[]", "\"\"", "[\"\"]", "[-1]", "[1.5]", "[[]]", "[1, \"a\"]", "{\"a\": 1}", "1e308"}) {
    const auto parsed = parse_embedding_request(fmt::format("{{\"input\": {}}}", value));
    ASSERT_FALSE(parsed.ok()) << value;
    EXPECT_TRUE(parsed.error().param.starts_with("input")) << value;
  }
  expect_refused(parse_embedding_request("{}"), "input");
  expect_refused(parse_embedding_request(R"({"input": "a", "dimensions": 3})"), "dimensions");
  expect_refused(parse_embedding_request(R"({"input": "a", "encoding_format": "hex"})"), "encoding_format");
  expect_refused(parse_tokenize_request("{}"), "content");
  expect_refused(parse_tokenize_request(R"({"content": 1})"), "content");
  expect_refused(parse_tokenize_request(R"({"prompt": []})"), "prompt");
  expect_refused(parse_tokenize_request(R"({"content": "a", "add_special": 1})"), "add_special");
  expect_refused(parse_detokenize_request("{}"), "tokens");
  expect_refused(parse_detokenize_request(R"({"tokens": [-1]})"), "tokens");
  expect_refused(parse_detokenize_request(R"({"tokens": "a"})"), "tokens");
  EXPECT_TRUE(parse_detokenize_request(R"({"tokens": []})").ok());
}

TEST(Ap01EveryField, RefusesWhatIsNoJson) {
  for (const char* body : {"", " ", "{", "[]", "1", "null", "\"x\"", "{\"a\"}", "{\"a\": NaN}", "{\"a\": Infinity}", "{\"a\": 1e999}", "{} {}",
                           "{\"a\": 01}", "{\"a\": \"\xC3\x28\"}", "{\"a\": \"\xED\xA0\x80\"}", "{\"a\": \"\\uD800\"}"}) {
    const auto parsed = parse_chat_request(body);
    ASSERT_FALSE(parsed.ok()) << body;
    EXPECT_EQ(parsed.error().code, "invalid_json") << body;
  }
}

TEST(Ap01EveryField, RefusesDepthAndDuplicates) {
  EXPECT_EQ(parse_chat_request("{\"a\": " + std::string(100'000, '[')).error().code, "invalid_json");
  std::string objects;
  for (int i = 0; i < 50'000; ++i) objects += "{\"a\":";
  EXPECT_EQ(parse_chat_request(objects).error().code, "invalid_json");
  EXPECT_TRUE(parse_json_body("{\"a\": " + std::string(63, '[') + std::string(63, ']') + "}").ok());
  EXPECT_FALSE(parse_json_body("{\"a\": " + std::string(64, '[') + std::string(64, ']') + "}").ok());
  const auto twice = parse_chat_request(R"({"messages": [], "n": 1, "n": 2})");
  ASSERT_FALSE(twice.ok());
  EXPECT_NE(twice.error().message.find("\"n\" appears twice"), std::string::npos) << twice.error().message;
  EXPECT_FALSE(parse_json_body("{\"a\": [1,2,3,4]}", {.max_values = 5}).ok());
  EXPECT_TRUE(parse_json_body("{\"a\": [1,2,3,4]}", {.max_values = 6}).ok());
}

TEST(Ap01EveryField, ManyKeysTakeLinearTime) {
  std::string body = "{";
  for (int i = 0; i < 200'000; ++i) body += fmt::format("\"k{}\":{},", i, i);
  body.back() = '}';
  const auto parsed = parse_json_body(body);  // a quadratic look-up would take minutes
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->size(), 200'000U);
}

TEST(RequestParser, ReadsWhatItIsGiven) {
  const auto parsed = chat(R"("model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 3,
      "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": -1, "n": 2, "stop": ["a", "b"],
      "logprobs": true, "top_logprobs": 4, "logit_bias": {"3": -100, "4": 1.5}, "repetition_penalty": 1.25, "ignore_eos": true,
      "user": "u", "x_other": 1)");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const GenerationParams& p = parsed->common;
  EXPECT_EQ(p.model, "m");
  EXPECT_TRUE(p.stream && p.include_usage && p.ignore_eos);
  EXPECT_EQ(p.max_tokens, 7);
  EXPECT_EQ(p.seed, ~uint64_t{0});
  EXPECT_EQ(p.n, 2);
  EXPECT_EQ(p.stops, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(p.sampling.n_logprobs, 4);
  EXPECT_FLOAT_EQ(p.sampling.temperature, 0.5F);
  EXPECT_FLOAT_EQ(p.sampling.top_p, 0.9F);
  EXPECT_EQ(p.sampling.top_k, 5);
  EXPECT_FLOAT_EQ(p.sampling.min_p, 0.1F);
  EXPECT_FLOAT_EQ(p.sampling.repetition_penalty, 1.25F);
  ASSERT_EQ(p.sampling.logit_bias.size(), 2U);
  EXPECT_EQ(p.sampling.logit_bias[0], (std::pair<int32_t, float>(3, -100.0F)));
  EXPECT_EQ(p.unknown_fields, (std::vector<std::string>{"x_other"}));
}

TEST(RequestParser, DefaultsAreOpenAis) {
  const auto parsed = chat("");
  ASSERT_TRUE(parsed.ok());
  EXPECT_FLOAT_EQ(parsed->common.sampling.temperature, 1.0F);
  EXPECT_EQ(parsed->common.sampling.n_logprobs, -1);
  EXPECT_FALSE(parsed->common.max_tokens || parsed->common.seed || parsed->common.stream);
  EXPECT_EQ(completion("")->common.max_tokens, 16);
}

TEST(RequestParser, RefusesFieldsThatNeedOthers) {
  expect_refused(chat(R"("top_logprobs": 3)"), "top_logprobs");
  expect_refused(chat(R"("logprobs": true, "top_logprobs": 21)"), "top_logprobs");
  expect_refused(chat(R"("stream_options": {"include_usage": true})"), "stream_options");
  expect_refused(chat(R"("stream": true, "stream_options": {"include_usage": 1})"), "stream_options.include_usage");
  expect_refused(chat(R"("chat_template_kwargs": {"messages": []})"), "chat_template_kwargs.messages");
}

TEST(Ap02Messages, RefusesWhatIsNoConversation) {
  expect_refused(parse_chat_request("{}"), "messages");
  for (const char* list : {"null", "[]", "\"hi\"", "5", "{}"}) expect_refused(messages(list), "messages");
  expect_refused(messages("[1]"), "messages[0]");
  expect_refused(messages("[{}]"), "messages[0].role");
  expect_refused(messages(R"([{"role": "robot", "content": "x"}])"), "messages[0].role");
  expect_refused(messages(R"([{"role": "user"}])"), "messages[0].content");
  expect_refused(messages(R"([{"role": "user", "content": null}])"), "messages[0].content");
  expect_refused(messages(R"([{"role": "user", "content": 5}])"), "messages[0].content");
  expect_refused(messages(R"([{"role": "user", "content": "a"}, {"role": "assistant"}])"), "messages[1].content");
  expect_refused(messages(R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])"), "messages[0].content[0].type");
  expect_refused(messages(R"([{"role": "user", "content": [{"type": "text"}]}])"), "messages[0].content[0].text");
  expect_refused(messages(R"([{"role": "user", "content": ["x"]}])"), "messages[0].content[0]");
  expect_refused(messages(R"([{"role": "assistant", "tool_calls": [{"function": {}}]}])"), "messages[0].tool_calls[0].function.name");
  expect_refused(messages(R"([{"role": "assistant", "tool_calls": {}}])"), "messages[0].tool_calls");
}

TEST(Ap02Messages, AMillionOfThemAreRefused) {
  std::string list = "[";
  for (int i = 0; i < 1'000'000; ++i) list += "{},";
  list.back() = ']';
  expect_refused(messages(list), "messages");
}

TEST(Ap02Messages, EveryKindOfContentIsRead) {
  const auto parsed = messages(R"([{"role": "developer", "content": "d"},
      {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
      {"role": "tool", "tool_call_id": "c1", "content": ""}, {"role": "assistant", "content": "x", "reasoning_content": "r"}])");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const Json& m = parsed->messages;
  EXPECT_EQ(m[0]["role"], "system");
  EXPECT_EQ(m[1]["content"], "ab");
  EXPECT_TRUE(m[2]["content"].is_null());
  EXPECT_EQ(m[2]["tool_calls"][0]["function"]["name"], "f");
  EXPECT_EQ(m[3]["tool_call_id"], "c1");
  EXPECT_EQ(m[3]["content"], "");
  EXPECT_EQ(m[4]["reasoning_content"], "r");
}

TEST(Ap04MaxTokens, ZeroIsForEchoesOnly) {
  expect_refused(chat(R"("max_tokens": 0)"), "max_tokens");
  expect_refused(completion(R"("max_tokens": 0)"), "max_tokens");
  EXPECT_TRUE(completion(R"("max_tokens": 0, "echo": true)").ok());
}

TEST(Ap05ManyChoices, AreRefused) {
  expect_refused(chat(R"("n": 1000000)"), "n");
  std::string prompts;
  for (int i = 0; i < 60; ++i) prompts += "\"a\",";
  prompts.pop_back();
  EXPECT_TRUE(parse_completion_request("{\"prompt\": [" + prompts + "]}").ok());
  expect_refused(parse_completion_request("{\"n\": 2, \"prompt\": [" + prompts + "]}"), "n");
}

TEST(Ap06Stops, EmptyAndLongOnesAreRefused) {
  expect_refused(chat(R"("stop": "")"), "stop");
  expect_refused(chat(R"("stop": ["a", ""])"), "stop[1]");
  expect_refused(chat(R"("stop": ["a", null])"), "stop[1]");
  EXPECT_TRUE(chat(fmt::format("\"stop\": \"{}\"", std::string(256, 'x'))).ok());
  expect_refused(chat(fmt::format("\"stop\": \"{}\"", std::string(257, 'x'))), "stop");
}

TEST(RequestParser, RefusesTooManyBiasesAndTools) {
  std::string biases, tools;
  for (int i = 0; i < 1025; ++i) biases += fmt::format("\"{}\": 1,", i);
  biases.pop_back();
  expect_refused(chat(fmt::format("\"logit_bias\": {{{}}}", biases)), "logit_bias");
  for (int i = 0; i < 129; ++i) tools += R"({"type": "function", "function": {"name": "f"}},)";
  tools.pop_back();
  expect_refused(chat(fmt::format("\"tools\": [{}]", tools)), "tools");
}

TEST(RequestParser, ChecksTools) {
  expect_refused(chat(R"("tools": [1])"), "tools[0]");
  expect_refused(chat(R"("tools": [{"type": "function"}])"), "tools[0]");
  expect_refused(chat(R"("tools": [{"type": "code_interpreter"}])"), "tools[0]");
  expect_refused(chat(R"("tools": [{"type": "function", "function": {"name": "a b"}}])"), "tools[0].function.name");
  expect_refused(chat(R"("tools": [{"type": "function", "function": {"name": "f", "parameters": []}}])"), "tools[0].function.parameters");
  const char* tool = R"("tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])";
  EXPECT_EQ(chat(tool)->tools.size(), 1U);
  EXPECT_TRUE(chat(fmt::format("{}, \"tool_choice\": \"none\"", tool))->tools.is_null());
  EXPECT_TRUE(chat(R"("tools": [])")->tools.is_null());
}

TEST(RequestParser, ReadsEveryKindOfPrompt) {
  const auto prompts = [](const std::string& value) { return parse_completion_request(fmt::format("{{\"prompt\": {}}}", value)); };
  EXPECT_EQ(std::get<std::string>(prompts("\"a\"")->prompts[0]), "a");
  EXPECT_EQ(std::get<std::string>(prompts("\"\"")->prompts[0]), "");
  EXPECT_EQ(prompts(R"(["a", "b"])")->prompts.size(), 2U);
  EXPECT_EQ(std::get<std::vector<int32_t>>(prompts("[1, 2]")->prompts[0]), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(prompts("[[1], [2, 3]]")->prompts.size(), 2U);
  expect_refused(parse_completion_request("{}"), "prompt");
  for (const char* bad : {"null", "1", "{}", "[]", "true"}) expect_refused(prompts(bad), "prompt");
  expect_refused(prompts("[1, -2]"), "prompt");
  expect_refused(prompts(R"(["a", 1])"), "prompt[1]");
  expect_refused(prompts("[[1], []]"), "prompt[1]");
}

}  // namespace
}  // namespace mla::server
