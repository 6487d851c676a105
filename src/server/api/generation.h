#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine_loop.h"
#include "server/api/answer.h"
#include "server/api/api_error.h"
#include "server/api/choice.h"
#include "server/api/response_format.h"
#include "server/http/message.h"
#include "server/metrics.h"

namespace mla::server {

/// A stream whose client reads slowly is paused when this much waits to be sent.
inline constexpr size_t kMaxBufferedBytes = size_t{256} << 10;

struct PlannedChoice {
  mla::Request request;  ///< without on_token; max_new_tokens 0: the prompt is only echoed
  ChoiceOptions options;
  size_t prompt = 0;  ///< index among the request's prompts: choices of one prompt count its tokens once
  std::string echo;   ///< text in front of the answer
};

/// One request for text, planned.
struct GenerationPlan {
  std::vector<PlannedChoice> choices;
  size_t n_prompts = 1;
  std::unique_ptr<ResponseFormat> format;
  bool stream = false, include_usage = false;
  int32_t prompt_logprobs = -1;  ///< echo: of every prompt token and the n most probable in its place; -1: none
  std::chrono::steady_clock::time_point arrived;
};

/// A request for text while it is answered: its choices run as jobs of the loop, whose thread hands their tokens in; what
/// becomes certain is streamed or collected. Keeps itself alive until its last job has ended. The loop outlives it.
class Generation final : public Answer, public std::enable_shared_from_this<Generation> {
 public:
  static std::shared_ptr<Generation> create(EngineLoop& loop, Metrics& metrics, GenerationPlan plan, std::shared_ptr<http::Reply> reply);

  /// Hands the choices to the loop. Errors that come before the answer begins are sent with their own status.
  void start();
  void abort(ApiError error) override;
  std::chrono::steady_clock::time_point arrived() const override { return plan_.arrived; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Live {
    explicit Live(ChoiceOptions options) : choice(std::move(options)) {}
    Choice choice;
    ChoiceDelta collected;  ///< without streaming
    std::string reason;
    std::optional<Clock::time_point> last_token;
  };
  struct PromptUse {
    int64_t n_tokens = 0, n_cached = 0;
  };

  Generation(EngineLoop& loop, Metrics& metrics, GenerationPlan plan, std::shared_ptr<http::Reply> reply);

  void watch_client();
  void submit();
  bool submit_job(mla::Request request, std::function<void(const SequenceStatus&, const std::optional<Error>&)> on_end);
  void score_prompts();
  void add_prompt_token(size_t prompt, const SampledToken& token);
  void end_scoring(const SequenceStatus& status, const std::optional<Error>& error);
  bool accept(size_t index, const SampledToken& token);
  void end(size_t index, const SequenceStatus& status, const std::optional<Error>& error);
  void emit(size_t index, ChoiceDelta delta);
  void emit_beginnings();
  void close_choice(size_t index, FinishReason reason);
  void complete();
  void fail(ApiError error);
  void report(Ending ending);
  void pause_if_behind();
  void resume_all();
  void cancel_all();
  Usage usage() const;
  Timings timings() const;

  EngineLoop& loop_;
  Metrics& metrics_;
  GenerationPlan plan_;
  const std::shared_ptr<http::Reply> reply_;

  std::mutex mutex_;  ///< guards what follows: the loop's thread, and the one that starts or aborts
  std::vector<Live> live_;
  std::vector<std::vector<TokenRecord>> prompt_tokens_;  ///< [n_prompts], when their log-probabilities were asked for
  std::vector<PromptUse> prompts_;
  size_t n_open_ = 0, n_scoring_ = 0;  ///< choices, and prompts being scored, that have not ended
  bool streaming_ = false;  ///< events have begun
  bool over_ = false;       ///< everything was said that will be
  std::optional<Clock::time_point> first_token_, last_token_;
  std::optional<double> queue_seconds_, prefill_seconds_;  ///< of the first choice

  std::mutex ids_mutex_;  ///< guards the ids, so that the client's going away never waits for the answer
  std::vector<EngineLoop::Id> ids_;
  std::atomic<bool> closed_ = false, paused_ = false;
};

}  // namespace mla::server
