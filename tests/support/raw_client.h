#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace mla::test {

/// An answer as it came over the wire.
struct RawResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;                            ///< without the chunks' framing
  bool complete = false;  ///< all that Content-Length or the last chunk promised has come
};

/// A TCP or unix-socket client that sends whatever bytes it is told to, for tests of servers. Every wait ends
/// after some seconds, so that a server that hangs fails its test.
class RawClient {
 public:
  static RawClient tcp(uint16_t port, const std::string& address = "127.0.0.1");
  static RawClient unix_socket(const std::string& path);
  RawClient(RawClient&& other) noexcept;
  RawClient& operator=(RawClient&& other) noexcept;
  ~RawClient();

  bool connected() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }
  /// Whether the kernel took all of it.
  bool send(std::string_view bytes);
  /// One answer; not `complete` when the server closes or `wait` passes before. `without_body`: the answer to
  /// HEAD.
  RawResponse receive(std::chrono::milliseconds wait = std::chrono::seconds(10), bool without_body = false);
  /// What has come by the time that `end` is in it, the server closes, or `wait` passes.
  std::string receive_until(std::string_view end, std::chrono::milliseconds wait = std::chrono::seconds(10));
  /// At most `max` bytes, as soon as there are some; nothing when none come within `wait` or the server has
  /// closed.
  std::string receive_some(size_t max, std::chrono::milliseconds wait);
  /// Whether the server closes (or resets) within `wait`; what it still sends is dropped.
  bool sees_close(std::chrono::milliseconds wait = std::chrono::seconds(10));

  void shut_down_sending();
  void reset();  ///< closes with RST
  void close();
  void set_receive_buffer(int bytes);

  /// send() and receive() of a request without a body.
  RawResponse get(const std::string& path, const std::string& headers = "");
  RawResponse post(const std::string& path, std::string_view body,
                   const std::string& headers = "Content-Type: application/json\r\n");

 private:
  explicit RawClient(int descriptor) : descriptor_(descriptor) {}
  bool fill(std::chrono::steady_clock::time_point deadline);  // appends to input_; false at the end

  int descriptor_ = -1;
  std::string input_;
};

}  // namespace mla::test
