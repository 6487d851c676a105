#include "cli/bench_serve_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <chrono>
#include <map>
#include <set>
#include <sys/un.h>
#include <vector>

namespace mla::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Protocol = asio::generic::stream_protocol;
using Stream = beast::basic_stream<Protocol>;
using ErrorCode = beast::error_code;

constexpr uint64_t kMaxAnswer = uint64_t{256} << 20;  ///< bytes of one answer's body

std::chrono::nanoseconds duration(double seconds) {
  return std::chrono::nanoseconds(static_cast<int64_t>(std::clamp(seconds, 0.0, 1e9) * 1e9));
}

CallFault fault_of(const ErrorCode& error) {
  if (error == beast::error::timeout) return CallFault::kTimeout;
  const bool broken = error == http::error::end_of_stream || error == http::error::partial_message || error.category() == asio::error::get_misc_category() ||
                      error.category() == boost::system::system_category();
  return broken ? CallFault::kBroken : CallFault::kProtocol;
}

/// Seconds of a Retry-After header; 0 for one that is absent or a date.
double retry_after(const std::string& value) {
  int seconds = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  return error == std::errc() && seconds > 0 ? seconds : 0.0;
}

Result<std::vector<Protocol::endpoint>> resolve(asio::io_context& io, const ServerAddress& address) {
  if (!address.socket_path.empty()) return std::vector<Protocol::endpoint>{asio::local::stream_protocol::endpoint(address.socket_path)};
  asio::ip::tcp::resolver resolver(io);
  ErrorCode error;
  const auto found = resolver.resolve(address.host, address.port, error);
  if (error) return Error::failure(fmt::format("{}: host '{}' cannot be resolved: {}", address.text, address.host, error.message()));
  std::vector<Protocol::endpoint> endpoints;
  for (const auto& entry : found) endpoints.emplace_back(entry.endpoint());
  return endpoints;
}

}  // namespace

Result<ServerAddress> parse_address(const std::string& text) {
  ServerAddress address{.text = text};
  const auto refuse = [&](const char* why) {
    return Error::usage(fmt::format("--url '{}': {}; expected http://HOST:PORT or unix:/PATH", text, why));
  };
  std::string_view rest = text;
  if (rest.starts_with("unix:")) {
    address.socket_path = rest.substr(5);
    if (address.socket_path.empty()) return refuse("no path");
    if (address.socket_path.size() >= sizeof(sockaddr_un::sun_path)) return refuse("the path is too long for a socket");
    return address;
  }
  if (rest.starts_with("https:")) return refuse("https is not spoken here");
  if (!rest.starts_with("http://")) return refuse("not an address of a server");
  rest.remove_prefix(7);
  const size_t slash = std::min(rest.find('/'), rest.size());
  address.base = rest.substr(slash);
  while (address.base.ends_with('/')) address.base.pop_back();
  std::string_view authority = rest.substr(0, slash);
  const size_t host_end = authority.starts_with('[') ? std::min(authority.find(']') + 1, authority.size()) : std::min(authority.find(':'), authority.size());
  address.host = authority.substr(0, host_end);
  authority.remove_prefix(host_end);
  if (address.host.starts_with('[') && address.host.ends_with(']')) address.host = address.host.substr(1, address.host.size() - 2);
  if (address.host.empty()) return refuse("no host");
  address.port = authority.empty() ? "80" : std::string(authority.substr(1));
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(address.port.data(), address.port.data() + address.port.size(), port);
  const bool separated = authority.empty() || authority[0] == ':';
  if (!separated || error != std::errc() || end != address.port.data() + address.port.size() || port == 0) return refuse("the port is no number from 1 to 65535");
  const auto harmless = [](unsigned char c) { return c > ' ' && c < 0x7f; };
  if (!std::all_of(text.begin(), text.end(), harmless)) return refuse("a character that addresses do not have");
  return address;
}

struct HttpClient::Impl {
  asio::io_context io{1};
  ServerAddress address;
  std::string host_header, authorization;
  std::vector<Protocol::endpoint> endpoints;
  std::vector<std::unique_ptr<Stream>> idle;  ///< connections that are open and unused
  std::map<Id, std::shared_ptr<Exchange>> running;
  std::set<std::shared_ptr<asio::steady_timer>> timers;
  Id last_id = 0;
};

