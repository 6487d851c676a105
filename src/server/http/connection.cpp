#include "server/http/connection.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <utility>

namespace mla::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

/// A body of this size that goes with a refused request is read and forgotten, so that the connection can go
/// on.
constexpr uint64_t kForgottenBody = 64 * 1024;
constexpr size_t kMaxLingered = 4 * 1024 * 1024;
constexpr size_t kMaxRequestId = 128;
constexpr int kClientLeft = 499;  // nginx's number for it; never sent

}  // namespace

Connection::Connection(std::shared_ptr<ConnectionOwner> owner, asio::io_context& io, int family,
                       int descriptor, Source source)
    : owner_(std::move(owner)),
      options_(owner_->options()),
      source_(std::move(source)),
      strand_(asio::make_strand(io)),
      socket_(strand_, asio::generic::stream_protocol(family, 0), descriptor),
      timer_(strand_),
      stall_timer_(strand_),
      ping_timer_(strand_) {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);  // fails on unix sockets, which need none
  socket_.set_option(asio::socket_base::send_buffer_size(static_cast<int>(options_.limits.send_buffer)),
                     ignored);
}

template <typename F>
void Connection::on_strand(F&& work) {
  asio::post(strand_, [self = shared_from_this(), work = std::forward<F>(work)] {
    if (self->phase_ != Phase::kClosed) work(*self);
  });
}

void Connection::start() {
  on_strand([](Connection& c) {
    c.begin_request();
    c.arm(Timer::kHead, c.options_.timeouts.head);
    c.read();
  });
}

void Connection::turn_away() {
  on_strand([](Connection& c) {
    c.begin_request();
    c.lingers_ = true;
    c.open_exchange(false);
    Response response = error_response(503, {.message = "the server has too many connections",
                                             .type = {},
                                             .param = {},
                                             .code = "too_many_connections"});
    response.headers.emplace_back("Retry-After", "1");
    c.exchange_->send(std::move(response));
    c.read();
  });
}

void Connection::drain() {
  on_strand([](Connection& c) {
    c.draining_ = true;
    if (c.phase_ == Phase::kLingering || c.idle_since_ != 0) c.close();
  });
}

void Connection::cut(std::chrono::milliseconds grace) {
  on_strand([grace](Connection& c) {
    c.draining_ = true;
    if (c.exchange_ == nullptr) return c.close();
    c.lingers_ = false;
    c.exchange_->break_off(
        503, {.message = "the server is shutting down", .type = {}, .param = {}, .code = "shutting_down"},
        true);
    c.arm(Timer::kCut, grace);
  });
}

void Connection::close_if_idle() {
  on_strand([](Connection& c) {
    if (c.idle_since_ != 0) c.close();
  });
}

void Connection::begin_request() {
  phase_ = Phase::kReading;
  parser_ = std::make_unique<RequestParser>(options_.limits);
  head_seen_ = false;
  verdict_ = {};
  body_bytes_ = body_bytes_before_ = 0;
  record_ = {};
  record_.peer = source_.peer;
  request_begin_ = Clock::now();
  idle_since_ = input_.empty() ? request_begin_.time_since_epoch().count() : 0;
}

// ---- Reading ----

void Connection::read() {
  if (reading_ || peer_ended_ || phase_ == Phase::kClosed) return;
  // Requests sent ahead are kept up to a head's size; more stays in the kernel until this one is answered.
  if (phase_ == Phase::kAnswering && input_.size() >= options_.limits.head) return;
  reading_ = true;
  socket_.async_read_some(
      asio::buffer(read_buffer_),
      [self = shared_from_this()](const error_code& ec, size_t n) { self->on_read(ec, n); });
}

void Connection::on_read(const error_code& ec, size_t n) {
  reading_ = false;
  if (phase_ == Phase::kClosed) return;
  if (ec) {
    peer_ended_ = true;
    const bool answer_is_complete = phase_ == Phase::kAnswering && exchange_->complete();
    if (ec != asio::error::eof || !answer_is_complete) close();
    return;
  }
  if (phase_ == Phase::kLingering) {
    lingered_ += n;
    if (lingered_ > kMaxLingered) return close();
  } else {
    input_.append(read_buffer_.data(), n);
    if (phase_ == Phase::kReading) advance();
  }
  read();
}

