#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mla::http {

using Headers = std::vector<std::pair<std::string, std::string>>;

/// What the first bytes of an answer say.
struct ResponseHead {
  int status = 200;
  std::string_view content_type;
  std::optional<size_t> content_length;  ///< nothing: chunks, or on HTTP/1.0 up to the connection's end
  bool http_1_1 = true;
  bool keep_alive = true;
  std::string_view request_id;
};

/// "OK" for 200; "Unknown" for what has no phrase here.
std::string_view reason_phrase(int status);

/// The status line, the fields that every answer carries (date, request id, nosniff, CSP, ...), those of
/// `own` and `added`, and the empty line. A field of `own` takes the place of the one that every answer would
/// carry. Control characters in values become blanks: nothing that a handler passes on can begin another
/// field.
std::string response_head(const ResponseHead& head, const Headers& own, const Headers& added);

}  // namespace mla::http
