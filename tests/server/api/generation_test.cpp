#include "server/api/generation.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "fakes.h"
#include "support/fake_model.h"

namespace mla::server {
namespace {

using Strings = std::vector<std::string>;

/// What a test asks for.
struct Ask {
  bool chat = true, stream = false, include_usage = false;
  int32_t n_logprobs = -1;
  Strings stops;
  size_t n = 1;
  AnswerOptions answer;
  bool parallel_calls = true;
  std::string echo;
};

/// An answer as a client puts it together.
struct Told {
  std::string content, reasoning, finish_reason;
  Json calls = Json::array();  ///< {name, arguments}
  Json logprobs = Json::array();
  friend bool operator==(const Told&, const Told&) = default;
};

class Generations : public testing::Test {
 protected:
  std::shared_ptr<FakeReply> begin(const Ask& ask) {
    auto reply = std::make_shared<FakeReply>();
    GenerationPlan plan{.stream = ask.stream, .include_usage = ask.include_usage, .arrived = std::chrono::steady_clock::now()};
    ResponseHead head{.id = "id-1", .created = 5, .model = "m", .include_usage = ask.include_usage, .logprobs = ask.n_logprobs >= 0};
    plan.format = ask.chat ? chat_format(head, tokenizer, ask.n) : completion_format(head, tokenizer, ask.n);
    for (size_t i = 0; i < ask.n; ++i) {
      PlannedChoice choice{.echo = ask.echo};
      choice.request.prompt = {1, 2, 3};
      choice.request.sampling.n_logprobs = ask.n_logprobs;
      choice.options = {.tokenizer = tokenizer, .stops = ask.stops, .stop_tokens = {257}, .logprobs = ask.n_logprobs >= 0, .parallel_calls = ask.parallel_calls};
      if (ask.chat) choice.options.answer = ask.answer;
      plan.choices.push_back(std::move(choice));
    }
    first_id = loop.next_id;
    auto generation = Generation::create(loop, metrics, std::move(plan), reply);
    generation->start();
    last = generation;
    return reply;
  }
  std::shared_ptr<FakeReply> answer(const Ask& ask, const std::vector<int32_t>& tokens, FinishReason reason) {
    auto reply = begin(ask);
    for (size_t i = 0; i < ask.n; ++i) loop.play(first_id + static_cast<EngineLoop::Id>(i), tokens, reason);
    EXPECT_TRUE(reply->answered);
    return reply;
  }

