#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace mla::http {

/// A socket that listens; closed, and its path removed, with the object.
class Listener {
 public:
  /// Listens on `host`:`port`. Errors: kUsage when `host` names no address of this machine; kResource when
  /// the port is taken (the message says by which process, where /proc tells) or needs more rights.
  static Result<Listener> tcp(const std::string& host, uint16_t port);
  /// Listens at `path`, for this user only (mode 0600). A socket that a dead process left there is replaced.
  /// Errors: kUsage when the path is too long or something else is there; kResource when it is taken or not
  /// permitted.
  static Result<Listener> unix_socket(const std::string& path);

  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  int descriptor() const { return descriptor_; }
  uint16_t port() const { return port_; }
  bool loopback() const { return loopback_; }  ///< reachable from this machine only
  const std::string& address() const { return address_; }

 private:
  Listener() = default;
  int descriptor_ = -1;
  uint16_t port_ = 0;
  bool loopback_ = true;
  std::string address_;
  std::string path_;    // of a unix socket
  uint64_t inode_ = 0;  // of that path: another server's socket is not removed
};

/// The numeric address of a socket's end ("192.0.2.7", "::1"; IPv4 inside IPv6 as IPv4), or "unix".
struct SocketEnds {
  std::string peer;
  std::string local;
  bool loopback = false;  ///< of the peer's
};
SocketEnds socket_ends(int descriptor);

}  // namespace mla::http
