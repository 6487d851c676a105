#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine_loop.h"
#include "server/http/message.h"
#include "text/byte_level.h"
#include "text/tokenizer.h"

namespace mla::server {

/// One token per byte, so that a test chooses where an answer is cut. Ids 256 and 257 are the special tokens <bos> and <eos>.
inline std::shared_ptr<const Tokenizer> byte_tokenizer(const std::string& chat_template = {}) {
  Vocabulary v{.model = "gpt2", .pre = "gpt-2", .chat_template = chat_template};
  for (int b = 0; b < 256; ++b) v.tokens.emplace_back(byte_level_spelling(static_cast<uint8_t>(b)));
  v.tokens.insert(v.tokens.end(), {"<bos>", "<eos>"});
  v.kinds.assign(256, TokenKind::kNormal);
  v.kinds.insert(v.kinds.end(), 2, TokenKind::kControl);
  v.bos = 256;
  v.eos = 257;
  auto tokenizer = make_tokenizer(std::move(v));
  EXPECT_TRUE(tokenizer.ok()) << (tokenizer.ok() ? "" : tokenizer.error().message);
  return std::move(tokenizer).value();
}

/// Keeps what was answered.
class FakeReply : public http::Reply {
 public:
  void send(http::Response r) override {
    EXPECT_FALSE(response || streaming) << "answered twice";
    response = std::move(r);
    answered = true;
  }
  void begin_events() override { streaming = true; }
  void event(std::string data) override {
    EXPECT_TRUE(streaming && !ended);
    n_buffered += data.size();
    events.push_back(std::move(data));
  }
  void end_events() override {
    EXPECT_TRUE(streaming && !ended);
    ended = true;
    answered = true;
  }
  size_t buffered() const override { return n_buffered; }
  void on_closed(std::function<void()> callback) override { closed = std::move(callback); }
  void on_drained(std::function<void()> callback) override { drained = std::move(callback); }

  std::optional<http::Response> response;
  std::atomic<bool> answered = false;  ///< for tests that wait for another thread: `response` may be read
  std::vector<std::string> events;
  bool streaming = false, ended = false;
  size_t n_buffered = 0;
  std::function<void()> closed, drained;
};

/// A loop whose tokens the test gives out.
class FakeLoop : public EngineLoop {
 public:
  explicit FakeLoop(std::shared_ptr<const Model> model) : model_(std::move(model)) {}

  Result<Id> submit(Job job) override {
    if (refusal) return *refusal;
    jobs.emplace(next_id, std::move(job));
    n_submitted = next_id;
    return next_id++;
  }
  void cancel(Id id) override { cancelled.push_back(id); }
  void pause(Id id) override { paused.push_back(id); }
  void resume(Id id) override { resumed.push_back(id); }
  void run(std::function<void(Engine&)>) override { FAIL() << "there is no engine"; }
  void stop_accepting() override {}
  EngineLoopStatus status() const override { return {}; }
  int64_t max_sequence_tokens() const override { return n_context; }
  const Model& model() const override { return *model_; }

  /// Gives a job its tokens one by one; ends it with `reason`, or as stopped when it says so itself.
  void play(Id id, const std::vector<int32_t>& tokens, FinishReason reason) {
    Job& job = jobs.at(id);
    for (const int32_t token : tokens) {
      if (give(job, token)) continue;
      reason = FinishReason::kStop;
      break;
    }
    finish(id, reason);
  }
  static bool give(Job& job, int32_t token) {
    SampledToken sampled{.token = token};
    const int32_t n = job.request.sampling.n_logprobs;
    if (n >= 0) sampled.logprob = -0.5F * static_cast<float>(token % 7);
    for (int32_t i = 0; i < n; ++i) sampled.top.push_back({(token + i) % 256, -1.0F * static_cast<float>(i)});
    return job.request.on_token(sampled);
  }
  void finish(Id id, FinishReason reason, const std::optional<Error>& error = std::nullopt) {
    const SequenceStatus status{.finished = true, .reason = reason, .n_cached = n_cached};
    jobs.at(id).on_end(status, error);
    jobs.erase(id);
  }

  std::map<Id, Job> jobs;
  std::atomic<Id> n_submitted = 0;  ///< for tests that wait for another thread: so many jobs may be looked at
  std::vector<Id> cancelled, paused, resumed;
  std::optional<Error> refusal;
  int64_t n_cached = 0, n_context = 1000;
  Id next_id = 1;

 private:
  std::shared_ptr<const Model> model_;
};

inline std::vector<int32_t> bytes_of(const std::string& text) {
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
  return ids;
}

}  // namespace mla::server
