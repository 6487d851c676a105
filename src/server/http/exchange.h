#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "server/http/error_body.h"
#include "server/http/message.h"
#include "server/http/response_head.h"

namespace mla::http {

/// What the connection knows about the request that is being answered.
struct ExchangeOptions {
  bool http_1_1 = true;
  bool keep_alive = true;     ///< another request may follow
  bool without_body = false;  ///< HEAD
  std::string request_id;
  Headers headers;        ///< for whatever the answer will be (CORS)
  size_t kept_limit = 0;  ///< bytes that a stream may keep for a slow reader
};

/// One request's answer on its way from a handler, on any thread, to the connection, on the connection's
/// strand: the bytes that wait to be sent, and who is to be told what. The connection takes bytes when it is
/// woken.
class Exchange {
 public:
  /// `wake` asks the connection, from any thread and without waiting, to call take() soon. Not called once
  /// closed().
  Exchange(ExchangeOptions options, std::function<void()> wake);

  // The handler's side.
  void send(Response response);
  void begin_events();
  void event(std::string_view data);
  void end_events();
  size_t buffered() const;
  void on_closed(std::function<void()> callback);
  void on_drained(std::function<void()> callback);
  /// The handler let go. What is not complete becomes a 500 or a broken stream.
  void abandon();

  // The connection's side.
  /// Ends an answer that will not be completed by its handler: with `status` when none has begun, with an
  /// error event otherwise. The handler is told that it is closed. `then_close`: the connection does not go
  /// on afterwards.
  void break_off(int status, const ErrorBody& error, bool then_close);
  /// Nothing more can be sent. The handler is told unless its answer was complete.
  void close();
  /// A comment for proxies that close silent connections, if this is a stream that has nothing else to send.
  void ping();
  /// Moves the bytes that wait into `bytes`, which is empty. What was taken counts as buffered until sent().
  void take(std::string& bytes);
  /// So many bytes of those taken have been sent. Tells the handler when none are left.
  void sent(size_t bytes);

  bool complete() const;    ///< all of the answer is there, though perhaps not sent
  bool overflowed() const;  ///< a stream kept more than it may
  bool keep_alive() const;  ///< the connection can go on after this answer
  int status() const;       ///< 0 before the answer has begun
  size_t bytes() const;     ///< of the answer, made so far
  const std::string& request_id() const { return options_.request_id; }

 private:
  enum class State { kWaiting, kStreaming, kComplete };

  // With the lock held.
  void append_send(const Response& response);
  void append_begin();
  void append_event(std::string_view data);
  void append_end(bool broken);
  void append_body(std::string_view bytes);  // one chunk
  void append(std::string_view bytes);
  void wake();
  bool is_over() const { return closed_ || state_ == State::kComplete; }

  ExchangeOptions options_;
  mutable std::mutex mutex_;
  std::function<void()> wake_;
  std::function<void()> on_closed_;
  std::function<void()> on_drained_;
  State state_ = State::kWaiting;
  bool closed_ = false;
  bool cut_ = false;  // closed or broken off before the handler had completed the answer
  bool woken_ = false;
  bool overflowed_ = false;
  int status_ = 0;
  size_t bytes_ = 0;
  size_t in_flight_ = 0;
  std::string pending_;
};

/// The handler's handle on an exchange. The exchange is abandoned with it.
std::shared_ptr<Reply> make_reply(std::shared_ptr<Exchange> exchange);

/// A payload as one server-sent event: a `data:` line for each of its lines, as the HTML standard has it, and
/// an empty line.
std::string event_text(std::string_view data);

}  // namespace mla::http
