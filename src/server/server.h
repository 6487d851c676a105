#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "cache/disk/disk_cache.h"
#include "engine/engine_loop.h"
#include "server/api/api.h"
#include "server/http/server.h"
#include "server/log.h"
#include "server/metrics.h"

namespace mla::server {

struct ServerOptions {
  http::ServerOptions http;
  ApiOptions api;
  int64_t max_waiting = 64;  ///< requests that are accepted and do not run yet
  BuildInfo build;
};

/// The whole server: connections, the API, the loop that runs the model, metrics. It serves from listen() on, and answers
/// what needs the model from serve() on.
class Server {
 public:
  explicit Server(ServerOptions options);
  /// Everything that still runs is ended; see stop() for an end that lets answers complete.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Errors: as http::Server::start().
  Status listen();
  std::string address() const { return http_->address(); }

  /// How far the model is, for /readyz. Any thread.
  void loading(double done, double total) { api_->loading(done, total); }
  /// The engine's model and backend must outlive this. `disk`: the store that the engine was made with, or null.
  void serve(std::unique_ptr<Engine> engine, std::shared_ptr<DiskCache> disk = nullptr);

  /// Accepts nothing new and lets answers complete for `drain`; called again: ends them now. Does not wait. Any thread.
  void stop(std::chrono::milliseconds drain);
  /// Until stop() has been carried out.
  void wait() { http_->wait(); }

 private:
  std::vector<http::Route> routes();

  ServerOptions options_;
  std::shared_ptr<Log> log_;
  Metrics metrics_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<EngineLoop> loop_;
  std::unique_ptr<http::Server> http_;
};

}  // namespace mla::server
