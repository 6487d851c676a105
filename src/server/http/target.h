#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mla::http {

/// A request target in origin form, taken apart.
struct Target {
  std::vector<std::string>
      segments;       ///< percent-decoded; "/" has none, "/v1/models/a%2Fb" has {"v1", "models", "a/b"}
  std::string path;   ///< "/v1/models/a/b": the decoded segments, for people
  std::string query;  ///< as received, without the '?'
};

/// Nothing unless the target is `/segment/.../segment?query` in RFC 3986's characters. Absolute and authority
/// form, `*`, `//`,
/// `.` and `..` (encoded or not), backslashes, encoded control characters and paths that do not decode to
/// UTF-8 are nothing that a client of this server sends, but what attackers send.
std::optional<Target> parse_target(std::string_view target);

/// The percent-decoded text, or nothing when an escape is malformed.
std::optional<std::string> percent_decoded(std::string_view text);

/// Whether a query carries what looks like an API key (`api_key=...`, `access_token=...`): URLs end in logs
/// and histories.
bool query_has_key(std::string_view query);

}  // namespace mla::http
