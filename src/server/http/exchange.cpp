#include "server/http/exchange.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace mla::http {
namespace {

class ReplyHandle final : public Reply {
 public:
  explicit ReplyHandle(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~ReplyHandle() override { exchange_->abandon(); }

  void send(Response response) override { exchange_->send(std::move(response)); }
  void begin_events() override { exchange_->begin_events(); }
  void event(std::string data) override { exchange_->event(data); }
  void end_events() override { exchange_->end_events(); }
  size_t buffered() const override { return exchange_->buffered(); }
  void on_closed(std::function<void()> callback) override { exchange_->on_closed(std::move(callback)); }
  void on_drained(std::function<void()> callback) override { exchange_->on_drained(std::move(callback)); }

 private:
  const std::shared_ptr<Exchange> exchange_;
};

/// Callbacks belong to others. One that throws must not take the connection, which serves on, with it.
void call(const std::function<void()>& callback) {
  if (!callback) return;
  try {
    callback();
  } catch (...) {
  }
}

}  // namespace

std::shared_ptr<Reply> make_reply(std::shared_ptr<Exchange> exchange) {
  return std::make_shared<ReplyHandle>(std::move(exchange));
}

std::string event_text(std::string_view data) {
  std::string text;
  for (size_t at = 0; at <= data.size();) {
    const size_t end = std::min(data.find_first_of("\r\n", at), data.size());
    text += "data: ";
    text += data.substr(at, end - at);
    text += '\n';
    at = end + (data.substr(end).starts_with("\r\n") ? 2 : 1);
  }
  text += '\n';
  return text;
}

Exchange::Exchange(ExchangeOptions options, std::function<void()> wake)
    : options_(std::move(options)), wake_(std::move(wake)) {}

void Exchange::append(std::string_view bytes) {
  pending_ += bytes;
  bytes_ += bytes.size();
}

void Exchange::append_send(const Response& response) {
  status_ = response.status;
  ResponseHead head;
  head.status = response.status;
  head.content_type = response.content_type;
  head.content_length = response.body.size();
  head.http_1_1 = options_.http_1_1;
  head.keep_alive = options_.keep_alive;
  head.request_id = options_.request_id;
  append(response_head(head, response.headers, options_.headers));
  if (!options_.without_body && response.status != 204) append(response.body);
  state_ = State::kComplete;
}

void Exchange::append_begin() {
  status_ = 200;
  if (!options_.http_1_1) options_.keep_alive = false;  // the end of the connection is the end of the stream
  ResponseHead head;
  head.content_type = "text/event-stream";
  head.http_1_1 = options_.http_1_1;
  head.keep_alive = options_.keep_alive;
  head.request_id = options_.request_id;
  append(response_head(head, {{"X-Accel-Buffering", "no"}}, options_.headers));
  state_ = State::kStreaming;
}

void Exchange::append_body(std::string_view bytes) {
  if (options_.without_body) return;
  if (!options_.http_1_1) return append(bytes);
  append(fmt::format("{:x}\r\n", bytes.size()));
  append(bytes);
  append("\r\n");
}

void Exchange::append_event(std::string_view data) {
  if (pending_.size() + in_flight_ > options_.kept_limit) {
    overflowed_ = true;
  } else {
    append_body(event_text(data));
  }
}

void Exchange::append_end(bool broken) {
  if (broken) {
    options_.keep_alive = false;  // without the last chunk the client sees that something is missing
  } else if (options_.http_1_1 && !options_.without_body) {
    append("0\r\n\r\n");
  }
  state_ = State::kComplete;
}

void Exchange::wake() {
  if (woken_ || !wake_) return;
  woken_ = true;
  wake_();
}

void Exchange::send(Response response) {
  const std::lock_guard lock(mutex_);
  if (closed_ || state_ != State::kWaiting) return;
  append_send(response);
  wake();
}

void Exchange::begin_events() {
  const std::lock_guard lock(mutex_);
  if (closed_ || state_ != State::kWaiting) return;
  append_begin();
  wake();
}

void Exchange::event(std::string_view data) {
  const std::lock_guard lock(mutex_);
  if (closed_ || state_ != State::kStreaming || overflowed_) return;
  append_event(data);
  wake();
}

void Exchange::end_events() {
  const std::lock_guard lock(mutex_);
  if (closed_ || state_ != State::kStreaming) return;
  append_end(false);
  wake();
}

size_t Exchange::buffered() const {
  const std::lock_guard lock(mutex_);
  return closed_ ? 0 : pending_.size() + in_flight_;
}

void Exchange::on_closed(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (!cut_) {
      if (!is_over()) on_closed_ = std::move(callback);
      return;
    }
  }
  call(callback);
}

void Exchange::on_drained(std::function<void()> callback) {
  const std::lock_guard lock(mutex_);
  if (!closed_) on_drained_ = std::move(callback);
}

void Exchange::abandon() {
  const std::lock_guard lock(mutex_);
  if (is_over()) return;
  const ErrorBody error{.message = "the server gave no complete answer to request " + options_.request_id,
                        .type = {},
                        .param = {},
                        .code = "internal_error"};
  if (state_ == State::kWaiting) {
    append_send(error_response(500, error));
  } else {
    append_event(error_json(500, error));
    append_end(true);
  }
  wake();
}

void Exchange::break_off(int status, const ErrorBody& error, bool then_close) {
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    if (is_over()) return;
    cut_ = true;
    if (then_close) options_.keep_alive = false;
    if (state_ == State::kWaiting) {
      append_send(error_response(status, error));
    } else {
      append_event(error_json(status, error));
      append_end(false);
    }
    callback = std::exchange(on_closed_, nullptr);
    wake();
  }
  call(callback);
}

void Exchange::close() {
  std::function<void()> closed, drained;  // destroyed without the lock: they may own replies
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    if (state_ == State::kComplete) on_closed_ = nullptr;
    cut_ = cut_ || state_ != State::kComplete;
    closed = std::exchange(on_closed_, nullptr);
    drained = std::exchange(on_drained_, nullptr);
    wake_ = nullptr;
  }
  call(closed);
}

void Exchange::ping() {
  const std::lock_guard lock(mutex_);
  if (closed_ || state_ != State::kStreaming || pending_.size() + in_flight_ > 0) return;
  append_body(": ping\n\n");
  wake();
}

void Exchange::take(std::string& bytes) {
  const std::lock_guard lock(mutex_);
  woken_ = false;
  in_flight_ = pending_.size();
  pending_.swap(bytes);
}

void Exchange::sent(size_t bytes) {
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    in_flight_ -= std::min(bytes, in_flight_);
    if (in_flight_ > 0 || !pending_.empty() || is_over()) return;
    callback = on_drained_;
  }
  call(callback);
}

bool Exchange::complete() const {
  const std::lock_guard lock(mutex_);
  return state_ == State::kComplete;
}

bool Exchange::overflowed() const {
  const std::lock_guard lock(mutex_);
  return overflowed_;
}

bool Exchange::keep_alive() const {
  const std::lock_guard lock(mutex_);
  return options_.keep_alive;
}

int Exchange::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

size_t Exchange::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace mla::http
