#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/http/keys.h"
#include "server/http/message.h"
#include "server/http/routes.h"

namespace mla::http {

/// Where a request came from, as the kernel says. What headers say about it (X-Forwarded-For, Forwarded) is
/// not believed.
struct Source {
  std::string peer;           ///< "192.0.2.7", "::1" or "unix"
  std::string local_address;  ///< the address of ours that it was sent to; empty on a unix socket
  bool local = false;         ///< over loopback or a unix socket
};

/// Decides from its head alone whether a request reaches its handler, so that a body that will be refused is
/// never read.
class Gate {
 public:
  struct Rules {
    KeyRing keys;
    std::vector<std::string>
        allowed_hosts;  ///< names besides localhost, loopback and the address connected to; "*": any
    std::vector<std::string> cors_origins;  ///< "https://app.example"; "*": any but null
  };
  Gate(Rules rules, std::vector<Route> routes);

  struct Verdict {
    const Route* route = nullptr;  ///< whose handler answers; null when `response` is the answer
    Response response;
    std::vector<std::pair<std::string, std::string>> headers;  ///< for whatever the answer will be (CORS)
  };
  /// Expects the raw target as request.path; fills in path, query, path_id and client. In this order: target
  /// (400), Host (403), a key in the query (400), Origin (403), path and method (404, 405), preflight (204),
  /// key (401, 403), expectation (417), Content-Encoding and Content-Type (415).
  Verdict check(Request& request, const Source& source) const;

  const RouteTable& routes() const { return routes_; }

 private:
  bool host_is_allowed(std::string_view host, const Source& source) const;
  enum class Cors { kNone, kSameOrigin, kAllowed, kRefused };
  Cors check_origin(const Request& request) const;
  std::optional<Response> check_access(Request& request, const Route& route, const Source& source) const;

  Rules rules_;
  RouteTable routes_;
};

}  // namespace mla::http
