#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/http/gate.h"
#include "server/http/keys.h"
#include "server/http/limits.h"
#include "server/http/message.h"
#include "server/http/routes.h"
#include "server/log.h"

namespace mla::http {

/// One request as the access log and the metrics see it. No bodies, no queries, no keys.
struct AccessRecord {
  std::string method;
  std::string path;
  std::string request_id;
  std::string peer;
  std::string client;     ///< the key's name
  int status = 0;         ///< 499: the client left before an answer had begun
  size_t bytes_in = 0;    ///< of the body
  size_t bytes_out = 0;   ///< head and body
  double seconds = 0;     ///< from the end of the head to the last byte sent
  bool complete = false;  ///< the whole answer was sent
};

struct ServerOptions {
  std::string host = "127.0.0.1";  ///< a name or an address; "::" listens on IPv4 too
  uint16_t port = 8080;            ///< 0: any free port, see Server::port()
  std::string unix_socket;         ///< when given, listens at this path (mode 0600) and not on the network
  bool insecure_no_auth = false;   ///< listen beyond loopback without keys
  KeyRing keys;
  std::vector<std::string> allowed_hosts;  ///< see Gate::Rules
  std::vector<std::string> cors_origins;   ///< see Gate::Rules

  Limits limits;
  Timeouts timeouts;
  size_t max_connections = 256;  ///< more are turned away with 503 and Retry-After
  size_t max_per_peer = 32;      ///< of one address; not counted on a unix socket
  int io_threads = 1;

  std::shared_ptr<Log> log;                            ///< may be null
  std::function<void(const AccessRecord&)> on_access;  ///< besides the log; on a thread of the server's
};

/// An HTTP/1.1 server: listens, reads requests within limits, lets the Gate decide, calls handlers, sends
/// answers and streams. Members may be called from any thread.
class Server {
 public:
  Server(ServerOptions options, std::vector<Route> routes);
  /// As stop() twice and wait().
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Binds and begins to serve. Errors: kUsage when the address lies beyond loopback and there are neither
  /// keys nor insecure_no_auth, or names nothing; kResource when it is taken (and by whom) or not permitted.
  Status start();

  uint16_t port() const;        ///< that is listened on; 0 on a unix socket
  std::string address() const;  ///< "http://127.0.0.1:8080" or "unix:/path"

  /// The first call stops accepting, closes idle connections, and lets answers complete for `drain`; then
  /// streams end with an error event and other requests with 503. A second call cuts this short. Does not
  /// wait.
  void stop(std::chrono::milliseconds drain = std::chrono::seconds(30));
  /// Until every connection is closed after stop(). Not from a handler.
  void wait();

  struct Stats {
    size_t connections = 0;    ///< open now
    uint64_t accepted = 0;     ///< since the start
    uint64_t turned_away = 0;  ///< for want of a place
  };
  Stats stats() const;
  const std::vector<Route>& routes() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace mla::http
