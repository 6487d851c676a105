#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string_view>

#include "server/api/api_error.h"

namespace mla::server {

/// Keys in the order in which the client gave them: templates show them to the model.
using Json = nlohmann::ordered_json;

struct JsonLimits {
  int max_depth = 64;                  ///< of objects and arrays in each other
  size_t max_values = size_t{2} << 20; ///< scalars, objects and arrays in all
};

/// Parses a request's body, whose outermost value must be an object. Limits hold while it is read, so that no body takes
/// more memory than a small multiple of its bytes. Errors: 400 for what is no JSON, no UTF-8, too deep, has a key twice
/// in one object or a number that no double holds.
ApiResult<Json> parse_json_body(std::string_view body, const JsonLimits& limits = {});

}  // namespace mla::server
