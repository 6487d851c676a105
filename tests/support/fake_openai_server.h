#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace mla::test {

/// How a request for tokens is answered.
struct FakeAnswer {
  int status = 200;
  std::string body;          ///< of another status than 200
  int ttft_ms = 0, itl_ms = 0;
  int n_tokens = -1;         ///< negative: as many as asked for
  int break_after = -1;      ///< close the connection after so many tokens
  bool error_event = false;  ///< an error event instead of the end
  bool without_done = false;
  bool usage = true;
  bool byte_by_byte = false;  ///< every byte in a write of its own
  bool raw_garbage = false;   ///< no HTTP at all
};

/// A small server with OpenAI's API on plain sockets, a thread per connection, which answers as the test says.
class FakeOpenAiServer {
 public:
  struct Options {
    std::string socket_path;    ///< listen there instead of on a free port of 127.0.0.1
    std::string required_key;   ///< 401 without it
    bool tokenizer = true;      ///< has POST /tokenize: one id for each word, 10 + its place
    std::function<FakeAnswer(int index, const nlohmann::json& request)> answer = [](int, const nlohmann::json&) { return FakeAnswer{}; };
  };

  explicit FakeOpenAiServer(Options options);
  ~FakeOpenAiServer();

  std::string url() const;
  /// Requests for tokens, in the order in which they came, and the paths they came to.
  std::vector<nlohmann::json> requests() const;
  std::vector<std::string> paths() const;
  int most_at_once() const;
  int n_connections() const { return n_connections_; }
  /// While it is true, streams of tokens stand still.
  std::atomic<bool> stalled{false};
  /// From now on connections are refused.
  void stop_listening();

 private:
  class Connection;
  FakeAnswer note_request(const std::string& path, const nlohmann::json& request);
  void accept_all();
  void count_at_once(int change);

  Options options_;
  int listener_ = -1, port_ = 0;
  std::thread acceptor_;
  mutable std::mutex mutex_;
  std::vector<std::thread> threads_;
  std::vector<int> open_;  ///< connections, to be shut down in the end
  std::vector<nlohmann::json> requests_;
  std::vector<std::string> paths_;
  int at_once_ = 0, most_at_once_ = 0;
  std::atomic<int> n_connections_{0};
};

}  // namespace mla::test
