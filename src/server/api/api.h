#pragma once

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/api/generation.h"
#include "server/api/planner.h"
#include "server/http/message.h"
#include "server/log.h"
#include "server/metrics.h"

namespace mla::server {

struct ApiOptions {
  std::string model_name;       ///< what clients call the model
  bool share_prefixes = false;  ///< between the clients of different keys
  bool split_reasoning = true;  ///< thoughts go to reasoning_content where a request does not say
  bool log_prompts = false;
  std::chrono::seconds request_timeout{0};  ///< 0: none
  std::string version, commit;
};

/// The routes' handlers. Until ready() those that need the model answer 503 with the progress of loading. Reading,
/// rendering and tokenising a request takes time, seconds for megabytes of text: that is done on threads of its own, not on the
/// connections'.
class Api {
 public:
  /// Both outlive it.
  Api(ApiOptions options, Metrics& metrics, Log& log);
  ~Api() { join(); }
  /// Ends the threads that read requests; what they had not begun is dropped. No request may arrive any more.
  void join();

  // State, from any thread.
  void loading(double done, double total);
  /// The loop ends after join() and before this: its last callbacks still come here.
  void ready(EngineLoop& loop);
  /// From now on new requests are answered with 503, and /readyz too.
  void stop_accepting();

  // Handlers (http::Handler).
  using Request = http::Request;
  using ReplyPtr = std::shared_ptr<http::Reply>;
  void chat_completions(Request request, ReplyPtr reply);
  void completions(Request request, ReplyPtr reply);
  void embeddings(Request request, ReplyPtr reply);
  void tokenize(Request request, ReplyPtr reply);
  void detokenize(Request request, ReplyPtr reply);
  void list_models(Request request, ReplyPtr reply);
  void show_model(Request request, ReplyPtr reply);
  void health(Request request, ReplyPtr reply);
  void live(Request request, ReplyPtr reply);
  void ready_state(Request request, ReplyPtr reply);
  void metrics(Request request, ReplyPtr reply);
  void version(Request request, ReplyPtr reply);
  void home(Request request, ReplyPtr reply);

 private:
  using Clock = std::chrono::steady_clock;
  /// What a request does once there is a model; what it throws becomes a 500.
  using Work = std::function<void(const std::shared_ptr<const ServedModel>& model, const Request& request, const ReplyPtr& reply)>;

  void with_model(Request request, ReplyPtr reply, Work work);
  void run(const ServedModel& model, ApiResult<GenerationPlan> plan, Clock::time_point arrived, const ReplyPtr& reply);
  void watch(const std::shared_ptr<Answer>& answer);
  void reject(const ApiError& error, const ReplyPtr& reply);
  void note(const Request& request, const GenerationParams& params);
  Json model_json(const ServedModel& model) const;
  Json progress_json() const;
  void watch_deadlines();

  const ApiOptions options_;
  Metrics& metrics_;
  Log& log_;

  mutable std::mutex mutex_;  ///< guards what follows
  std::shared_ptr<const ServedModel> model_;
  bool stopping_ = false;
  double loaded_ = 0.0, to_load_ = 0.0;
  std::vector<std::weak_ptr<Answer>> watched_;  ///< those that have a deadline; the next look drops those that are over
  std::set<std::string> noted_fields_;  ///< unknown fields that the log has told of

  boost::asio::thread_pool pool_{2}, pool_of_large_{1};  ///< large bodies have their own: small ones do not wait for them
  boost::asio::steady_timer deadline_timer_{pool_};
};

}  // namespace mla::server