  test::FakeModel model;
  FakeLoop loop{model.model};
  Metrics metrics{{.isa = "test", .commit = "c", .version = "v"}};
  std::shared_ptr<const Tokenizer> tokenizer = byte_tokenizer();
  EngineLoop::Id first_id = 0;
  std::weak_ptr<Generation> last;
};

void append_all(Json& to, const Json& from) {
  for (const Json& value : from) to.push_back(value);
}

Told told_by_stream(const Strings& events) {
  Told told;
  for (const std::string& event : events) {
    if (event == "[DONE]") continue;
    const Json chunk = Json::parse(event);
    if (chunk["choices"].empty()) continue;
    const Json& choice = chunk["choices"][0];
    if (choice.contains("text")) told.content += choice["text"].get<std::string>();
    const Json delta = choice.value("delta", Json::object());
    if (delta.contains("content")) told.content += delta["content"].get<std::string>();
    if (delta.contains("reasoning_content")) told.reasoning += delta["reasoning_content"].get<std::string>();
    for (const Json& call : delta.value("tool_calls", Json::array())) {
      if (call.contains("id")) told.calls.push_back({{"name", call["function"]["name"]}, {"arguments", ""}});
      Json& arguments = told.calls.back()["arguments"];
      arguments = arguments.get<std::string>() + call["function"]["arguments"].get<std::string>();
    }
    if (!choice["logprobs"].is_null()) append_all(told.logprobs, choice["logprobs"].value("content", choice["logprobs"].value("tokens", Json())));
    if (!choice["finish_reason"].is_null()) told.finish_reason = choice["finish_reason"];
  }
  return told;
}

Told told_whole(const std::string& body) {
  const Json response = Json::parse(body);
  const Json& choice = response["choices"][0];
  Told told{.finish_reason = choice["finish_reason"]};
  if (choice.contains("text")) told.content = choice["text"];
  const Json message = choice.value("message", Json::object());
  if (message.contains("content") && !message["content"].is_null()) told.content = message["content"];
  told.reasoning = message.value("reasoning_content", "");
  for (const Json& call : message.value("tool_calls", Json::array())) {
    told.calls.push_back({{"name", call["function"]["name"]}, {"arguments", call["function"]["arguments"]}});
  }
  if (!choice["logprobs"].is_null()) append_all(told.logprobs, choice["logprobs"].value("content", choice["logprobs"].value("tokens", Json())));
  return told;
}

// -- AP07
// -------------------------------------------------------------------------------------------------------------------

class Ap07StreamEqualsWhole : public Generations {};

TEST_F(Ap07StreamEqualsWhole, WithStopsAndCharactersCutAtEveryPlace) {
  const std::string text = "a\xC3\xA9 \xE2\x82\xAC STOP \xF0\x9F\x98\x80 b\xE2\x82";
  for (const bool chat : {true, false}) {
    for (const Strings& stops : {Strings{}, Strings{"STOP"}, Strings{"\xA9"}, Strings{"\xE2\x82\xAC", "ST"}, Strings{"TOPX", "P "}, Strings{text}}) {
      for (size_t cut = 0; cut <= text.size(); ++cut) {
        Ask ask{.chat = chat, .n_logprobs = 2, .stops = stops};
        const auto tokens = bytes_of(text.substr(0, cut));
        const auto whole = answer(ask, tokens, FinishReason::kLength);
        ask.stream = true;
        const auto stream = answer(ask, tokens, FinishReason::kLength);
        EXPECT_EQ(told_by_stream(stream->events), told_whole(whole->response->body)) << "cut " << cut;
      }
    }
  }
}

TEST_F(Ap07StreamEqualsWhole, WithThoughtsAndCalls) {
  const std::string text =
      "<think>\nhm \xE2\x82\xAC\n</think>\n\nWell. <tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"\xC3\xA9\"}}\n</tool_call>\n"
      "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>";
  for (const bool parallel : {true, false}) {
    for (size_t cut = 0; cut <= text.size(); ++cut) {
      Ask ask{.n_logprobs = 0, .answer = {.split_reasoning = true, .tools = ToolCallFormat::kHermes}, .parallel_calls = parallel};
      const auto tokens = bytes_of(text.substr(0, cut));
      const auto whole = answer(ask, tokens, FinishReason::kStop);
      ask.stream = true;
      const auto stream = answer(ask, tokens, FinishReason::kStop);
      const Told told = told_by_stream(stream->events);
      EXPECT_EQ(told, told_whole(whole->response->body)) << "cut " << cut;
      if (cut < text.size()) continue;
      EXPECT_EQ(told.reasoning, "hm \xE2\x82\xAC");
      EXPECT_EQ(told.content, "Well.");
      EXPECT_EQ(told.finish_reason, "tool_calls");
      ASSERT_EQ(told.calls.size(), parallel ? 2U : 1U);
      EXPECT_EQ(told.calls[0], (Json{{"name", "f"}, {"arguments", "{\"x\": \"\xC3\xA9\"}"}}));
    }
  }
}

// Also where the arguments are no JSON, are cut off, or have text behind them: what was streamed cannot be taken back.
TEST_F(Ap07StreamEqualsWhole, WithCallsOfEveryFormat) {
  struct Example {
    ToolCallFormat format;
    std::string before, between, after;
  };
  const std::string begin = "<｜tool▁call▁begin｜>", sep = "<｜tool▁sep｜>", end = "<｜tool▁call▁end｜>";
  const Example examples[] = {
      {ToolCallFormat::kDeepSeekV3, begin + "function" + sep + "f\n```json\n", "\n```" + end + begin + "function" + sep + "g\n```json\n", "\n```" + end},
      {ToolCallFormat::kDeepSeekV31, begin + "f" + sep, end + begin + "g" + sep, end},
      {ToolCallFormat::kHermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": ", "}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": ", "}\n</tool_call>"},
      {ToolCallFormat::kKimi, "<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>", "<|tool_call_end|><|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>", "<|tool_call_end|>"},
  };
  const std::string file = R"({"text": "\"\u00e9 \\n{</tool_call>", "n": [1]})";
  for (const Example& e : examples) {
    for (const std::string& arguments : {file, std::string("{'a': `bé`}"), std::string("{\"a\": \"b\nc\"}")}) {
      const std::string text = "So: " + e.before + arguments + e.between + "{}" + e.after;
      for (size_t cut = 0; cut <= text.size(); ++cut) {
        Ask ask{.answer = {.tools = e.format}};
        const auto tokens = bytes_of(text.substr(0, cut));
        const auto whole = answer(ask, tokens, FinishReason::kLength);
        ask.stream = true;
        const Told told = told_by_stream(answer(ask, tokens, FinishReason::kLength)->events);
        ASSERT_EQ(told, told_whole(whole->response->body)) << "cut " << cut << " of " << text;
        if (cut < text.size()) continue;
        EXPECT_EQ(told.content, "So:");
        EXPECT_EQ(told.calls, (Json{{{"name", "f"}, {"arguments", arguments}}, {{"name", "g"}, {"arguments", "{}"}}}));
      }
    }
  }
}

