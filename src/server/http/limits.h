#pragma once

#include <chrono>
#include <cstddef>

namespace mla::http {

/// What one client may make the server keep. Bytes unless said otherwise.
struct Limits {
  size_t request_line = 8 * 1024;    ///< longer: 414
  size_t head = 16 * 1024;           ///< request line and fields; longer: 431
  size_t fields = 100;               ///< more: 431
  size_t body = 8 * 1024 * 1024;     ///< longer, by Content-Length or by chunks: 413
  size_t chunk_overhead = 4 * 1024;  ///< a chunk's size line with its extensions, or the trailer; longer: 400
  size_t kept_answer = 1024 * 1024;  ///< a stream that keeps more is broken; callers pause earlier
  size_t send_buffer = 256 * 1024;   ///< the kernel's, for each connection
};

/// How long one client may make the server wait.
struct Timeouts {
  using Milliseconds = std::chrono::milliseconds;

  Milliseconds head{10'000};             ///< from the first byte of a request to the end of its head: 408
  Milliseconds body{30'000};             ///< from the head's end to the body's: 408
  Milliseconds body_rate_window{5'000};  ///< the rate of a body is looked at this often ...
  size_t body_rate = 1024;               ///< ... and must have been so many bytes a second: 408
  Milliseconds idle{15'000};             ///< between requests: closed without a word
  Milliseconds write_stall{30'000};      ///< a client that takes no byte for so long is dropped
  Milliseconds ping{15'000};             ///< a silent stream carries a comment this often, for proxies
  Milliseconds linger{2'000};            ///< how long bytes that follow a refusal are read and dropped
};

}  // namespace mla::http