void Connection::advance() {
  while (phase_ == Phase::kReading && !input_.empty()) {
    if (idle_since_ != 0) {
      idle_since_ = 0;
      request_begin_ = Clock::now();
      arm(Timer::kHead, options_.timeouts.head);
    }
    const size_t taken = parser_->feed(input_);
    input_.erase(0, taken);
    if (head_seen_) body_bytes_ += taken;
    if (parser_->state() == RequestParser::State::kRefused) return refuse(parser_->refusal());
    if (parser_->state() != RequestParser::State::kHead && !head_seen_) on_head();
    if (phase_ == Phase::kReading && parser_->state() == RequestParser::State::kDone) dispatch();
  }
}

void Connection::choose_request_id(Request& request) {
  const std::string_view given = request.header("x-request-id");
  const bool harmless = !given.empty() && given.size() <= kMaxRequestId &&
                        std::all_of(given.begin(), given.end(), [](char c) { return c > ' ' && c < 0x7f; });
  request.request_id = harmless ? std::string(given) : owner_->new_request_id();
}

void Connection::on_head() {
  head_seen_ = true;
  Request& request = parser_->request();
  request.peer = source_.peer;
  choose_request_id(request);
  record_.method = request.method;
  record_.request_id = request.request_id;
  verdict_ = owner_->gate().check(request, source_);
  record_.path = request.path;
  record_.client = request.client;
  if (parser_->state() != RequestParser::State::kBody) return;

  if (verdict_.route == nullptr) {
    const std::optional<uint64_t> length = parser_->head().content_length();
    if (!length || *length > kForgottenBody || parser_->expects_continue()) {
      lingers_ = true;
      open_exchange(false);
      return exchange_->send(std::move(verdict_.response));
    }
  } else if (parser_->expects_continue() && input_.empty()) {
    // The answer before this one has left completely, so the kernel has room for a line; if not, the client
    // sends anyway soon.
    error_code ignored;
    socket_.write_some(asio::buffer("HTTP/1.1 100 Continue\r\n\r\n", 25), ignored);
  }
  body_deadline_ = Clock::now() + options_.timeouts.body;
  arm(Timer::kBody, std::min(options_.timeouts.body, options_.timeouts.body_rate_window));
}

void Connection::dispatch() {
  Request request = std::move(parser_->request());
  record_.bytes_in = request.body.size();
  open_exchange(parser_->keep_alive() && !draining_);
  if (verdict_.route == nullptr) return exchange_->send(std::move(verdict_.response));
  arm_ping_timer();
  run_handler(verdict_.route->handler, std::move(request));
}

void Connection::run_handler(const Handler& handler, Request request) {
  const auto failed = [&](const char* what) {
    if (options_.log)
      options_.log->error("handler_failed",
                          {{"request", record_.request_id}, {"path", record_.path}, {"what", what}});
    exchange_->break_off(500,
                         {.message = "the server failed on request " + record_.request_id,
                          .type = {},
                          .param = {},
                          .code = "internal_error"},
                         false);
  };
  const std::shared_ptr<Reply> reply =
      make_reply(exchange_);  // outlives what is thrown, else it would answer itself
  try {
    handler(std::move(request), reply);
  } catch (const std::exception& e) {
    failed(e.what());
  } catch (...) {
    failed("an exception of unknown type");
  }
}

void Connection::refuse(const Refusal& refusal) {
  lingers_ = true;
  open_exchange(false);
  exchange_->send(error_response(
      refusal.status, {.message = refusal.message, .type = {}, .param = {}, .code = refusal.code}));
}

// ---- Answering ----

void Connection::open_exchange(bool keep_alive) {
  phase_ = Phase::kAnswering;
  idle_since_ = 0;
  ++armed_;
  timer_.cancel();
  if (record_.request_id.empty()) record_.request_id = owner_->new_request_id();
  ExchangeOptions options;
  options.http_1_1 = parser_->head().http_1_1();
  options.keep_alive = keep_alive;
  options.without_body = record_.method == "HEAD";
  options.request_id = record_.request_id;
  options.headers = verdict_.headers;
  options.kept_limit = options_.limits.kept_answer;
  last_sent_ = Clock::now();
  exchange_ = std::make_shared<Exchange>(
      std::move(options), [self = shared_from_this()] { self->on_strand([](Connection& c) { c.flush(); }); });
}

void Connection::flush() {
  if (exchange_ == nullptr) return;
  if (exchange_->overflowed()) return reset();
  if (writing_) return;                         // comes here again when it is written
  const bool complete = exchange_->complete();  // asked first: what completes it later wakes again
  out_.clear();
  exchange_->take(out_);
  out_sent_ = 0;
  if (!out_.empty()) return write_some();
  if (complete) finish();
}

