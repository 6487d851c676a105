#include "support/fake_openai_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <sstream>
#include <stdexcept>

namespace mla::test {
namespace {

using Json = nlohmann::json;

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

int listen_on(const std::string& socket_path) {
  const int fd = ::socket(socket_path.empty() ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in inet{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  sockaddr_un local{.sun_family = AF_UNIX, .sun_path = {}};
  std::strncpy(local.sun_path, socket_path.c_str(), sizeof(local.sun_path) - 1);
  const auto* address = socket_path.empty() ? reinterpret_cast<const sockaddr*>(&inet) : reinterpret_cast<const sockaddr*>(&local);
  const socklen_t size = socket_path.empty() ? sizeof(inet) : sizeof(local);
  if (fd < 0 || ::bind(fd, address, size) != 0 || ::listen(fd, 256) != 0) throw std::runtime_error("the fake server cannot listen");
  return fd;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

int words_of(const std::string& text) {
  std::istringstream words(text);
  int n = 0;
  for (std::string word; words >> word;) ++n;
  return n;
}

int n_prompt_tokens(const Json& request) {
  if (request.contains("messages")) return words_of(request["messages"][0]["content"]);
  return request["prompt"].is_array() ? static_cast<int>(request["prompt"].size()) : words_of(request["prompt"]);
}

}  // namespace

/// One connection: requests one after the other until somebody closes.
class FakeOpenAiServer::Connection {
 public:
  Connection(FakeOpenAiServer& server, int fd) : server_(server), fd_(fd) {}

  void serve() {
    while (read_request() && respond()) {
    }
  }

 private:
  bool write(const std::string& bytes) const {
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t n = ::send(fd_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
      if (n <= 0) return false;
      at += static_cast<size_t>(n);
    }
    return true;
  }

  bool read_request() {
    size_t head_end = 0;
    while ((head_end = kept_.find("\r\n\r\n")) == std::string::npos) {
      if (!read_more()) return false;
    }
    head_ = kept_.substr(0, head_end);
    const std::string fields = lower(head_);
    const size_t length_at = fields.find("content-length: ");
    const size_t length = length_at == std::string::npos ? 0 : std::stoul(fields.substr(length_at + 16));
    while (kept_.size() < head_end + 4 + length) {
      if (!read_more()) return false;
    }
    body_ = kept_.substr(head_end + 4, length);
    kept_.erase(0, head_end + 4 + length);
    return true;
  }

  bool read_more() {
    char buffer[4096];
    const ssize_t n = ::recv(fd_, buffer, sizeof(buffer), 0);
    if (n > 0) kept_.append(buffer, static_cast<size_t>(n));
    return n > 0;
  }

  bool send_json(int status, const std::string& json) const {
    return write(fmt::format("HTTP/1.1 {} X\r\nContent-Type: application/json\r\nRetry-After: 0\r\nContent-Length: {}\r\n\r\n{}", status, json.size(), json));
  }

  bool respond() {
    const std::string& key = server_.options_.required_key;
    const std::string path = head_.substr(head_.find(' ') + 1, head_.find(' ', head_.find(' ') + 1) - head_.find(' ') - 1);
    if (!key.empty() && head_.find("Authorization: Bearer " + key + "\r\n") == std::string::npos && !head_.ends_with("Authorization: Bearer " + key))
      return send_json(401, R"({"error":{"message":"invalid API key","type":"authentication_error","param":null,"code":null}})");
    if (path == "/v1/models") return send_json(200, R"({"object":"list","data":[{"id":"fake-model","object":"model"}]})");
    if (path == "/tokenize" && server_.options_.tokenizer) {
      Json ids = Json::array();
      const int n = words_of(Json::parse(body_)["content"]);
      for (int i = 0; i < n; ++i) ids.push_back(10 + i);
      return send_json(200, Json{{"tokens", ids}}.dump());
    }
    if (path != "/v1/completions" && path != "/v1/chat/completions") return send_json(404, R"({"error":{"message":"no such route"}})");
    server_.count_at_once(1);
    const bool go_on = answer_tokens(path);
    server_.count_at_once(-1);
    return go_on;
  }

  bool answer_tokens(const std::string& path) {
    const Json request = Json::parse(body_);
    answer_ = server_.note_request(path, request);
    if (answer_.raw_garbage) {
      write("220 smtp.example.org ready\r\n\r\n");
      return false;
    }
    if (answer_.status != 200) return send_json(answer_.status, answer_.body);
    chat_ = path == "/v1/chat/completions";
    const int n = answer_.n_tokens >= 0 ? answer_.n_tokens : request["max_tokens"].get<int>();
    if (!write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")) return false;
    if (!stream(n)) return false;
    return finish(n_prompt_tokens(request), n) && write("0\r\n\r\n");
  }

  bool stream(int n_tokens) {
    if (chat_ && !event(R"({"choices":[{"delta":{"role":"assistant","content":""}}],"usage":null})")) return false;
    sleep_ms(answer_.ttft_ms);
    for (int i = 0; i < n_tokens; ++i) {
      if (i > 0) sleep_ms(answer_.itl_ms);
      while (server_.stalled && i > 0) sleep_ms(1);
      if (i == answer_.break_after) return false;
      // A text that looks like what the client looks for.
      const std::string text = i % 2 == 0 ? "w" : "\\\"text\\\": \\\"\\\",";
      const bool sent = event(chat_ ? fmt::format("{{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}],\"usage\":null}}", text)
                                    : fmt::format("{{\"choices\":[{{\"index\":0,\"text\":\"{}\",\"finish_reason\":null}}],\"usage\":null}}", text));
      if (!sent) return false;
    }
    return true;
  }

  bool finish(int n_prompt, int n_tokens) {
    if (answer_.error_event) return event(R"({"error":{"message":"the engine broke","type":"server_error"}})");
    if (!event(R"({"choices":[{"index":0,"text":"","delta":{},"finish_reason":"length"}],"usage":null})")) return false;
    if (answer_.usage && !event(Json{{"choices", Json::array()}, {"usage", {{"prompt_tokens", n_prompt}, {"completion_tokens", n_tokens},
                                     {"prompt_tokens_details", {{"cached_tokens", 1}}}}}}.dump())) return false;
    return answer_.without_done || send_event("data: [DONE]");
  }

  bool event(const std::string& json) const { return send_event("data: " + json); }

  bool send_event(const std::string& line) const {
    if (!answer_.byte_by_byte) return write(chunk(line + "\n\n"));
    // As another server might: comments, other fields, \r\n, no space after the colon, and cut at every byte.
    const std::string text = ": ping\r\nevent: message\r\ndata:" + line.substr(6) + "\r\n\r\n";
    return std::all_of(text.begin(), text.end(), [&](char c) { return write(chunk(std::string(1, c))); });
  }
  static std::string chunk(const std::string& bytes) { return fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes); }

  FakeOpenAiServer& server_;
  int fd_;
  std::string kept_, head_, body_;
  FakeAnswer answer_;
  bool chat_ = false;
};

FakeOpenAiServer::FakeOpenAiServer(Options options) : options_(std::move(options)), listener_(listen_on(options_.socket_path)) {
  sockaddr_in bound{};
  socklen_t size = sizeof(bound);
  if (options_.socket_path.empty() && ::getsockname(listener_, reinterpret_cast<sockaddr*>(&bound), &size) == 0) port_ = ntohs(bound.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

FakeOpenAiServer::~FakeOpenAiServer() {
  stalled = false;
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
  for (const int fd : open_) ::close(fd);
  ::close(listener_);
}

void FakeOpenAiServer::accept_all() {
  for (;;) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ++n_connections_;
    const std::lock_guard lock(mutex_);
    open_.push_back(fd);
    threads_.emplace_back([this, fd] {
      Connection(*this, fd).serve();
      ::shutdown(fd, SHUT_RDWR);
    });
  }
}

void FakeOpenAiServer::stop_listening() {
  ::shutdown(listener_, SHUT_RDWR);
  const std::lock_guard lock(mutex_);
  for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
}

FakeAnswer FakeOpenAiServer::note_request(const std::string& path, const Json& request) {
  int index = 0;
  {
    const std::lock_guard lock(mutex_);
    index = static_cast<int>(requests_.size());
    requests_.push_back(request);
    paths_.push_back(path);
  }
  return options_.answer(index, request);
}

void FakeOpenAiServer::count_at_once(int change) {
  const std::lock_guard lock(mutex_);
  at_once_ += change;
  most_at_once_ = std::max(most_at_once_, at_once_);
}

int FakeOpenAiServer::most_at_once() const {
  const std::lock_guard lock(mutex_);
  return most_at_once_;
}

std::string FakeOpenAiServer::url() const {
  return options_.socket_path.empty() ? fmt::format("http://127.0.0.1:{}", port_) : "unix:" + options_.socket_path;
}

std::vector<Json> FakeOpenAiServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::vector<std::string> FakeOpenAiServer::paths() const {
  const std::lock_guard lock(mutex_);
  return paths_;
}

}  // namespace mla::test