TEST_F(Ap07StreamEqualsWhole, OfRandomBytes) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (int i = 0; i < 40; ++i) text += "ab<\xC3\xA9\xE2"[random() % 6];
    Ask ask{.chat = round % 2 == 0, .n_logprobs = round % 3 - 1, .stops = {"aba", "\xC3\xA9"}};
    const auto tokens = bytes_of(text);
    const auto whole = answer(ask, tokens, FinishReason::kStop);
    ask.stream = true;
    EXPECT_EQ(told_by_stream(answer(ask, tokens, FinishReason::kStop)->events), told_whole(whole->response->body)) << text;
  }
}

// -- AP06, AP08, AP10, AP11, AP13, AP15
// -------------------------------------------------------------------------------------------------------------------

TEST_F(Generations, Ap06AStopStringIsNotPartOfTheAnswer) {
  const auto told = [&](const Strings& stops) {
    return told_whole(answer({.stops = stops}, bytes_of("one\xC3\xA9two"), FinishReason::kLength)->response->body);
  };
  EXPECT_EQ(told({"tw"}).content, "one\xC3\xA9");
  EXPECT_EQ(told({"tw"}).finish_reason, "stop");
  EXPECT_EQ(told({"one\xC3\xA9two"}).content, "");
  EXPECT_EQ(told({"twx"}).content, "one\xC3\xA9two");
  EXPECT_EQ(told({"twx"}).finish_reason, "length");
}

TEST_F(Generations, Ap08LogprobsAreOfTheTextAndInOrder) {
  const std::string text = "x\xE2\x82\xAC!";
  for (const bool stream : {false, true}) {
    const auto reply = answer({.stream = stream, .n_logprobs = 3, .stops = {"!"}}, bytes_of(text + "zz"), FinishReason::kStop);
    const Told told = stream ? told_by_stream(reply->events) : told_whole(reply->response->body);
    std::string bytes;
    for (const Json& token : told.logprobs) {
      for (const int byte : token["bytes"]) bytes += static_cast<char>(byte);
      ASSERT_EQ(token["top_logprobs"].size(), 3U);
      for (size_t i = 1; i < 3; ++i) EXPECT_LE(token["top_logprobs"][i]["logprob"], token["top_logprobs"][i - 1]["logprob"]);
      EXPECT_LE(token["logprob"], 0.0);
    }
    EXPECT_EQ(bytes, "x\xE2\x82\xAC");  // the stop string has none
    EXPECT_EQ(told.content, bytes);
  }
}

