#pragma once

#include <array>
#include <atomic>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "server/http/exchange.h"
#include "server/http/gate.h"
#include "server/http/request_parser.h"
#include "server/http/server.h"

namespace mla::http {

class Connection;

/// What a connection needs of the server that it belongs to. Called on any of the server's threads.
class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  virtual const ServerOptions& options() const = 0;
  virtual const Gate& gate() const = 0;
  virtual std::string new_request_id() = 0;
  virtual void record(const AccessRecord& record) = 0;
  /// The connection is closed and will call no more.
  virtual void left(Connection* connection) = 0;
};

/// One client's connection: reads a request, has it answered, and begins again. All work happens on its
/// strand; the public members may be called from any thread.
///
/// While a request is answered the connection goes on reading, for two reasons: a next request may come
/// already (it is kept, and answered after this one), and the end of the client's stream is how its leaving
/// shows. An end that comes before the answer is complete counts as leaving, although a client that only shut
/// down its sending side could still read: the two cannot be told apart, and computing for nobody is the
/// dearer mistake. An answer that is complete is still sent.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  /// Takes over the descriptor of an accepted socket.
  Connection(std::shared_ptr<ConnectionOwner> owner, boost::asio::io_context& io, int family, int descriptor,
             Source source);

  void start();
  /// Answers 503 without reading a request, and closes.
  void turn_away();
  /// The server stops: closes as soon as no request is being read or answered.
  void drain();
  /// The drain took too long: ends the answer with an error and closes within `grace`.
  void cut(std::chrono::milliseconds grace);
  void close_if_idle();
  /// Nanoseconds of the steady clock since when no request is read or answered; 0 while one is.
  int64_t idle_since() const { return idle_since_; }

 private:
  enum class Phase { kReading, kAnswering, kLingering, kClosed };
  enum class Timer { kIdle, kHead, kBody, kLinger, kCut };
  using Clock = std::chrono::steady_clock;
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;

  template <typename F>
  void on_strand(F&& work);
  void begin_request();

  // Reading.
  void read();
  void on_read(const boost::system::error_code& ec, size_t n);
  void advance();
  void on_head();
  void choose_request_id(Request& request);
  void dispatch();
  void refuse(const Refusal& refusal);

  // Answering.
  void open_exchange(bool keep_alive);
  void run_handler(const Handler& handler, Request request);
  void flush();
  void write_some();
  void on_written(const boost::system::error_code& ec, size_t n);
  void finish();
  void linger();
  void report(bool complete);
  void close();
  void reset();  // closes so that the kernel forgets what it still holds for the client

  // Time.
  void arm(Timer what, std::chrono::milliseconds after);
  void on_timer(Timer what);
  void check_body_rate();
  void arm_stall_timer();
  void arm_ping_timer();

  const std::shared_ptr<ConnectionOwner> owner_;
  const ServerOptions& options_;
  const Source source_;
  const Strand strand_;
  boost::asio::generic::stream_protocol::socket socket_;
  boost::asio::steady_timer timer_;        // of the phase
  boost::asio::steady_timer stall_timer_;  // of the write in progress
  boost::asio::steady_timer ping_timer_;   // of the exchange

  Phase phase_ = Phase::kReading;
  bool reading_ = false;
  bool writing_ = false;
  bool peer_ended_ = false;  // no more bytes will come
  bool draining_ = false;
  bool lingers_ = false;  // the client may be sending still when the answer is complete
  uint64_t armed_ = 0;    // which setting of timer_ counts
  std::atomic<int64_t> idle_since_{0};

  std::array<char, 16 * 1024> read_buffer_;
  std::string input_;  // bytes that no request has taken yet
  std::unique_ptr<RequestParser> parser_;
  bool head_seen_ = false;
  Gate::Verdict verdict_;
  Clock::time_point body_deadline_;
  size_t body_bytes_ = 0;         // of the wire, in all
  size_t body_bytes_before_ = 0;  // at the last look at the rate
  size_t lingered_ = 0;

  std::shared_ptr<Exchange> exchange_;
  std::string out_;
  size_t out_sent_ = 0;
  Clock::time_point last_sent_;
  AccessRecord record_;
  Clock::time_point request_begin_;
};

}  // namespace mla::http
