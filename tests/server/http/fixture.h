#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/http/server.h"
#include "support/raw_client.h"

namespace mla::http {

using namespace std::chrono_literals;
using test::RawClient;
using test::RawResponse;

/// Waits until `condition` holds; whether it did within `wait`.
inline bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds wait = 10s) {
  const auto deadline = std::chrono::steady_clock::now() + wait;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

/// A request whose answer the test gives by hand.
class Held {
 public:
  Handler handler() {
    return [this](Request request, std::shared_ptr<Reply> reply) {
      reply->on_closed([this] {
        const std::lock_guard lock(mutex_);
        ++closed_;
      });
      const std::lock_guard lock(mutex_);
      request_ = std::move(request);
      reply_ = std::move(reply);
    };
  }
  /// The reply once a request has come; null when none comes.
  std::shared_ptr<Reply> take() {
    std::shared_ptr<Reply> reply;
    eventually([&] {
      const std::lock_guard lock(mutex_);
      reply = std::exchange(reply_, nullptr);
      return reply != nullptr;
    });
    return reply;
  }
  Request request() const {
    const std::lock_guard lock(mutex_);
    return request_;
  }
  int closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
  }

 private:
  mutable std::mutex mutex_;
  Request request_;
  std::shared_ptr<Reply> reply_;
  int closed_ = 0;
};

inline constexpr const char* kGetHeld = "GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A server on a free port with routes of every class: /livez answers "alive", /echo answers the body,
/// /id/{id} the id, /held waits for the test, /throws throws, /admin is for admins.
class ServerTest : public testing::Test {
 protected:
  void start() {
    options.port = 0;
    options.on_access = [this](const AccessRecord& record) {
      const std::lock_guard lock(mutex_);
      records_.push_back(record);
    };
    server = std::make_unique<Server>(options, routes());
    const Status started = server->start();
    ASSERT_TRUE(started.ok()) << started.error().message;
  }
  void TearDown() override { server.reset(); }

  std::vector<Route> routes() {
    const auto text = [](std::string body) {
      return [body](const Request&, const std::shared_ptr<Reply>& reply) {
        reply->send({.status = 200, .body = body, .content_type = "text/plain", .headers = {}});
      };
    };
    std::vector<Route> table = {
        {"GET", "/livez", Access::kPublic, text("alive")},
        {"POST", "/echo", Access::kKey,
         [](Request request, const std::shared_ptr<Reply>& reply) {
           reply->send({.status = 200,
                        .body = std::move(request.body),
                        .content_type = "application/json",
                        .headers = {}});
         }},
        {"GET", "/id/{id}", Access::kKey,
         [](Request request, const std::shared_ptr<Reply>& reply) {
           reply->send({.status = 200, .body = request.path_id, .content_type = "text/plain", .headers = {}});
         }},
        {"GET", "/held", Access::kKey, held.handler()},
        {"POST", "/held", Access::kKey, held.handler()},
        {"GET", "/throws", Access::kKey,
         [](const Request&, const std::shared_ptr<Reply>&) {
           throw std::runtime_error("a handler's mistake");
         }},
        {"GET", "/forgets", Access::kKey, [](const Request&, const std::shared_ptr<Reply>&) {}},
        {"GET", "/admin", Access::kAdmin, text("admin")},
    };
    for (Route& route : more_routes) table.push_back(route);
    return table;
  }
  RawClient client() const { return RawClient::tcp(server->port()); }
  /// Sends a request that waits until the test answers it, and returns its reply; the test fails where none comes.
  std::shared_ptr<Reply> hold(RawClient& c, const std::string& request = kGetHeld) {
    std::shared_ptr<Reply> reply = c.send(request) ? held.take() : nullptr;
    if (reply == nullptr) throw std::runtime_error("no request came to /held");
    return reply;
  }

  std::vector<AccessRecord> records() const {
    const std::lock_guard lock(mutex_);
    return records_;
  }

  ServerOptions options;
  std::vector<Route> more_routes;
  Held held;
  std::unique_ptr<Server> server;

 private:
  mutable std::mutex mutex_;
  std::vector<AccessRecord> records_;
};

}  // namespace mla::http
