#include "server/http/server.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "server/http/connection.h"
#include "server/http/listener.h"

namespace mla::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using std::chrono::milliseconds;

constexpr milliseconds kAcceptPause{50};      // after a failure to accept
constexpr milliseconds kCutGrace{1000};       // for the last bytes, once the drain took too long
constexpr milliseconds kImmediateGrace{100};  // the same after a second stop()
constexpr size_t kTurnedAwayAtOnce = 64;  // refusals under way; more connections are closed without a word
constexpr int kAcceptsAtOnce = 64;
constexpr int kShedAtOnce = 4;
constexpr std::chrono::seconds kShedAfterIdle{1};

}  // namespace

struct Server::Impl final : ConnectionOwner, std::enable_shared_from_this<Server::Impl> {
  Impl(ServerOptions given, std::vector<Route> routes)
      : options_(std::move(given)),
        gate_({options_.keys, options_.allowed_hosts, options_.cors_origins}, std::move(routes)),
        id_begin_(std::random_device{}()) {}

  // ConnectionOwner
  const ServerOptions& options() const override { return options_; }
  const Gate& gate() const override { return gate_; }
  std::string new_request_id() override { return fmt::format("req-{:08x}{:08x}", id_begin_, ++ids_); }
  void record(const AccessRecord& record) override;
  void left(Connection* connection) override;

  Status start();
  void run_thread();
  void wait_for_clients();
  void accept_clients();
  bool accept_one();  // whether another may be waiting
  void admit(int descriptor, int family);
  bool shed_idle();
  void stop(milliseconds drain);
  void begin_drain(milliseconds drain);
  void cut_all(milliseconds grace);
  template <typename F>
  void for_each_connection(F&& f);

  struct Member {
    std::shared_ptr<Connection> connection;
    std::string peer;
    bool admitted = false;  // else it is being turned away
  };

  const ServerOptions options_;
  const Gate gate_;
  const uint32_t id_begin_;
  std::atomic<uint32_t> ids_{0};

  asio::io_context io_;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
  asio::strand<asio::io_context::executor_type> control_{asio::make_strand(io_)};  // listening and stopping
  asio::posix::stream_descriptor listening_{control_};
  asio::steady_timer accept_timer_{control_};
  asio::steady_timer drain_timer_{control_};
  std::optional<Listener> listener_;
  uint16_t port_ = 0;
  std::string address_;
  std::vector<std::thread> threads_;
  std::mutex join_mutex_;
  std::atomic<int> stops_{0};

  mutable std::mutex mutex_;  // guards what follows
  std::map<Connection*, Member> members_;
  std::map<std::string, size_t> per_peer_;
  size_t admitted_ = 0;
  bool stopping_ = false;
  Stats stats_;
};

// ---- Starting ----

Status Server::Impl::start() {
  Result<Listener> listener = options_.unix_socket.empty() ? Listener::tcp(options_.host, options_.port)
                                                           : Listener::unix_socket(options_.unix_socket);
  if (!listener.ok()) return std::move(listener).error();
  if (!listener->loopback() && options_.keys.empty() && !options_.insecure_no_auth) {
    return Error::usage(
        fmt::format("{}: other machines could use the model without a key; fix: --api-key-file FILE, or "
                    "--host 127.0.0.1, or "
                    "--insecure-no-auth if that is meant",
                    listener->address()));
  }
  listener_.emplace(std::move(*listener));
  port_ = listener_->port();
  address_ = listener_->address();
  if (options_.log) {
    options_.log->info("listening", {{"address", address_}, {"keys", options_.keys.size()}});
    if (!listener_->loopback() && options_.keys.empty()) {
      options_.log->warning(
          "no_authentication",
          {{"address", address_}, {"what", "anyone who reaches this address may use the model"}});
    }
  }
  listening_.assign(listener_->descriptor());
  work_.emplace(io_.get_executor());
  asio::post(control_, [this] { wait_for_clients(); });
  for (int i = 0; i < std::max(1, options_.io_threads); ++i) threads_.emplace_back([this] { run_thread(); });
  return {};
}

void Server::Impl::run_thread() {
  for (;;) {
    try {
      io_.run();
      return;
    } catch (const std::exception&
                 e) {  // out of memory in a callback of ours: that connection is lost, the server is not
      if (options_.log) options_.log->error("io_failed", {{"what", e.what()}});
    }
  }
}

// ---- Accepting ----

void Server::Impl::wait_for_clients() {
  if (!listener_) return;
  listening_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const error_code& ec) {
    if (!ec) accept_clients();
  });
}

void Server::Impl::accept_clients() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    if (!listener_) return;
    if (!accept_one()) break;
  }
  // A pause that was begun ends with a wait; else wait at once.
  if (accept_timer_.expiry() <= std::chrono::steady_clock::now()) wait_for_clients();
}

