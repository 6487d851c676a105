#include "server/api/api.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

#include "fakes.h"
#include "server/api/embedding.h"
#include "support/fake_model.h"

namespace mla::server {
namespace {

constexpr const char* kTemplate = "{% for m in messages %}{{ m.content }}{% endfor %}";

/// A reply whose client is gone already.
class GoneReply : public FakeReply {
 public:
  void on_closed(std::function<void()> callback) override { callback(); }
};

class ApiTest : public testing::Test {
 protected:
  explicit ApiTest(ApiOptions options = {.model_name = "tiny"}) : api(std::move(options), metrics, log) {}
  ~ApiTest() override { api.join(); }

  static void wait_for(const std::function<bool()>& condition) {
    for (int i = 0; i < 10'000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_TRUE(condition());
  }
  /// Calls a route and waits until it has answered, or until the loop has got `n_jobs` of it.
  std::shared_ptr<FakeReply> call(void (Api::*route)(http::Request, Api::ReplyPtr), const std::string& body, int n_jobs = 0,
                                  const std::string& client = {}) {
    auto reply = std::make_shared<FakeReply>();
    const EngineLoop::Id before = loop.n_submitted;
    (api.*route)({.method = "POST", .body = body, .client = client}, reply);
    wait_for([&] { return n_jobs > 0 ? loop.n_submitted == before + n_jobs : reply->answered.load(); });
    return reply;
  }
  Json body_of(const std::shared_ptr<FakeReply>& reply) { return Json::parse(reply->response->body); }

  std::shared_ptr<const Tokenizer> tokenizer = byte_tokenizer(kTemplate);
  test::HostBackend backend;
  FakeLoop loop{Model::from_parts(test::fake_config(258), std::make_unique<test::FakeDecoder>(test::fake_config(258)), backend, tokenizer)};
  Metrics metrics{{.isa = "test", .commit = "c", .version = "v"}};
  Log log{STDERR_FILENO, LogFormat::kText, LogLevel::kError};
  Api api;
};

TEST_F(ApiTest, TellsHowFarLoadingIs) {
  api.loading(25, 100);
  const auto ready = call(&Api::ready_state, "");
  EXPECT_EQ(ready->response->status, 503);
  EXPECT_EQ(body_of(ready)["status"], "loading");
  EXPECT_EQ(body_of(ready)["progress"]["fraction"], 0.25);
  EXPECT_EQ(call(&Api::live, "")->response->status, 200);
  EXPECT_EQ(body_of(call(&Api::list_models, ""))["data"], Json::array());
  for (const auto route : {&Api::chat_completions, &Api::completions, &Api::embeddings, &Api::tokenize, &Api::detokenize, &Api::show_model}) {
    const auto reply = call(route, "{}");
    EXPECT_EQ(reply->response->status, 503);
    EXPECT_EQ(reply->response->headers.at(0).first, "Retry-After");
  }
}

TEST_F(ApiTest, SmallRequestsDoNotWaitForLargeOnes) {
  api.ready(loop);
  const Json large = {{"content", std::string(2'000'000, 'a')}};
  std::vector<std::shared_ptr<FakeReply>> replies;
  for (int i = 0; i < 6; ++i) {
    replies.push_back(std::make_shared<FakeReply>());
    api.tokenize({.method = "POST", .body = large.dump()}, replies.back());
  }
  EXPECT_EQ(call(&Api::tokenize, R"({"content": "ab"})")->response->status, 200);
  EXPECT_FALSE(replies.back()->answered);
  for (const auto& reply : replies) wait_for([&] { return reply->answered.load(); });
}

TEST_F(ApiTest, IsReadyAndStops) {
  api.ready(loop);
  EXPECT_EQ(call(&Api::ready_state, "")->response->status, 200);
  EXPECT_EQ(body_of(call(&Api::list_models, ""))["data"][0]["id"], "tiny");
  api.stop_accepting();
  EXPECT_EQ(body_of(call(&Api::ready_state, ""))["status"], "stopping");
  EXPECT_EQ(call(&Api::completions, R"({"prompt": "x"})")->response->status, 503);
}

TEST_F(ApiTest, AnswersFromBeginningToEnd) {
  api.ready(loop);
  const auto reply = call(&Api::chat_completions, R"({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "seed": 3})", 1);
  ASSERT_EQ(loop.jobs.size(), 1U);
  const mla::Request& request = loop.jobs.begin()->second.request;
  EXPECT_EQ(request.prompt, bytes_of("hi"));
  EXPECT_EQ(request.max_new_tokens, 5);
  EXPECT_EQ(request.sampling.seed, 3U);
  loop.play(1, bytes_of("yes"), FinishReason::kLength);
  EXPECT_EQ(body_of(reply)["choices"][0]["message"]["content"], "yes");
}

TEST_F(ApiTest, ChoicesDrawWithSeedsOfTheirOwn) {
  api.ready(loop);
  call(&Api::completions, R"({"prompt": "hi", "n": 3, "seed": -1})", 3);
  ASSERT_EQ(loop.jobs.size(), 3U);
  EXPECT_EQ(loop.jobs.at(1).request.sampling.seed, ~uint64_t{0});
  EXPECT_EQ(loop.jobs.at(2).request.sampling.seed, 0U);
  EXPECT_EQ(loop.jobs.at(3).request.sampling.seed, 1U);
}

TEST_F(ApiTest, Ap03APromptThatIsTooLongIsToldWithCounts) {
  loop.n_context = 10;
  api.ready(loop);
  for (const auto& [body, param] : std::vector<std::pair<std::string, std::string>>{
           {R"({"prompt": "0123456789"})", "prompt"}, {R"({"prompt": "01234", "max_tokens": 6})", "max_tokens"}, {R"({"prompt": "01234567890", "echo": true, "max_tokens": 0})", "prompt"}}) {
    const Json error = body_of(call(&Api::completions, body))["error"];
    EXPECT_EQ(error["code"], "context_length_exceeded");
    EXPECT_EQ(error["param"], param);
    EXPECT_NE(error["message"].get<std::string>().find("10 tokens"), std::string::npos) << error;
  }
}

TEST_F(ApiTest, Ap12AnUnknownModelIs404) {
  api.ready(loop);
  const auto reply = call(&Api::completions, R"({"prompt": "x", "model": "other"})");
  EXPECT_EQ(reply->response->status, 404);
  EXPECT_EQ(body_of(reply)["error"]["code"], "model_not_found");
}

TEST_F(ApiTest, IdsOutsideTheVocabularyAreRefused) {
  api.ready(loop);
  EXPECT_EQ(body_of(call(&Api::completions, R"({"prompt": [1, 258]})"))["error"]["param"], "prompt");
  EXPECT_EQ(body_of(call(&Api::completions, R"({"prompt": "x", "logit_bias": {"258": 1}})"))["error"]["param"], "logit_bias");
  EXPECT_EQ(body_of(call(&Api::embeddings, R"({"input": [258]})"))["error"]["param"], "input");
  EXPECT_EQ(body_of(call(&Api::detokenize, R"({"tokens": [258]})"))["error"]["param"], "tokens");
}

TEST_F(ApiTest, TokenizesAndBack) {
  api.ready(loop);
  EXPECT_EQ(body_of(call(&Api::tokenize, R"({"content": "ab"})")), (Json{{"tokens", {'a', 'b'}}, {"count", 2}, {"max_model_len", 1000}}));
  EXPECT_EQ(body_of(call(&Api::tokenize, R"({"content": ""})"))["tokens"], Json::array());
  EXPECT_EQ(body_of(call(&Api::tokenize, R"({"content": "\"\u00e9", "with_pieces": true})"))["tokens"],
            (Json{{{"id", '"'}, {"piece", "\""}}, {{"id", 0xC3}, {"piece", "\uFFFD"}}, {{"id", 0xA9}, {"piece", "\uFFFD"}}}));
  EXPECT_EQ(body_of(call(&Api::tokenize, R"({"prompt": "ab", "with_pieces": true})"))["tokens"][1], (Json{{"id", 'b'}, {"piece", "b"}}));
  EXPECT_EQ(body_of(call(&Api::detokenize, R"({"tokens": [97, 98]})"))["content"], "ab");
}

TEST_F(ApiTest, EmbedsEveryInputWithLengthOne) {
  api.ready(loop);
  const auto reply = call(&Api::embeddings, R"({"input": ["a", "bc"], "pooling": "last", "encoding_format": "base64"})", 2);
  ASSERT_EQ(loop.jobs.size(), 2U);
  EXPECT_EQ(loop.jobs.at(1).request.pooling, Pooling::kLast);
  const std::vector<float> values = {3.0F, 4.0F};
  for (const EngineLoop::Id id : {2, 1}) {
    loop.jobs.at(id).request.on_embedding(values);
    loop.finish(id, FinishReason::kStop);
  }
  ASSERT_TRUE(reply->response);
  const Json response = body_of(reply);
  EXPECT_EQ(response["data"][1]["index"], 1);
  EXPECT_EQ(response["data"][0]["embedding"], "mpkZP83MTD8=");  // 0.6, 0.8
  EXPECT_EQ(response["usage"]["prompt_tokens"], 3);
}

TEST_F(ApiTest, EmbeddingsThatAreNotWantedAnyMoreAreCancelled) {
  api.ready(loop);
  const auto reply = call(&Api::embeddings, R"({"input": ["a", "b"]})", 2);
  reply->closed();
  EXPECT_EQ(loop.cancelled, (std::vector<EngineLoop::Id>{1, 2}));
  for (const EngineLoop::Id id : {1, 2}) loop.finish(id, FinishReason::kCancelled);
  EXPECT_NE(metrics.text().find("mla_requests_total{finish_reason=\"cancelled\"} 1"), std::string::npos);
  // Before its jobs were known.
  auto gone = std::make_shared<GoneReply>();
  api.embeddings({.method = "POST", .body = R"({"input": "a"})"}, gone);
  wait_for([&] { return loop.n_submitted == 3; });
  api.join();
  EXPECT_EQ(loop.cancelled.back(), 3);
}

TEST_F(ApiTest, EmbeddingsThatFailAreNoCancellations) {
  api.ready(loop);
  const auto reply = call(&Api::embeddings, R"({"input": "a"})", 1);
  loop.finish(1, FinishReason::kNone, Error::resource("no memory"));
  EXPECT_EQ(reply->response->status, 503);
  EXPECT_NE(metrics.text().find("mla_requests_total{finish_reason=\"error\"} 1"), std::string::npos);
}

TEST_F(ApiTest, PrefixesBelongToAKey) {
  EXPECT_EQ(prefix_namespace_of("", false), "");
  EXPECT_EQ(prefix_namespace_of("alice", true), "");
  EXPECT_NE(prefix_namespace_of("alice", false), "");
  EXPECT_NE(prefix_namespace_of("alice", false), prefix_namespace_of("bob", false));
  api.ready(loop);
  call(&Api::completions, R"({"prompt": "x"})", 1, "alice");
  EXPECT_EQ(loop.jobs.at(1).request.client, "alice");
  EXPECT_EQ(loop.jobs.at(1).request.prefix_namespace, prefix_namespace_of("alice", false));
  loop.finish(1, FinishReason::kStop);
}

TEST_F(ApiTest, ThePageShowsNamesAsText) {
  const auto page = call(&Api::home, "");
  EXPECT_EQ(page->response->content_type, "text/html; charset=utf-8");
  EXPECT_NE(page->response->body.find("<b>tiny</b>"), std::string::npos);
}

class HostileName : public ApiTest {
 protected:
  HostileName() : ApiTest({.model_name = "<script>\"&"}) {}
};
TEST_F(HostileName, IsEscaped) {
  EXPECT_NE(call(&Api::home, "")->response->body.find("<b>&lt;script&gt;&quot;&amp;</b>"), std::string::npos);
}

class WithDeadline : public ApiTest {
 protected:
  WithDeadline() : ApiTest({.model_name = "tiny", .request_timeout = std::chrono::seconds(1)}) {}
};
TEST_F(WithDeadline, AnAnswerThatTakesTooLongIsGivenUp) {
  api.ready(loop);
  const auto reply = call(&Api::completions, R"({"prompt": "x"})", 1);
  wait_for([&] { return reply->answered.load(); });
  EXPECT_EQ(reply->response->status, 504);
  EXPECT_EQ(loop.cancelled.size(), 1U);
}
TEST_F(WithDeadline, EmbeddingsHaveItToo) {
  api.ready(loop);
  const auto reply = call(&Api::embeddings, R"({"input": ["x", "y"]})", 2);
  wait_for([&] { return reply->answered.load(); });
  EXPECT_EQ(reply->response->status, 504);
  EXPECT_EQ(body_of(reply)["error"]["code"], "request_timeout");
  EXPECT_EQ(loop.cancelled.size(), 2U);
}

TEST(Base64, IsRfc4648s) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foob"), "Zm9vYg==");
  EXPECT_EQ(base64("\xFF\xFE\xFD"), "//79");
}

}  // namespace
}  // namespace mla::server
