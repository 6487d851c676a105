#include "server/http/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <utility>

namespace mla::http {
namespace {

constexpr int kBacklog = 1024;

std::string numeric(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
  } else if (address.ss_family == AF_INET6) {
    const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&v6)) {
      inet_ntop(AF_INET, v6.s6_addr + 12, text, sizeof text);
    } else {
      inet_ntop(AF_INET6, &v6, text, sizeof text);
    }
  } else {
    return "unix";
  }
  return text;
}

bool is_loopback_address(const std::string& address) {
  return address == "::1" || address.starts_with("127.") || address == "unix";
}

/// The inode of the socket that listens on a port, from the kernel's tables; 0 when none is seen.
uint64_t listening_inode(uint16_t port) {
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    std::getline(file, line);  // the titles
    while (std::getline(file, line)) {
      std::istringstream fields(line);
      std::string number, local, remote, state, skip;
      uint64_t inode = 0;
      fields >> number >> local >> remote >> state >> skip >> skip >> skip >> skip >> skip >> inode;
      const size_t colon = local.rfind(':');
      if (!fields || state != "0A" || colon == std::string::npos) continue;
      if (std::strtoul(local.c_str() + colon + 1, nullptr, 16) == port) return inode;
    }
  }
  return 0;
}

/// " by process 1234 (llama-server)", as far as this user may see it.
std::string holder_of(uint16_t port) {
  const uint64_t inode = listening_inode(port);
  if (inode == 0) return "";
  const std::string wanted = fmt::format("socket:[{}]", inode);
  namespace fs = std::filesystem;
  std::error_code ec;
  for (fs::directory_iterator process("/proc", ec), end; !ec && process != end; process.increment(ec)) {
    const std::string id = process->path().filename();
    if (id.find_first_not_of("0123456789") != std::string::npos) continue;
    std::error_code unreadable;
    for (fs::directory_iterator fd(process->path() / "fd", unreadable), none; !unreadable && fd != none;
         fd.increment(unreadable)) {
      std::error_code gone;
      if (fs::read_symlink(fd->path(), gone) != wanted) continue;
      std::string name;
      std::getline(std::ifstream(process->path() / "comm"), name);
      return fmt::format(" by process {} ({})", id, name);
    }
  }
  return " by a process of another user";
}

Error bind_error(int error, const std::string& host, uint16_t port) {
  const std::string where = fmt::format("{}:{}", host, port);
  if (error == EADDRINUSE) {
    return Error::resource(fmt::format("{}: the port is taken{}; fix: stop it, or choose another with --port",
                                       where, holder_of(port)));
  }
  if (error == EACCES) {
    return Error::resource(fmt::format(
        "{}: no permission; ports below 1024 need rights that a server should not have; fix: --port 8080",
        where));
  }
  if (error == EADDRNOTAVAIL)
    return Error::usage(fmt::format("{}: not an address of this machine; fix: --host 127.0.0.1", where));
  return Error::resource(fmt::format("{}: cannot listen: {}", where, std::strerror(error)));
}

}  // namespace

Listener::Listener(Listener&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      port_(other.port_),
      loopback_(other.loopback_),
      address_(std::move(other.address_)),
      path_(std::exchange(other.path_, {})),
      inode_(other.inode_) {}

Listener::~Listener() {
  if (descriptor_ >= 0) ::close(descriptor_);
  struct stat info {};
  if (!path_.empty() && ::stat(path_.c_str(), &info) == 0 && info.st_ino == inode_) ::unlink(path_.c_str());
}

Result<Listener> Listener::tcp(const std::string& host, uint16_t port) {
  const std::string name = host == "localhost" ? "127.0.0.1" : host;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(name.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0) {
    return Error::usage(fmt::format("{}: no address: {}; fix: --host 127.0.0.1", host, gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);

  Listener listener;
  listener.descriptor_ = ::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener.descriptor_ < 0) return bind_error(errno, host, port);
  const int on = 1, off = 0;
  ::setsockopt(listener.descriptor_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (found->ai_family == AF_INET6)
    ::setsockopt(listener.descriptor_, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (::bind(listener.descriptor_, found->ai_addr, found->ai_addrlen) != 0 ||
      ::listen(listener.descriptor_, kBacklog) != 0) {
    return bind_error(errno, host, port);
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  ::getsockname(listener.descriptor_, reinterpret_cast<sockaddr*>(&bound), &size);
  listener.port_ = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                                     : reinterpret_cast<sockaddr_in&>(bound).sin_port);
  const std::string address = numeric(bound);
  listener.loopback_ = is_loopback_address(address);
  listener.address_ = address.find(':') == std::string::npos
                          ? fmt::format("http://{}:{}", address, listener.port_)
                          : fmt::format("http://[{}]:{}", address, listener.port_);
  return listener;
}

Result<Listener> Listener::unix_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error::usage(
        fmt::format("{}: a unix socket's path has at most {} bytes", path, sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto where = reinterpret_cast<const sockaddr*>(&address);

  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode))
      return Error::usage(path + ": something that is no socket is there; fix: another --unix-socket");
    const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const bool dead = probe >= 0 && ::connect(probe, where, sizeof address) != 0 && errno == ECONNREFUSED;
    if (probe >= 0) ::close(probe);
    if (!dead)
      return Error::resource(path +
                             ": a server listens there already; fix: stop it, or another --unix-socket");
    ::unlink(path.c_str());
  }

  Listener listener;
  listener.descriptor_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener.descriptor_ < 0) return Error::resource(fmt::format("{}: {}", path, std::strerror(errno)));
  // On Linux the path takes the socket's own mode, so there is no moment in which others could connect.
  ::fchmod(listener.descriptor_, S_IRUSR | S_IWUSR);
  if (::bind(listener.descriptor_, where, sizeof address) != 0 ||
      ::listen(listener.descriptor_, kBacklog) != 0) {
    return Error::resource(fmt::format("{}: cannot listen: {}", path, std::strerror(errno)));
  }
  listener.path_ = path;
  if (::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0 || ::stat(path.c_str(), &info) != 0) {
    return Error::resource(fmt::format("{}: cannot keep others out: {}", path, std::strerror(errno)));
  }
  listener.inode_ = info.st_ino;
  listener.address_ = "unix:" + path;
  return listener;
}

SocketEnds socket_ends(int descriptor) {
  sockaddr_storage peer{}, local{};
  socklen_t peer_size = sizeof peer, local_size = sizeof local;
  SocketEnds ends;
  // A client that has left already has no name any more.
  if (::getpeername(descriptor, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0)
    return {.peer = "gone", .local = {}, .loopback = false};
  ends.peer = numeric(peer);
  ends.loopback = is_loopback_address(ends.peer);
  if (peer.ss_family != AF_UNIX &&
      ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&local), &local_size) == 0)
    ends.local = numeric(local);
  return ends;
}

}  // namespace mla::http
