#include "support/raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <utility>

namespace mla::test {
namespace {

using Clock = std::chrono::steady_clock;

int milliseconds_until(Clock::time_point deadline) {
  return static_cast<int>(
      std::max<int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count()));
}

std::string lowered(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

RawClient RawClient::tcp(uint16_t port, const std::string& address) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  inet_pton(AF_INET, address.c_str(), &to.sin_addr);
  const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor >= 0 && ::connect(descriptor, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    ::close(descriptor);
    return RawClient(-1);
  }
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return RawClient(descriptor);
}

RawClient RawClient::unix_socket(const std::string& path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, path.data(), std::min(path.size(), sizeof to.sun_path - 1));
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor >= 0 && ::connect(descriptor, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    ::close(descriptor);
    return RawClient(-1);
  }
  return RawClient(descriptor);
}

RawClient::RawClient(RawClient&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), input_(std::move(other.input_)) {}

RawClient& RawClient::operator=(RawClient&& other) noexcept {
  close();
  descriptor_ = std::exchange(other.descriptor_, -1);
  input_ = std::move(other.input_);
  return *this;
}

RawClient::~RawClient() {
  close();
}

void RawClient::close() {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

void RawClient::reset() {
  const linger at_once{1, 0};
  ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  close();
}

void RawClient::shut_down_sending() {
  ::shutdown(descriptor_, SHUT_WR);
}

void RawClient::set_receive_buffer(int bytes) {
  ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

bool RawClient::send(std::string_view bytes) {
  const auto deadline = Clock::now() + std::chrono::seconds(10);
  while (!bytes.empty()) {
    const ssize_t n = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR) && Clock::now() < deadline) {
      pollfd ready{descriptor_, POLLOUT, 0};
      ::poll(&ready, 1, milliseconds_until(deadline));
    } else {
      return false;
    }
  }
  return true;
}

bool RawClient::fill(Clock::time_point deadline) {
  if (!connected()) return false;
  pollfd ready{descriptor_, POLLIN, 0};
  if (::poll(&ready, 1, milliseconds_until(deadline)) <= 0) return false;
  char buffer[16384];
  const ssize_t n = ::recv(descriptor_, buffer, sizeof buffer, 0);
  if (n <= 0) return false;
  input_.append(buffer, static_cast<size_t>(n));
  return true;
}

std::string RawClient::receive_until(std::string_view end, std::chrono::milliseconds wait) {
  const auto deadline = Clock::now() + wait;
  size_t at = std::string::npos;
  while (end.empty() || (at = input_.find(end)) == std::string::npos) {
    if (!fill(deadline)) return std::exchange(input_, {});
  }
  std::string taken = input_.substr(0, at + end.size());
  input_.erase(0, taken.size());
  return taken;
}

std::string RawClient::receive_some(size_t max, std::chrono::milliseconds wait) {
  if (input_.empty()) {
    pollfd ready{descriptor_, POLLIN, 0};
    if (::poll(&ready, 1, static_cast<int>(wait.count())) <= 0) return {};
    std::string some(max, '\0');
    const ssize_t n = ::recv(descriptor_, some.data(), max, 0);
    some.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return some;
  }
  std::string some = input_.substr(0, max);
  input_.erase(0, some.size());
  return some;
}

bool RawClient::sees_close(std::chrono::milliseconds wait) {
  if (!connected()) return true;
  const auto deadline = Clock::now() + wait;
  char buffer[16384];
  while (Clock::now() < deadline) {
    pollfd ready{descriptor_, POLLIN, 0};
    if (::poll(&ready, 1, milliseconds_until(deadline)) > 0 &&
        ::recv(descriptor_, buffer, sizeof buffer, 0) <= 0)
      return true;
  }
  return false;
}

RawResponse RawClient::receive(std::chrono::milliseconds wait, bool without_body) {
  const auto deadline = Clock::now() + wait;
  const auto left = [&] { return std::chrono::milliseconds(milliseconds_until(deadline)); };
  RawResponse response;
  std::string head = receive_until("\r\n\r\n", wait);
  if (!head.ends_with("\r\n\r\n") || !head.starts_with("HTTP/1.1 ")) return response;
  response.status = std::stoi(head.substr(9, 3));
  for (size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
    const size_t end = head.find("\r\n", at), colon = head.find(": ", at);
    response.headers[lowered(head.substr(at, colon - at))] = head.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  if (without_body || response.status == 204 || response.status == 100) {
    response.complete = true;
  } else if (response.headers.contains("content-length")) {
    const size_t length = std::stoull(response.headers["content-length"]);
    while (input_.size() < length && fill(deadline)) {
    }
    response.complete = input_.size() >= length;
    response.body = input_.substr(0, length);
    input_.erase(0, length);
  } else if (response.headers.contains("transfer-encoding")) {
    for (;;) {
      const std::string line = receive_until("\r\n", left());
      if (!line.ends_with("\r\n")) break;
      const size_t size = std::stoull(line, nullptr, 16);
      while (input_.size() < size + 2 && fill(deadline)) {
      }
      if (input_.size() < size + 2) break;
      response.body += input_.substr(0, size);
      input_.erase(0, size + 2);
      response.complete = size == 0;
      if (response.complete) break;
    }
  } else {
    response.body = receive_until("", left());
    response.complete = true;
  }
  return response;
}

RawResponse RawClient::get(const std::string& path, const std::string& headers) {
  send("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n");
  return receive();
}

RawResponse RawClient::post(const std::string& path, std::string_view body, const std::string& headers) {
  send("POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers +
       "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body));
  return receive();
}

}  // namespace mla::test
