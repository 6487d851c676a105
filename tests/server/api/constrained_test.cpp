#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <set>
#include <thread>

#include "fakes.h"
#include "server/api/api.h"
#include "support/fake_model.h"

// Answers that must be JSON, through the API and a loop that runs a model without sense: everything that holds comes from the
// constraint.

namespace mla::server {
namespace {

constexpr const char* kTemplate = "{% for m in messages %}{{ m.content }}{% endfor %}";
constexpr const char* kThinking = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>\n{% endif %}";
constexpr const char* kSchema = R"({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "n": {"type": "integer"}, "ok": {"type": ["boolean", "null"]}},
                                    "required": ["name", "n", "ok"], "additionalProperties": false})";

class ConstrainedApi : public testing::Test {
 protected:
  explicit ConstrainedApi(const char* chat_template = kTemplate) : tokenizer(byte_tokenizer(chat_template)) {
    auto engine = Engine::create(model, {.cache_format = RowFormat::kF32, .max_tokens = 40 * kPageRows});
    EXPECT_TRUE(engine.ok());
    loop = EngineLoop::start(std::move(*engine));
    api.ready(*loop);
  }
  ~ConstrainedApi() override {
    api.join();
    loop.reset();
  }
  std::shared_ptr<FakeReply> chat(const std::string& members) {
    auto reply = std::make_shared<FakeReply>();
    api.chat_completions({.method = "POST", .body = R"({"messages": [{"role": "user", "content": "hi"}], )" + members + "}"}, reply);
    return waited(reply);
  }
  std::shared_ptr<FakeReply> complete(const std::string& members) {
    auto reply = std::make_shared<FakeReply>();
    api.completions({.method = "POST", .body = R"({"prompt": "hi", )" + members + "}"}, reply);
    return waited(reply);
  }
  std::shared_ptr<FakeReply> waited(std::shared_ptr<FakeReply> reply) {
    for (int i = 0; i < 20'000 && !reply->answered; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(reply->answered);
    return reply;
  }
  static Json body_of(const std::shared_ptr<FakeReply>& reply) { return Json::parse(reply->response->body); }
  static std::string format(const char* schema) {
    return fmt::format(R"("response_format": {{"type": "json_schema", "json_schema": {{"name": "answer", "strict": true, "schema": {}}}}})", schema);
  }
  static void expect_answer(const std::string& text) {
    const Json value = Json::parse(text, nullptr, false);
    ASSERT_TRUE(value.is_object()) << text;
    EXPECT_EQ(value.size(), 3U) << text;
    EXPECT_TRUE(value["name"].is_string() && value["n"].is_number_integer()) << text;
    EXPECT_TRUE(value["ok"].is_boolean() || value["ok"].is_null()) << text;
  }

  std::shared_ptr<const Tokenizer> tokenizer;
  test::HostBackend backend;
  const Config config = test::fake_config(258);
  std::shared_ptr<const Model> model = Model::from_parts(config, std::make_unique<test::FakeDecoder>(config), backend, tokenizer);
  std::unique_ptr<EngineLoop> loop;
  Metrics metrics{{.isa = "test", .commit = "c", .version = "v"}};
  Log log{STDERR_FILENO, LogFormat::kText, LogLevel::kError};
  Api api{{.model_name = "tiny"}, metrics, log};
};

TEST_F(ConstrainedApi, ASchemaHoldsForEveryChoice) {
  const Json response = body_of(chat(format(kSchema) + R"(, "n": 3, "seed": 5, "max_tokens": 800, "logprobs": true)"));
  ASSERT_EQ(response["choices"].size(), 3U) << response;
  for (const Json& choice : response["choices"]) {
    EXPECT_EQ(choice["finish_reason"], "stop");
    expect_answer(choice["message"]["content"]);
  }
}

TEST_F(ConstrainedApi, AStreamIsTheWholeAnswer) {
  const std::string ask = format(kSchema) + R"(, "n": 2, "seed": 9, "temperature": 1.5, "top_p": 0.9, "max_tokens": 800)";
  const Json whole = body_of(chat(ask));
  std::map<size_t, std::string> texts;
  const auto stream = chat(ask + R"(, "stream": true)");
  for (const std::string& event : stream->events) {
    if (event == "[DONE]") continue;
    const Json choice = Json::parse(event)["choices"][0];
    if (choice["delta"].contains("content")) texts[choice["index"].get<size_t>()] += choice["delta"]["content"].get<std::string>();
  }
  ASSERT_EQ(texts.size(), 2U);
  for (const auto& [index, text] : texts) {
    expect_answer(text);
    EXPECT_EQ(text, whole["choices"][index]["message"]["content"]);
  }
}

TEST_F(ConstrainedApi, CompletionsAreConstrainedToo) {
  const Json response = body_of(complete(format(kSchema) + R"(, "max_tokens": 800, "temperature": 0)"));
  expect_answer(response["choices"][0]["text"]);
}

TEST_F(ConstrainedApi, AnyObject) {
  // What ends of itself must be an object; what max_tokens cuts begins one.
  const Json response = body_of(complete(R"("response_format": {"type": "json_object"}, "n": 8, "seed": 1, "max_tokens": 200)"));
  for (const Json& choice : response["choices"]) {
    const std::string text = choice["text"];
    if (choice["finish_reason"] == "stop") {
      EXPECT_TRUE(Json::parse(text, nullptr, false).is_object()) << text;
    } else {
      EXPECT_EQ(text.find_first_not_of(" \t\r\n"), text.find('{')) << text;
    }
  }
}

TEST_F(ConstrainedApi, MaxTokensCutsIt) {
  const Json choice = body_of(chat(format(kSchema) + R"(, "max_tokens": 3)"))["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_FALSE(Json::accept(choice["message"]["content"].get<std::string>()));
}

TEST_F(ConstrainedApi, AStopStringCutsIt) {
  const Json choice = body_of(chat(format(kSchema) + R"(, "max_tokens": 800, "stop": ":")"))["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_NE(choice["message"]["content"].get<std::string>().find("\"name\""), std::string::npos);
}

TEST_F(ConstrainedApi, WhereNoTokenIsPossibleTheRequestFails) {
  const auto reply = std::make_shared<FakeReply>();
  FakeLoop fake(model);
  api.ready(fake);
  api.completions({.method = "POST", .body = R"({"prompt": "hi", )" + format(kSchema) + "}"}, reply);
  for (int i = 0; i < 10'000 && fake.n_submitted < 1; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_EQ(fake.jobs.size(), 1U);
  EXPECT_TRUE(fake.jobs.at(1).request.sampling.constraint);
  fake.finish(1, FinishReason::kNoToken);
  EXPECT_EQ(reply->response->status, 500);
  EXPECT_EQ(body_of(reply)["error"]["type"], "server_error");
  EXPECT_EQ(body_of(reply)["error"]["code"], "no_token");
  EXPECT_EQ(ending_of(FinishReason::kNoToken), Ending::kError);
}

class ConstrainedThought : public ConstrainedApi {
 protected:
  ConstrainedThought() : ConstrainedApi(kThinking) {}
};

TEST_F(ConstrainedThought, TheConstraintBeginsBehindIt) {
  const auto reply = std::make_shared<FakeReply>();
  FakeLoop fake(model);
  api.ready(fake);
  api.chat_completions({.method = "POST", .body = R"({"messages": [{"role": "user", "content": "hi"}], )" + format(kSchema) + "}"}, reply);
  for (int i = 0; i < 10'000 && fake.n_submitted < 1; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_EQ(fake.jobs.size(), 1U);
  auto constraint = fake.jobs.at(1).request.sampling.constraint;
  ASSERT_TRUE(constraint);
  TokenSet allowed;
  for (const int32_t token : bytes_of("Let me {think}.</think>\n\n")) {
    constraint->allow(allowed);
    EXPECT_TRUE(allowed.contains(token));
    EXPECT_FALSE(allowed.contains(257));
    constraint->accept(token);
  }
  constraint->allow(allowed);
  EXPECT_TRUE(allowed.contains('{'));
  EXPECT_FALSE(allowed.contains('L'));
  fake.play(1, bytes_of("Hm.</think>\n\n{}"), FinishReason::kStop);
  const Json message = body_of(reply)["choices"][0]["message"];
  EXPECT_EQ(message["reasoning_content"], "Hm.");
  EXPECT_EQ(message["content"], "{}");
}

// -- calls that are asked for
// -------------------------------------------------------------------------------------------------------------------

constexpr const char* kHermes = "{% for t in tools %}<tool_call> {{ t.function.name }}{% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}";
constexpr const char* kTools = R"("tools": [{"type": "function", "function": {"name": "now"}},
    {"type": "function", "function": {"name": "now_in", "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 5}}, "required": ["city"]}}}])";

class RequiredCalls : public ConstrainedApi {
 protected:
  RequiredCalls() : ConstrainedApi(kHermes) {}
};

TEST_F(RequiredCalls, TheNamedOne) {
  const Json choice = body_of(chat(std::string(kTools) + R"(, "tool_choice": {"type": "function", "function": {"name": "now_in"}}, "max_tokens": 800)"))["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls") << choice;
  ASSERT_EQ(choice["message"]["tool_calls"].size(), 1U);
  const Json function = choice["message"]["tool_calls"][0]["function"];
  EXPECT_EQ(function["name"], "now_in");
  const Json arguments = Json::parse(function["arguments"].get<std::string>());
  EXPECT_TRUE(arguments["city"].is_string()) << arguments;
  EXPECT_EQ(arguments.size(), 1U);
}

TEST_F(RequiredCalls, OneOfThem) {
  const Json choices = body_of(chat(std::string(kTools) + R"(, "tool_choice": "required", "n": 8, "seed": 2, "max_tokens": 300)"))["choices"];
  std::set<std::string> names;
  for (const Json& choice : choices) {
    if (choice["finish_reason"] == "length") continue;  // arguments of any kind may be long
    ASSERT_EQ(choice["message"]["tool_calls"].size(), 1U) << choice;
    names.insert(choice["message"]["tool_calls"][0]["function"]["name"].get<std::string>());
  }
  EXPECT_EQ(names, (std::set<std::string>{"now", "now_in"}));
}

TEST_F(ConstrainedApi, CallsInAnUnknownFormAreRefused) {
  const auto reply = chat(std::string(kTools) + R"(, "tool_choice": "required")");
  EXPECT_EQ(reply->response->status, 400);
}

// -- what is refused
// -------------------------------------------------------------------------------------------------------------------

TEST_F(ConstrainedApi, AnErrorNamesThePlaceInTheSchema) {
  const Json error = body_of(chat(format(R"({"properties": {"age": {"type": "string", "pattern": "x"}}})")))["error"];
  EXPECT_EQ(error["param"], "response_format.json_schema.schema");
  EXPECT_NE(error["message"].get<std::string>().find("#/properties/age/pattern"), std::string::npos) << error;
}

}  // namespace
}  // namespace mla::server
