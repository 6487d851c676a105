#include "server/server.h"

#include <optional>
#include <utility>

#include "cache/page_pool.h"

namespace mla::server {
namespace {

/// What the connections' side refused by itself; the API counts what it refuses.
std::optional<Rejection> refused_by_connection(int status) {
  switch (status) {
    case 401:
      return Rejection::kUnauthorized;
    case 403:
      return Rejection::kForbidden;
    case 408:
      return Rejection::kTimeout;
    case 413:
    case 414:
    case 431:
      return Rejection::kTooLarge;
    default:
      return std::nullopt;
  }
}

DiskCacheCounts counts_of(const DiskCacheStatus& status) {
  return {.bytes = static_cast<int64_t>(status.bytes),
          .n_query_tokens = status.pages_asked * kPageRows,
          .n_hit_tokens = status.pages_loaded * kPageRows,
          .n_corrupt = status.corrupt,
          .n_errors = status.io_errors};
}

}  // namespace

Server::Server(ServerOptions options) : options_(std::move(options)), log_(options_.http.log), metrics_(options_.build) {
  api_ = std::make_unique<Api>(options_.api, metrics_, *log_);
  options_.http.on_access = [this](const http::AccessRecord& record) {
    if (const auto reason = refused_by_connection(record.status)) metrics_.request_rejected(*reason);
  };
  http_ = std::make_unique<http::Server>(options_.http, routes());
}

Server::~Server() {
  // First those who ask, then those who read, then the loop: its last words go to the API's objects, which are still there.
  http_.reset();
  api_->join();
  metrics_.set_sampler(nullptr);
  loop_.reset();
}

std::vector<http::Route> Server::routes() {
  using http::Access;
  const auto to = [this](void (Api::*member)(http::Request, Api::ReplyPtr)) -> http::Handler {
    return [api = api_.get(), member](http::Request request, std::shared_ptr<http::Reply> reply) {
      (api->*member)(std::move(request), std::move(reply));
    };
  };
  return {
      {"POST", "/v1/chat/completions", Access::kKey, to(&Api::chat_completions)},
      {"POST", "/v1/completions", Access::kKey, to(&Api::completions)},
      {"POST", "/v1/embeddings", Access::kKey, to(&Api::embeddings)},
      {"GET", "/v1/models", Access::kKey, to(&Api::list_models)},
      {"GET", "/v1/models/{id}", Access::kKey, to(&Api::show_model)},
      {"POST", "/tokenize", Access::kKey, to(&Api::tokenize)},
      {"POST", "/detokenize", Access::kKey, to(&Api::detokenize)},
      {"GET", "/version", Access::kKey, to(&Api::version)},
      {"GET", "/health", Access::kKey, to(&Api::health)},
      {"GET", "/readyz", Access::kKey, to(&Api::ready_state)},
      {"GET", "/livez", Access::kPublic, to(&Api::live)},
      {"GET", "/", Access::kPublic, to(&Api::home)},
      {"GET", "/metrics", Access::kAdmin, to(&Api::metrics)},
  };
}

Status Server::listen() { return http_->start(); }

void Server::serve(std::unique_ptr<Engine> engine, std::shared_ptr<DiskCache> disk) {
  const int64_t bytes_per_token = engine->cache().token_bytes();
  loop_ = EngineLoop::start(std::move(engine), {.max_waiting = options_.max_waiting,
                                                .on_step = [this](const StepReport& report, double seconds) { metrics_.step(report, seconds); }});
  metrics_.set_sampler([loop = loop_.get(), bytes_per_token, disk = std::move(disk)] {
    return MetricsSample{.loop = loop->status(), .page_bytes = bytes_per_token * kPageRows, .bytes_per_token = bytes_per_token,
                         .disk = disk != nullptr ? counts_of(disk->status()) : DiskCacheCounts()};
  });
  api_->ready(*loop_);
}

void Server::stop(std::chrono::milliseconds drain) {
  api_->stop_accepting();
  http_->stop(drain);
}

}  // namespace mla::server
