#pragma once

#include <string>
#include <utility>
#include <variant>

#include "base/result.h"
#include "server/http/message.h"
#include "server/metrics.h"

namespace mla::server {

/// A request that cannot be answered, as OpenAI's API tells it: {"error": {message, type, param, code}}.
struct ApiError {
  int status = 400;
  std::string type = "invalid_request_error";
  std::string message;
  std::string param;          ///< the field of the request, such as "messages[0].role"; empty: null
  std::string code;           ///< for programs: "context_length_exceeded"; empty: null
  int retry_after_seconds = 0;  ///< 0: no Retry-After

  static ApiError bad(std::string field, std::string message) { return {.message = std::move(message), .param = std::move(field)}; }
};

/// The error of a room below as the API's: kUsage is the client's fault (400), kBusy asks it to come back later (429),
/// kResource and kCancelled mean that it cannot be served now (503), the others are the server's (500).
ApiError api_error(const Error& error);
/// 503 while the model is being loaded or the server is ending.
ApiError not_available(std::string message, int retry_after_seconds);

/// What the metrics call it.
Rejection rejection_of(const ApiError& error);

/// {"error": {...}}; all four keys are always there.
std::string error_json(const ApiError& error);
http::Response error_response(const ApiError& error);

/// Either a value or an ApiError; works with MLA_TRY and MLA_ASSIGN in functions that return one.
template <typename T>
class [[nodiscard]] ApiResult {
 public:
  ApiResult(T value) : state_(std::move(value)) {}
  ApiResult(ApiError error) : state_(std::move(error)) {}

  bool ok() const { return std::holds_alternative<T>(state_); }  ///< ask before value() or error()
  T& value() & { return *std::get_if<T>(&state_); }
  const T& value() const& { return *std::get_if<T>(&state_); }
  T&& value() && { return std::move(*std::get_if<T>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const ApiError& error() const& { return *std::get_if<ApiError>(&state_); }
  ApiError&& error() && { return std::move(*std::get_if<ApiError>(&state_)); }

 private:
  std::variant<T, ApiError> state_;
};

}  // namespace mla::server
