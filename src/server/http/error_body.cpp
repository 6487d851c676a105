#include "server/http/error_body.h"

#include <nlohmann/json.hpp>

namespace mla::http {

std::string_view default_error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "unavailable_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

std::string error_json(int status, const ErrorBody& error) {
  using nlohmann::json;
  const auto or_null = [](const std::string& text) { return text.empty() ? json(nullptr) : json(text); };
  const json body = {{"error",
                      {{"message", error.message},
                       {"type", error.type.empty() ? default_error_type(status) : error.type},
                       {"param", or_null(error.param)},
                       {"code", or_null(error.code)}}}};
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

Response error_response(int status, const ErrorBody& error) {
  Response response;
  response.status = status;
  response.body = error_json(status, error);
  return response;
}

}  // namespace mla::http
