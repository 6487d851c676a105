// The bytes of an HTTP request, cut into pieces.

#include <algorithm>

#include "base/utf8.h"
#include "input.h"
#include "server/http/request_parser.h"
#include "server/http/target.h"

namespace mla::http {
namespace {

/// All that a server makes of a request that it accepts, as one text; empty for one that it refuses or waits for the rest of
/// (which of the two, Beast decides by what it has in hand).
std::string read(const Limits& limits, std::string_view bytes, size_t piece) {
  RequestParser parser(limits);
  size_t taken = 0;
  const auto wants_more = [&] {
    return parser.state() == RequestParser::State::kHead || parser.state() == RequestParser::State::kBody;
  };
  while (taken < bytes.size() && wants_more()) {
    const std::string_view offered = bytes.substr(taken, piece);
    const size_t n = parser.feed(offered);
    fuzz::require(n <= offered.size(), "no more is taken than was offered");
    fuzz::require(n > 0 || !wants_more(), "a parser that wants more takes some");
    taken += n;
  }
  std::string seen = std::to_string(static_cast<int>(parser.state())) + '\n';
  fuzz::require(parser.head().head().size() <= limits.head, "the head is within its limit");
  if (parser.state() == RequestParser::State::kRefused) {
    fuzz::require(parser.refusal().status >= 400 && parser.refusal().status < 600, "a refusal is an error");
    return {};
  }
  if (parser.state() == RequestParser::State::kHead) return {};
  const Request& request = parser.request();
  fuzz::require(request.headers.size() <= limits.fields, "fields are within their limit");
  fuzz::require(request.body.size() <= limits.body, "the body is within its limit");
  seen += request.method + ' ' + request.path + '\n';
  for (const auto& [name, value] : request.headers) seen += name + ": " + value + '\n';
  seen += std::to_string(parser.keep_alive()) + std::to_string(parser.expects_continue()) + '\n';
  seen += request.body + '\n' + std::to_string(taken);
  if (const auto target = parse_target(request.path)) fuzz::require(is_utf8(target->path), "a path is UTF-8");
  return parser.state() == RequestParser::State::kDone ? seen : std::string();
}

}  // namespace
}  // namespace mla::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mla;
  fuzz::Choices choices(data, size);
  http::Limits limits;
  if (choices.next(2) == 1) {
    limits.request_line = 64;
    limits.head = 256;
    limits.fields = 4;
    limits.body = 64;
    limits.chunk_overhead = 32;
  }
  const size_t piece = 1 + choices.next(32);
  const std::string_view bytes = choices.rest();
  const std::string whole = http::read(limits, bytes, std::max<size_t>(bytes.size(), 1));
  fuzz::require(whole == http::read(limits, bytes, piece), "cuts change nothing");
  return 0;
}
