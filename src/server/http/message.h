#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mla::http {

/// A request whose head and body have been read within the server's limits, and which may be answered.
struct Request {
  std::string method;      ///< "GET", "POST", ...
  std::string path;        ///< without the query, percent-decoded; begins with '/'
  std::string path_id;     ///< what stood for {id} in the route's pattern, percent-decoded
  std::string query;       ///< without the '?'
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case, in the order received
  std::string body;
  std::string request_id;  ///< the client's X-Request-Id where it is harmless, else one of ours
  std::string client;      ///< the name of the API key that let it in; empty when the server has no keys
  std::string peer;        ///< the client's address, for logs

  /// The first header of this name (lower case), or nothing.
  std::string_view header(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;  ///< besides those that every response carries
};

/// The answer to one request: either one send(), or begin_events(), any number of event() and end_events(). All members
/// may be called from any thread and never block: what cannot be sent at once is kept. The last owner may let go before the
/// answer is complete: the client then gets a 500 or a broken stream. Callbacks must not throw, and must not own the reply that
/// they are given to.
class Reply {
 public:
  virtual ~Reply() = default;

  virtual void send(Response response) = 0;
  /// Begins a stream of server-sent events (status 200, text/event-stream).
  virtual void begin_events() = 0;
  /// One event, `data: ...`; the data has no line breaks (JSON without indentation). Nothing happens once the client is gone.
  virtual void event(std::string data) = 0;
  virtual void end_events() = 0;

  /// Bytes that are kept because the client reads slowly. The caller pauses what it streams above a limit of its own.
  virtual size_t buffered() const = 0;
  /// Called once, on a thread of the server's, when the client is gone before the answer was complete (reset, closed, too
  /// slow); at once when it is gone already.
  virtual void on_closed(std::function<void()> callback) = 0;
  /// Called each time that everything kept has been sent.
  virtual void on_drained(std::function<void()> callback) = 0;
};

/// Answers a request; called on a thread of the server's, which it must not block. It may throw: the client gets a 500.
using Handler = std::function<void(Request request, std::shared_ptr<Reply> reply)>;

}  // namespace mla::http