void Connection::write_some() {
  writing_ = true;
  arm_stall_timer();
  socket_.async_write_some(
      asio::buffer(out_.data() + out_sent_, out_.size() - out_sent_),
      [self = shared_from_this()](const error_code& ec, size_t n) { self->on_written(ec, n); });
}

void Connection::on_written(const error_code& ec, size_t n) {
  writing_ = false;
  if (phase_ == Phase::kClosed) return;
  if (ec) return close();
  out_sent_ += n;
  last_sent_ = Clock::now();
  exchange_->sent(n);
  if (out_sent_ < out_.size()) return write_some();
  stall_timer_.cancel();
  flush();
}

void Connection::finish() {
  const bool goes_on = exchange_->keep_alive() && !draining_ && !(peer_ended_ && input_.empty());
  report(true);
  ping_timer_.cancel();
  exchange_->close();
  exchange_.reset();
  std::string().swap(out_);  // a large answer's memory is not kept while the connection idles
  if (!goes_on) return lingers_ ? linger() : close();
  begin_request();
  arm(input_.empty() ? Timer::kIdle : Timer::kHead,
      input_.empty() ? options_.timeouts.idle : options_.timeouts.head);
  advance();
  read();
}

void Connection::linger() {
  // Closing with unread bytes resets the connection, and a reset overtakes the refusal on its way to the
  // client.
  phase_ = Phase::kLingering;
  input_.clear();
  error_code ignored;
  socket_.shutdown(asio::socket_base::shutdown_send, ignored);
  if (peer_ended_) return close();
  arm(Timer::kLinger, options_.timeouts.linger);
  read();
}

void Connection::report(bool complete) {
  record_.complete = complete;
  record_.status = exchange_->status() != 0 ? exchange_->status() : kClientLeft;
  record_.bytes_out = exchange_->bytes();
  record_.seconds = std::chrono::duration<double>(Clock::now() - request_begin_).count();
  owner_->record(record_);
}

void Connection::close() {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  idle_since_ = 0;
  if (exchange_ != nullptr) {
    report(false);
    exchange_->close();
    exchange_.reset();
  }
  timer_.cancel();
  stall_timer_.cancel();
  ping_timer_.cancel();
  error_code ignored;
  socket_.close(ignored);
  owner_->left(this);
}

void Connection::reset() {
  error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  close();
}

// ---- Time ----

void Connection::arm(Timer what, std::chrono::milliseconds after) {
  const uint64_t mine = ++armed_;
  timer_.expires_after(after);
  timer_.async_wait([self = shared_from_this(), what, mine](const error_code& ec) {
    // A timer that was set again may have fired already: its call is told by its number.
    if (!ec && mine == self->armed_ && self->phase_ != Phase::kClosed) self->on_timer(what);
  });
}

void Connection::on_timer(Timer what) {
  switch (what) {
    case Timer::kIdle:
    case Timer::kLinger:
      return close();
    case Timer::kCut:
      return reset();
    case Timer::kHead:
      if (!parser_->has_begun()) return close();
      return refuse({408, "head_timeout", "the request's head did not arrive in time"});
    case Timer::kBody:
      return check_body_rate();
  }
}

void Connection::check_body_rate() {
  const Clock::time_point now = Clock::now();
  const auto window = options_.timeouts.body_rate_window;
  const double wanted =
      static_cast<double>(options_.timeouts.body_rate) * std::chrono::duration<double>(window).count();
  const auto arrived = static_cast<double>(body_bytes_ - body_bytes_before_);
  if (now >= body_deadline_)
    return refuse({408, "body_timeout", "the request's body did not arrive in time"});
  if (arrived < wanted) return refuse({408, "body_too_slow", "the request's body arrives too slowly"});
  body_bytes_before_ = body_bytes_;
  arm(Timer::kBody, std::min(window, std::chrono::ceil<std::chrono::milliseconds>(body_deadline_ - now)));
}

void Connection::arm_stall_timer() {
  stall_timer_.expires_after(options_.timeouts.write_stall);
  stall_timer_.async_wait([self = shared_from_this()](const error_code& ec) {
    if (ec || !self->writing_ || self->stall_timer_.expiry() > Clock::now()) return;
    self->reset();
  });
}

void Connection::arm_ping_timer() {
  ping_timer_.expires_at(last_sent_ + options_.timeouts.ping);
  ping_timer_.async_wait([self = shared_from_this()](const error_code& ec) {
    if (ec || self->exchange_ == nullptr) return;
    if (Clock::now() >= self->last_sent_ + self->options_.timeouts.ping) {
      self->exchange_->ping();
      self->last_sent_ = Clock::now();
    }
    self->arm_ping_timer();
  });
}

}  // namespace mla::http
