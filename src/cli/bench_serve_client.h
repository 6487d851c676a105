#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace mla::cli {

/// Where a server listens.
struct ServerAddress {
  std::string host, port;   ///< empty for a unix socket
  std::string socket_path;  ///< of a unix socket, else empty
  std::string base;         ///< a path in front of every target, without '/' at its end
  std::string text;         ///< as the user gave it
};

/// "http://host[:port][/base]" or "unix:/path/to.sock". Errors: kUsage, for https too.
Result<ServerAddress> parse_address(const std::string& text);

/// What can go wrong with a call below HTTP's own statuses.
enum class CallFault {
  kConnect,   ///< no connection
  kTimeout,   ///< no complete answer in time
  kBroken,    ///< the connection ended before the answer did
  kProtocol,  ///< what came is not HTTP
};

struct CallError {
  CallFault fault = CallFault::kConnect;
  std::string message;
};

struct HttpReply {
  int status = 0;
  std::string body;
};

/// An HTTP/1.1 client for hundreds of calls at once on one thread: run() does everything, callbacks run inside it. Connections
/// are kept and used again.
class HttpClient {
 public:
  using Id = uint64_t;

  struct Call {
    std::string method = "POST", target, body;
    double timeout_seconds = 600.0;  ///< for the whole answer
    std::function<void(int status, double retry_after_seconds)> on_head;
    std::function<void(std::string_view bytes)> on_body;  ///< piece by piece as it comes
    /// Exactly once, unless the call is cancelled.
    std::function<void(const std::optional<CallError>& error)> on_end;
  };

  /// Errors: kFailure for a host name that cannot be resolved.
  static Result<std::unique_ptr<HttpClient>> create(const ServerAddress& address, const std::string& api_key);
  ~HttpClient();

  Id start(Call call);
  /// Closes the call's connection; its callbacks are not called again.
  void cancel(Id id);
  /// Calls `work` once, inside run().
  void after(double seconds, std::function<void()> work);
  /// Forgets everything that waits for its time, and cancels all calls.
  void cancel_all();
  /// Returns when nothing is under way any more.
  void run();
  /// One call and its whole answer. Errors: kFailure (refused, timed out, broken). Not while run() runs.
  Result<HttpReply> fetch(const std::string& method, const std::string& target, const std::string& body, double timeout_seconds);

 private:
  HttpClient();
  struct Impl;
  class Exchange;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mla::cli
