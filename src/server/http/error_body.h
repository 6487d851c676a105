#pragma once

#include <string>
#include <string_view>

#include "server/http/message.h"

namespace mla::http {

/// What went wrong, in OpenAI's terms. `type` may stay empty: it then follows from the status
/// (default_error_type).
struct ErrorBody {
  std::string message;
  std::string type;
  std::string param;  ///< the request's field; null in JSON when empty
  std::string code;   ///< for programs; null in JSON when empty
};

/// invalid_request_error (4xx), authentication_error (401), permission_error (403), not_found_error (404),
/// rate_limit_error (429), unavailable_error (503), server_error (other 5xx).
std::string_view default_error_type(int status);

/// {"error":{"message":...,"type":...,"param":...,"code":...}}: all four keys, as OpenAI's specification
/// requires. Bytes that are no UTF-8 become U+FFFD.
std::string error_json(int status, const ErrorBody& error);

/// A whole response with that body.
Response error_response(int status, const ErrorBody& error);

}  // namespace mla::http