/// One call on its way: connect (or take an idle connection), write, read the head, read the body piece by piece.
class HttpClient::Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(Impl& client, Id id, Call call) : client_(client), id_(id), call_(std::move(call)) {
    request_.method_string(call_.method);
    request_.target(client.address.base + call_.target);
    request_.version(11);
    request_.set(http::field::host, client.host_header);
    request_.set(http::field::user_agent, "mla-bench-serve");
    request_.set(http::field::accept, "text/event-stream, application/json");
    if (!client.authorization.empty()) request_.set(http::field::authorization, client.authorization);
    if (!call_.body.empty()) request_.set(http::field::content_type, "application/json");
    request_.body() = std::move(call_.body);
    request_.prepare_payload();
  }

  void begin() {
    reused_ = !client_.idle.empty();
    if (reused_) {
      stream_ = std::move(client_.idle.back());
      client_.idle.pop_back();
      stream_->expires_after(duration(call_.timeout_seconds));
      return write();
    }
    connect(0);
  }

  void cancel() {
    cancelled_ = true;
    if (stream_) stream_->close();
  }

 private:
  /// A handler that keeps this exchange alive, and is silent once it was cancelled.
  template <class Method>
  auto then(Method method) {
    return [self = shared_from_this(), method](ErrorCode error, auto&&...) {
      if (!self->cancelled_) (self.get()->*method)(error);
    };
  }

  /// Tries the addresses of the host in order.
  void connect(size_t index) {
    stream_ = std::make_unique<Stream>(client_.io);
    stream_->expires_after(duration(call_.timeout_seconds));
    stream_->async_connect(client_.endpoints[index], [self = shared_from_this(), index](ErrorCode error) {
      if (self->cancelled_) return;
      if (error && index + 1 < self->client_.endpoints.size()) return self->connect(index + 1);
      if (error) return self->end(CallError{CallFault::kConnect, error.message()});
      ErrorCode ignored;
      if (self->client_.address.socket_path.empty()) self->stream_->socket().set_option(asio::ip::tcp::no_delay(true), ignored);
      self->write();
    });
  }

  void write() { http::async_write(*stream_, request_, then(&Exchange::written)); }

  void written(ErrorCode error) {
    // A server may answer and close before it has read everything (413): the answer counts, if there is one.
    if (error && error != asio::error::broken_pipe && error != asio::error::connection_reset) return fail(error);
    parser_.emplace();
    parser_->body_limit(kMaxAnswer);
    http::async_read_header(*stream_, buffer_, *parser_, then(&Exchange::head_read));
  }

  void head_read(ErrorCode error) {
    if (error) return fail(error);
    answered_ = true;
    if (call_.on_head) call_.on_head(parser_->get().result_int(), retry_after(parser_->get()[http::field::retry_after].to_string()));
    read();
  }

  void read() {
    if (cancelled_) return;
    if (parser_->is_done()) return body_read({});
    http::async_read_some(*stream_, buffer_, *parser_, then(&Exchange::body_read));
  }

  void body_read(ErrorCode error) {
    std::string& body = parser_->get().body();
    if (!body.empty() && call_.on_body) call_.on_body(body);
    body.clear();
    if (cancelled_) return;
    if (error) return fail(error);
    if (!parser_->is_done()) return read();
    if (parser_->get().keep_alive() && buffer_.size() == 0) {
      stream_->expires_never();
      client_.idle.push_back(std::move(stream_));
    }
    end(std::nullopt);
  }

  void fail(const ErrorCode& error) {
    // The server may close a kept connection while it lies idle; that says nothing about this call.
    if (reused_ && !answered_ && fault_of(error) == CallFault::kBroken) {
      reused_ = false;
      buffer_.clear();
      return connect(0);
    }
    end(CallError{fault_of(error), error.message()});
  }

  void end(const std::optional<CallError>& error) {
    const auto self = shared_from_this();
    client_.running.erase(id_);
    if (call_.on_end) call_.on_end(error);
  }

  Impl& client_;
  Id id_;
  Call call_;
  http::request<http::string_body> request_;
  std::unique_ptr<Stream> stream_;
  beast::flat_buffer buffer_;
  std::optional<http::response_parser<http::string_body>> parser_;
  bool reused_ = false;    ///< the connection served another call before
  bool answered_ = false;  ///< a head was read
  bool cancelled_ = false;
};

HttpClient::HttpClient() : impl_(std::make_unique<Impl>()) {}

HttpClient::~HttpClient() {
  cancel_all();
  run();
}

Result<std::unique_ptr<HttpClient>> HttpClient::create(const ServerAddress& address, const std::string& api_key) {
  std::unique_ptr<HttpClient> client(new HttpClient);
  Impl& impl = *client->impl_;
  impl.address = address;
  const bool v6 = address.host.find(':') != std::string::npos;
  impl.host_header = address.socket_path.empty() ? fmt::format("{}{}{}:{}", v6 ? "[" : "", address.host, v6 ? "]" : "", address.port) : "localhost";
  if (!api_key.empty()) impl.authorization = "Bearer " + api_key;
  MLA_ASSIGN(impl.endpoints, resolve(impl.io, address));
  return client;
}

HttpClient::Id HttpClient::start(Call call) {
  const Id id = ++impl_->last_id;
  const auto exchange = std::make_shared<Exchange>(*impl_, id, std::move(call));
  impl_->running.emplace(id, exchange);
  exchange->begin();
  return id;
}

void HttpClient::cancel(Id id) {
  const auto found = impl_->running.find(id);
  if (found == impl_->running.end()) return;
  const std::shared_ptr<Exchange> exchange = found->second;
  impl_->running.erase(found);
  exchange->cancel();
}

void HttpClient::after(double seconds, std::function<void()> work) {
  const auto timer = std::make_shared<asio::steady_timer>(impl_->io, duration(seconds));
  impl_->timers.insert(timer);
  timer->async_wait([this, timer, work = std::move(work)](ErrorCode error) {
    const bool wanted = impl_->timers.erase(timer) > 0;
    if (wanted && !error) work();
  });
}

void HttpClient::cancel_all() {
  while (!impl_->running.empty()) cancel(impl_->running.begin()->first);
  for (const auto& timer : std::exchange(impl_->timers, {})) timer->cancel();
}

void HttpClient::run() {
  impl_->io.restart();
  impl_->io.run();
}

Result<HttpReply> HttpClient::fetch(const std::string& method, const std::string& target, const std::string& body, double timeout_seconds) {
  HttpReply reply;
  std::optional<CallError> fault;
  start({.method = method, .target = target, .body = body, .timeout_seconds = timeout_seconds,
         .on_head = [&](int status, double) { reply.status = status; },
         .on_body = [&](std::string_view bytes) { reply.body += bytes; },
         .on_end = [&](const std::optional<CallError>& error) { fault = error; }});
  run();
  if (!fault) return reply;
  const char* hint = fault->fault == CallFault::kConnect ? "; is the server running there?" : fault->fault == CallFault::kProtocol ? "; is this an HTTP server?" : "";
  return Error::failure(fmt::format("{}{}: {}{}", impl_->address.text, target, fault->message, hint));
}

}  // namespace mla::cli
