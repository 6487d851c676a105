#include "server/api/api_error.h"

#include "base/utf8.h"
#include "server/http/error_body.h"

namespace mla::server {
namespace {

/// Messages may quote what the client or a file said, which can be as long as a body.
std::string shortened(const std::string& text) {
  constexpr size_t kMost = 1024;
  if (text.size() <= kMost) return text;
  size_t length = kMost;
  while (length > kMost - 4 && !next_utf8(std::string_view(text).substr(length)).valid) --length;  // not inside a character
  return text.substr(0, length) + "...";
}

}  // namespace

ApiError api_error(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kUsage:
      return {.message = error.message};
    case ErrorKind::kBusy:
      return {.status = 429, .type = "rate_limit_error", .message = error.message, .code = "queue_full", .retry_after_seconds = 1};
    case ErrorKind::kResource:
      return {.status = 503, .type = "unavailable_error", .message = error.message, .code = "out_of_resources", .retry_after_seconds = 5};
    case ErrorKind::kCancelled:
      return {.status = 503, .type = "unavailable_error", .message = error.message, .code = "cancelled", .retry_after_seconds = 1};
    case ErrorKind::kInvalidFile:
    case ErrorKind::kFailure:
      break;
  }
  return {.status = 500, .type = "server_error", .message = error.message, .code = "internal_error"};
}

ApiError not_available(std::string message, int retry_after_seconds) {
  return {.status = 503, .type = "unavailable_error", .message = std::move(message), .code = "unavailable",
          .retry_after_seconds = retry_after_seconds};
}

Rejection rejection_of(const ApiError& error) {
  if (error.status == 429) return Rejection::kQueueFull;
  return error.status < 500 ? Rejection::kInvalid : Rejection::kUnavailable;
}

std::string error_json(const ApiError& error) {
  return http::error_json(error.status, {.message = shortened(error.message), .type = error.type, .param = shortened(error.param), .code = error.code});
}

http::Response error_response(const ApiError& error) {
  http::Response response{.status = error.status, .body = error_json(error)};
  if (error.retry_after_seconds > 0) response.headers.emplace_back("Retry-After", std::to_string(error.retry_after_seconds));
  return response;
}

}  // namespace mla::server