bool Server::Impl::accept_one() {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  const int descriptor = ::accept4(listener_->descriptor(), reinterpret_cast<sockaddr*>(&peer), &size,
                                   SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (descriptor >= 0) {
    admit(descriptor, peer.ss_family);
    return true;
  }
  const int error = errno;
  if (error == EINTR || error == ECONNABORTED) return true;
  if (error == EAGAIN || error == EWOULDBLOCK) return false;
  // Out of descriptors or of memory: clients wait in the kernel's queue while connections that idle make
  // room.
  const bool shed = shed_idle();
  if (options_.log)
    options_.log->warning("accept_failed", {{"what", std::strerror(error)}, {"closes_idle", shed}});
  accept_timer_.expires_after(kAcceptPause);
  accept_timer_.async_wait([this](const error_code& ec) {
    if (!ec) wait_for_clients();
  });
  return false;
}

void Server::Impl::admit(int descriptor, int family) {
  const SocketEnds ends = socket_ends(descriptor);
  Source source{ends.peer, ends.local, ends.loopback};
  std::shared_ptr<Connection> connection;
  bool admitted = false;
  {
    const std::lock_guard lock(mutex_);
    ++stats_.accepted;
    const auto peer = per_peer_.find(ends.peer);
    const bool peer_has_room =
        family == AF_UNIX || peer == per_peer_.end() || peer->second < options_.max_per_peer;
    admitted = admitted_ < options_.max_connections && peer_has_room;
    if (!admitted) ++stats_.turned_away;
    if (!admitted && members_.size() - admitted_ >= kTurnedAwayAtOnce) {
      ::close(descriptor);
      return;
    }
    try {
      connection =
          std::make_shared<Connection>(shared_from_this(), io_, family, descriptor, std::move(source));
    } catch (const std::exception& e) {  // the kernel watches no more descriptors, or memory is short
      if (options_.log) options_.log->error("admit_failed", {{"what", e.what()}});
      ::close(descriptor);
      return;
    }
    members_[connection.get()] = {connection, ends.peer, admitted};
    if (admitted) {
      ++admitted_;
      ++per_peer_[ends.peer];
    }
  }
  if (admitted) {
    connection->start();
  } else {
    connection->turn_away();
  }
}

void Server::Impl::left(Connection* connection) {
  const std::lock_guard lock(mutex_);
  const auto member = members_.find(connection);
  if (member->second.admitted) {
    --admitted_;
    const auto peer = per_peer_.find(member->second.peer);
    if (--peer->second == 0) per_peer_.erase(peer);
  }
  members_.erase(member);  // its callers on the strand hold it until they return
  if (stopping_ && members_.empty()) {
    asio::post(control_, [this] {
      drain_timer_.cancel();
      work_.reset();
    });
  }
}

/// Asks the connections that have idled longest to close.
bool Server::Impl::shed_idle() {
  const int64_t latest = (std::chrono::steady_clock::now() - kShedAfterIdle).time_since_epoch().count();
  std::multimap<int64_t, std::shared_ptr<Connection>> idle;
  for_each_connection([&](const std::shared_ptr<Connection>& connection) {
    const int64_t since = connection->idle_since();
    if (since != 0 && since < latest) idle.emplace(since, connection);
  });
  int shed = 0;
  for (auto it = idle.begin(); it != idle.end() && shed < kShedAtOnce; ++it, ++shed)
    it->second->close_if_idle();
  return shed > 0;
}

template <typename F>
void Server::Impl::for_each_connection(F&& f) {
  std::vector<std::shared_ptr<Connection>> connections;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, member] : members_) connections.push_back(member.connection);
  }
  for (const std::shared_ptr<Connection>& connection : connections) f(connection);
}

void Server::Impl::record(const AccessRecord& r) {
  if (options_.log) {
    options_.log->info("request", {{"id", r.request_id},
                                   {"method", r.method},
                                   {"path", r.path},
                                   {"status", r.status},
                                   {"bytes_in", r.bytes_in},
                                   {"bytes_out", r.bytes_out},
                                   {"seconds", r.seconds},
                                   {"peer", r.peer},
                                   {"client", r.client},
                                   {"complete", r.complete}});
  }
  if (!options_.on_access) return;
  try {
    options_.on_access(r);
  } catch (const std::exception& e) {
    if (options_.log) options_.log->error("on_access_failed", {{"what", e.what()}});
  }
}

// ---- Stopping ----

void Server::Impl::stop(milliseconds drain) {
  const int earlier = stops_++;
  asio::post(control_, [this, earlier, drain] {
    if (earlier == 0) {
      begin_drain(drain);
    } else {
      cut_all(kImmediateGrace);
    }
  });
}

void Server::Impl::begin_drain(milliseconds drain) {
  listening_.release();  // the listener closes it
  listener_.reset();
  accept_timer_.cancel();
  bool none = false;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    none = members_.empty();
  }
  if (none) return work_.reset();
  for_each_connection([](const std::shared_ptr<Connection>& connection) { connection->drain(); });
  drain_timer_.expires_after(drain);
  drain_timer_.async_wait([this](const error_code& ec) {
    if (!ec) cut_all(kCutGrace);
  });
}

void Server::Impl::cut_all(milliseconds grace) {
  for_each_connection([grace](const std::shared_ptr<Connection>& connection) { connection->cut(grace); });
}

// ---- Server ----

Server::Server(ServerOptions options, std::vector<Route> routes)
    : impl_(std::make_shared<Impl>(std::move(options), std::move(routes))) {}

Server::~Server() {
  stop(milliseconds(0));
  stop(milliseconds(0));
  wait();
}

Status Server::start() {
  return impl_->start();
}
uint16_t Server::port() const {
  return impl_->port_;
}
std::string Server::address() const {
  return impl_->address_;
}
void Server::stop(milliseconds drain) {
  impl_->stop(drain);
}
const std::vector<Route>& Server::routes() const {
  return impl_->gate_.routes().routes();
}

void Server::wait() {
  const std::lock_guard lock(impl_->join_mutex_);
  for (std::thread& thread : impl_->threads_) thread.join();
  impl_->threads_.clear();
}

Server::Stats Server::stats() const {
  const std::lock_guard lock(impl_->mutex_);
  Stats stats = impl_->stats_;
  stats.connections = impl_->members_.size();
  return stats;
}

}  // namespace mla::http