TEST_F(Generations, Ap08CompletionsTellOffsetsInCharacters) {
  const auto reply = answer({.chat = false, .n_logprobs = 1}, {'x', 0xE2, 0x82, 0xAC, 256, '!', 257}, FinishReason::kStop);
  const Json logprobs = Json::parse(reply->response->body)["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["text_offset"], (Json{0, 1, 2, 2, 2, 2}));
  EXPECT_EQ(logprobs["tokens"][4], "<bos>");
  EXPECT_EQ(logprobs["token_logprobs"].size(), 6U);
  EXPECT_EQ(logprobs["top_logprobs"][0].size(), 1U);
}

TEST_F(Generations, Ap08WhatIsImpossibleIsNotMinusInfinity) {
  auto reply = begin({.n_logprobs = 1});
  SampledToken token{.token = 'a', .logprob = -INFINITY, .top = {{'b', -INFINITY}}};
  EXPECT_TRUE(loop.jobs.at(first_id).request.on_token(token));
  loop.finish(first_id, FinishReason::kStop);
  const Json entry = Json::parse(reply->response->body)["choices"][0]["logprobs"]["content"][0];
  EXPECT_EQ(entry["logprob"], -9999.0);
  EXPECT_EQ(entry["top_logprobs"][0]["logprob"], -9999.0);
}

TEST_F(Generations, Ap11UsageCountsTokensOnce) {
  loop.n_cached = 2;
  const auto reply = answer({.n = 3}, bytes_of("abcd"), FinishReason::kStop);
  const Json response = Json::parse(reply->response->body);
  EXPECT_EQ(response["usage"], (Json{{"prompt_tokens", 3}, {"completion_tokens", 12}, {"total_tokens", 15},
                                     {"prompt_tokens_details", {{"cached_tokens", 2}}}, {"completion_tokens_details", {{"reasoning_tokens", 0}}}}));
  EXPECT_EQ(response["timings"]["cached_tokens"], 2);
  ASSERT_EQ(response["choices"].size(), 3U);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(response["choices"][i]["index"], i);
}

TEST_F(Generations, Ap11ThoughtsAreCounted) {
  const auto reply = answer({.answer = {.split_reasoning = true}}, bytes_of("<think>abc</think>d"), FinishReason::kStop);
  const int64_t n = Json::parse(reply->response->body)["usage"]["completion_tokens_details"]["reasoning_tokens"];
  EXPECT_GE(n, 17);
  EXPECT_LE(n, 18);
}

TEST_F(Generations, Ap15ChunksComeInOpenAisOrder) {
  const auto reply = answer({.stream = true, .include_usage = true}, {'h', 'i', 257}, FinishReason::kStop);
  ASSERT_EQ(reply->events.size(), 6U);
  EXPECT_TRUE(reply->ended);
  std::vector<Json> chunks;
  for (size_t i = 0; i < 5; ++i) chunks.push_back(Json::parse(reply->events[i]));
  EXPECT_EQ(reply->events[5], "[DONE]");
  EXPECT_EQ(chunks[0]["choices"][0]["delta"], (Json{{"role", "assistant"}, {"content", ""}}));
  EXPECT_EQ(chunks[1]["choices"][0]["delta"], (Json{{"content", "h"}}));
  EXPECT_EQ(chunks[2]["choices"][0]["delta"], (Json{{"content", "i"}}));
  EXPECT_EQ(chunks[3]["choices"][0]["delta"], Json::object());
  EXPECT_EQ(chunks[3]["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(chunks[3].contains("timings"));
  EXPECT_EQ(chunks[4]["choices"], Json::array());
  EXPECT_EQ(chunks[4]["usage"]["completion_tokens"], 3);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(chunks[i]["id"], "id-1");
    EXPECT_EQ(chunks[i]["object"], "chat.completion.chunk");
    EXPECT_EQ(chunks[i]["created"], 5);
    EXPECT_EQ(chunks[i]["model"], "m");
    if (i < 4) {
      EXPECT_TRUE(chunks[i].contains("usage") && chunks[i]["usage"].is_null());
      EXPECT_EQ(chunks[i]["choices"][0]["finish_reason"].is_null(), i < 3);
    }
  }
}

TEST_F(Generations, Ap10ArgumentsAreStreamedUnderTheirIndex) {
  const std::string call = "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call>";
  const auto reply = answer({.stream = true, .answer = {.tools = ToolCallFormat::kHermes}}, bytes_of(call + call), FinishReason::kStop);
  std::vector<Json> deltas;
  for (const std::string& event : reply->events) {
    if (event != "[DONE]") deltas.push_back(Json::parse(event)["choices"][0]["delta"]);
  }
  const std::string arguments = "{\"x\": 1}";
  ASSERT_EQ(deltas.size(), 2 * (1 + arguments.size()) + 2);
  EXPECT_EQ(deltas.front(), (Json{{"role", "assistant"}, {"content", ""}}));
  EXPECT_EQ(deltas.back(), Json::object());
  size_t at = 1;
  for (int index = 0; index < 2; ++index) {
    const std::string id = deltas[at]["tool_calls"][0]["id"];
    EXPECT_TRUE(id.starts_with("call_")) << id;
    const Json first = {{"index", index}, {"id", id}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", ""}}}};
    EXPECT_EQ(deltas[at++], (Json{{"tool_calls", Json::array({first})}}));
    for (const char c : arguments) {
      const Json piece = {{"index", index}, {"function", {{"arguments", std::string(1, c)}}}};
      EXPECT_EQ(deltas[at++], (Json{{"tool_calls", Json::array({piece})}}));
    }
  }
}

TEST_F(Generations, AnOnlyCallEndsTheAnswerWithItsMarker) {
  const std::string call = "<tool_call>{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
  for (const bool parallel : {true, false}) {
    const auto reply = answer({.answer = {.tools = ToolCallFormat::kHermes}, .parallel_calls = parallel}, bytes_of(call + " more"), FinishReason::kLength);
    const Json response = Json::parse(reply->response->body);
    EXPECT_EQ(response["usage"]["completion_tokens"], call.size() + (parallel ? 5 : 0));
    EXPECT_EQ(response["choices"][0]["finish_reason"], parallel ? "length" : "tool_calls");
    EXPECT_EQ(told_whole(reply->response->body).content, parallel ? " more" : "");
  }
}

TEST_F(Generations, ChoicesOfAStreamAreToldApart) {
  const auto reply = begin({.stream = true, .n = 2});
  EXPECT_TRUE(FakeLoop::give(loop.jobs.at(first_id), 'a'));
  EXPECT_TRUE(FakeLoop::give(loop.jobs.at(first_id + 1), 'b'));
  EXPECT_TRUE(FakeLoop::give(loop.jobs.at(first_id), 'c'));
  loop.finish(first_id + 1, FinishReason::kLength);
  EXPECT_FALSE(reply->ended);
  loop.finish(first_id, FinishReason::kStop);
  EXPECT_TRUE(reply->ended);
  std::string order;
  for (const std::string& event : reply->events) {
    if (event != "[DONE]") order += fmt::format("{}{} ", Json::parse(event)["choices"][0]["index"].get<int>(), Json::parse(event)["choices"][0]["delta"].value("content", "."));
  }
  EXPECT_EQ(order, "0 1 0a 1b 0c 1. 0. ");
}

TEST_F(Generations, EchoComesFirst) {
  for (const bool stream : {false, true}) {
    const auto reply = answer({.chat = false, .stream = stream, .echo = "prompt "}, bytes_of("x"), FinishReason::kStop);
    EXPECT_EQ((stream ? told_by_stream(reply->events) : told_whole(reply->response->body)).content, "prompt x");
  }
}

// -- faults and slow clients
// -------------------------------------------------------------------------------------------------------------------

TEST_F(Generations, AFullQueueIs429) {
  loop.refusal = Error::busy("64 requests wait");
  for (const bool stream : {false, true}) {
    const auto reply = begin({.stream = stream});
    ASSERT_TRUE(reply->response);
    EXPECT_EQ(reply->response->status, 429);
    EXPECT_EQ(reply->response->headers, (std::vector<std::pair<std::string, std::string>>{{"Retry-After", "1"}}));
    EXPECT_EQ(Json::parse(reply->response->body)["error"]["type"], "rate_limit_error");
    EXPECT_TRUE(reply->answered);
  }
}

TEST_F(Generations, Ap13AnErrorHasFourKeys) {
  loop.refusal = Error::usage("no");
  const auto error = nlohmann::json::parse(begin({})->response->body)["error"];
  EXPECT_EQ(error, (nlohmann::json{{"message", "no"}, {"type", "invalid_request_error"}, {"param", nullptr}, {"code", nullptr}}));
}

TEST_F(Generations, AnErrorAfterTheHeadersEndsTheStream) {
  const auto reply = begin({.stream = true});
  EXPECT_TRUE(FakeLoop::give(loop.jobs.at(first_id), 'a'));
  loop.finish(first_id, FinishReason::kNone, Error::resource("no memory"));
  EXPECT_TRUE(reply->ended);
  EXPECT_EQ(Json::parse(reply->events.back())["error"]["type"], "unavailable_error");
  EXPECT_TRUE(reply->answered);
}

TEST_F(Generations, AnErrorWithoutStreamIsTheAnswer) {
  const auto reply = begin({});
  EXPECT_TRUE(FakeLoop::give(loop.jobs.at(first_id), 'a'));
  loop.finish(first_id, FinishReason::kNone, Error::failure("a fault"));
  EXPECT_EQ(reply->response->status, 500);
}

TEST_F(Generations, OneFailedChoiceEndsTheOthers) {
  const auto reply = begin({.stream = true, .n = 2});
  loop.finish(first_id, FinishReason::kNone, Error::failure("a fault"));
  EXPECT_EQ(loop.cancelled, (std::vector<EngineLoop::Id>{first_id, first_id + 1}));
  EXPECT_FALSE(FakeLoop::give(loop.jobs.at(first_id + 1), 'b'));
  loop.finish(first_id + 1, FinishReason::kCancelled);
  EXPECT_TRUE(reply->answered);
  EXPECT_TRUE(reply->ended);
}

TEST_F(Generations, AClientThatLeavesEndsItsJobs) {
  const auto reply = begin({.stream = true, .n = 2});
  EXPECT_TRUE(FakeLoop::give(loop.jobs.at(first_id), 'a'));
  reply->closed();
  EXPECT_EQ(loop.cancelled, (std::vector<EngineLoop::Id>{first_id, first_id + 1}));
  EXPECT_FALSE(FakeLoop::give(loop.jobs.at(first_id), 'b'));
  loop.finish(first_id, FinishReason::kCancelled);
  loop.finish(first_id + 1, FinishReason::kCancelled);
  EXPECT_TRUE(reply->answered);
  EXPECT_NE(metrics.text().find("mla_requests_total{finish_reason=\"cancelled\"} 1"), std::string::npos) << metrics.text();
}

TEST_F(Generations, NothingOfAnAnswerIsKeptOnceItIsOver) {
  {
    const auto reply = answer({.stream = true}, bytes_of("x"), FinishReason::kStop);
    EXPECT_TRUE(last.expired());
  }
  const auto reply = begin({});
  loop.jobs.clear();  // a loop that ends without a word
  EXPECT_TRUE(last.expired());
}

TEST_F(Generations, ASlowReaderIsPausedAndResumed) {
  const auto reply = begin({.stream = true});
  reply->n_buffered = kMaxBufferedBytes + 1;
  EXPECT_TRUE(FakeLoop::give(loop.jobs.at(first_id), 'a'));
  EXPECT_TRUE(FakeLoop::give(loop.jobs.at(first_id), 'b'));
  EXPECT_EQ(loop.paused, (std::vector<EngineLoop::Id>{first_id}));
  EXPECT_TRUE(loop.resumed.empty());
  reply->n_buffered = 0;
  reply->drained();
  reply->drained();
  EXPECT_EQ(loop.resumed, (std::vector<EngineLoop::Id>{first_id}));
}

TEST_F(Generations, AnAbortedStreamSaysWhy) {
  const auto reply = begin({.stream = true});
  last.lock()->abort(not_available("the server is stopping", 1));
  EXPECT_TRUE(reply->ended);
  EXPECT_EQ(Json::parse(reply->events.back())["error"]["message"], "the server is stopping");
  EXPECT_EQ(loop.cancelled.size(), 1U);
  last.lock()->abort(not_available("twice", 1));
  EXPECT_TRUE(reply->answered);
}

}  // namespace
}  // namespace mla::server
