#include "server/http/request_parser.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <utility>

namespace mla::http {
namespace {

namespace beast = boost::beast;
using beast::error_code;
using beast::http::error;

/// Beast 1.74 asserts that it is offered five bytes when it looks for the end of the last chunk again. These are the
/// beginnings of a last chunk with fewer, behind which it would look again; more always follows.
bool begins_last_chunk(std::string_view bytes) {
  return bytes == "0\r\n" || bytes == "00\r\n" || bytes == "0\r\n\r";
}

/// Beast's parser, writing into a Request.
class Reader final : public beast::http::basic_parser<true> {
 public:
  Request request;

 private:
  void on_request_impl(beast::http::verb, beast::string_view method, beast::string_view target, int,
                       error_code&) override {
    request.method.assign(method.data(), method.size());
    request.path.assign(target.data(), target.size());
  }
  void on_response_impl(int, beast::string_view, int, error_code&) override {}
  void on_field_impl(beast::http::field, beast::string_view name, beast::string_view value,
                     error_code&) override {
    if (is_header_done()) return;  // a trailer: nothing that is asked of a server may come after the body
    std::string key(name.data(), name.size());
    std::transform(key.begin(), key.end(), key.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    request.headers.emplace_back(std::move(key), std::string(value.data(), value.size()));
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(beast::string_view body, error_code&) override {
    request.body.append(body.data(), body.size());
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, beast::string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view body, error_code&) override {
    request.body.append(body.data(), body.size());
    return body.size();
  }
  void on_finish_impl(error_code&) override {}
};

}  // namespace

struct RequestParser::Impl {
  explicit Impl(const Limits& given) : limits(given), screen(given) {
    reader.header_limit(static_cast<std::uint32_t>(std::max(given.head, given.chunk_overhead) + 1));
    reader.body_limit(given.body);
    reader.eager(true);
  }

  void refuse(int status, std::string code, std::string message) {
    refusal = Refusal{status, std::move(code), std::move(message)};
    state = State::kRefused;
  }
  size_t feed_head(std::string_view bytes);
  size_t feed_body(std::string_view bytes);
  size_t feed_piece(std::string_view bytes);

  const Limits limits;
  HeadScreen screen;
  Reader reader;
  State state = State::kHead;
  Refusal refusal;
  std::string rest;  // of a chunk's line or a trailer whose end has not come yet
};

RequestParser::RequestParser(const Limits& limits) : impl_(std::make_unique<Impl>(limits)) {}
RequestParser::~RequestParser() = default;

size_t RequestParser::Impl::feed_head(std::string_view bytes) {
  const size_t taken = screen.feed(bytes);
  if (screen.refusal()) {
    refusal = *screen.refusal();
    state = State::kRefused;
  } else if (screen.complete()) {
    error_code ec;
    const size_t read = reader.put({screen.head().data(), screen.head().size()}, ec);
    if (ec || read != screen.head().size() || !reader.is_header_done()) {
      refuse(400, "bad_request", "the request's head is malformed");
    } else {
      state = reader.is_done() ? State::kDone : State::kBody;
    }
  }
  return taken;
}

size_t RequestParser::Impl::feed_body(std::string_view bytes) {
  // In pieces that end one byte behind the longest line there may be, so that its limit holds however the bytes were cut.
  size_t taken = 0;
  while (taken < bytes.size() && state == State::kBody) {
    taken += feed_piece(bytes.substr(taken, limits.chunk_overhead + 1 - rest.size()));
  }
  return taken;
}

size_t RequestParser::Impl::feed_piece(std::string_view bytes) {
  // Beast takes whole lines: what it leaves is offered again together with what comes next.
  const bool joined = !rest.empty();
  if (joined) rest += bytes;
  const std::string_view offered = joined ? std::string_view(rest) : bytes;
  if (screen.chunked() && begins_last_chunk(offered)) {
    if (!joined) rest = bytes;
    return bytes.size();
  }
  error_code ec;
  const size_t read = reader.put({offered.data(), offered.size()}, ec);
  const size_t left = offered.size() - read;
  if (reader.is_done()) {
    state = State::kDone;
    return bytes.size() - left;  // what was kept before had no end, so all that is left came now
  }
  if (ec && ec != error::need_more) {
    if (ec == error::body_limit) {
      refuse(413, "body_too_large", "the body is longer than " + std::to_string(limits.body) + " bytes");
    } else {
      refuse(400, "bad_chunk", "the body's chunks are malformed");
    }
    return bytes.size();
  }
  if (left > limits.chunk_overhead) {
    refuse(400, "chunk_overhead",
           "a chunk's size line or the trailer is longer than " + std::to_string(limits.chunk_overhead) +
               " bytes");
    return bytes.size();
  }
  if (joined) {
    rest.erase(0, read);
  } else {
    rest.assign(bytes.substr(read));
  }
  return bytes.size();
}

size_t RequestParser::feed(std::string_view bytes) {
  if (bytes.empty()) return 0;
  switch (impl_->state) {
    case State::kHead:
      return impl_->feed_head(bytes);
    case State::kBody:
      return impl_->feed_body(bytes);
    default:
      return 0;
  }
}

RequestParser::State RequestParser::state() const {
  return impl_->state;
}
const Refusal& RequestParser::refusal() const {
  return impl_->refusal;
}
const HeadScreen& RequestParser::head() const {
  return impl_->screen;
}
bool RequestParser::has_begun() const {
  return !impl_->screen.empty();
}
Request& RequestParser::request() {
  return impl_->reader.request;
}
bool RequestParser::keep_alive() const {
  return impl_->reader.keep_alive();
}

bool RequestParser::expects_continue() const {
  return impl_->screen.http_1_1() &&
         equal_without_case(impl_->reader.request.header("expect"), "100-continue");
}

}  // namespace mla::http
