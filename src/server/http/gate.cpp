#include "server/http/gate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "server/http/error_body.h"
#include "server/http/head_screen.h"

namespace mla::http {
namespace {

Response refuse(int status, std::string code, std::string message) {
  return error_response(status,
                        {.message = std::move(message), .type = {}, .param = {}, .code = std::move(code)});
}

bool all_digits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// "name", "name:80" or "[::1]:80" without the port; empty when it is none of these.
std::string_view host_without_port(std::string_view host) {
  size_t end = host.find(':');
  if (host.starts_with('[')) {
    const size_t bracket = host.find(']');
    if (bracket == std::string_view::npos) return {};
    end = bracket + 1;
  }
  if (end >= host.size()) return host;
  const std::string_view port = host.substr(end + 1);
  if (host[end] != ':' || port.size() > 5 || !all_digits(port)) return {};
  return host.substr(0, end);
}

bool is_loopback_name(std::string_view name) {
  if (equal_without_case(name, "localhost") || name == "[::1]") return true;
  if (!name.starts_with("127.")) return false;
  int dots = 0;
  for (const char c : name) {
    if (c == '.') {
      ++dots;
    } else if (c < '0' || c > '9') {
      return false;
    }
  }
  return dots == 3;
}

bool contains(const std::vector<std::string>& list, std::string_view wanted) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& entry) {
    return entry == "*" || equal_without_case(entry, wanted);
  });
}

size_t count_headers(const Request& request, std::string_view name) {
  return static_cast<size_t>(std::count_if(request.headers.begin(), request.headers.end(),
                                           [&](const auto& h) { return h.first == name; }));
}

bool is_json(std::string_view content_type) {
  return equal_without_case(without_blanks(content_type.substr(0, content_type.find(';'))),
                            "application/json");
}

/// 415 for bodies that are not plain JSON. That browsers cannot send this type without asking first (CORS
/// preflight) also keeps other sites' forms away.
std::optional<Response> check_body_type(const Request& request, const Route& route) {
  const std::string_view encoding = request.header("content-encoding");
  if (!encoding.empty() && !equal_without_case(encoding, "identity")) {
    return refuse(415, "content_encoding",
                  "compressed bodies are not read; send the body as it is, without Content-Encoding");
  }
  if ((route.method == "POST" || route.method == "PUT" || route.method == "PATCH") &&
      !is_json(request.header("content-type"))) {
    return refuse(415, "content_type", "expected Content-Type: application/json");
  }
  return std::nullopt;
}

/// The answer to OPTIONS: what the path takes and, to a page of an allowed origin, what it may send.
Response options_response(const Request& request, const std::vector<std::string>& allowed,
                          bool cross_origin) {
  Response response;
  response.status = 204;
  const std::string methods = fmt::format("{}", fmt::join(allowed, ", "));
  response.headers.emplace_back("Allow", methods);
  if (cross_origin && !request.header("access-control-request-method").empty()) {
    response.headers.emplace_back("Access-Control-Allow-Methods", methods);
    const std::string_view wanted = request.header("access-control-request-headers");
    const bool plain = std::all_of(wanted.begin(), wanted.end(),
                                   [](char c) { return is_token_character(c) || c == ',' || c == ' '; });
    response.headers.emplace_back(
        "Access-Control-Allow-Headers",
        plain && !wanted.empty() ? std::string(wanted) : "authorization, content-type, x-request-id");
    response.headers.emplace_back("Access-Control-Max-Age", "600");
  }
  return response;
}

}  // namespace

Gate::Gate(Rules rules, std::vector<Route> routes) : rules_(std::move(rules)), routes_(std::move(routes)) {}

bool Gate::host_is_allowed(std::string_view host, const Source& source) const {
  const std::string_view name = host_without_port(host);
  if (name.empty()) return false;
  if (is_loopback_name(name) || contains(rules_.allowed_hosts, name)) return true;
  // An address cannot be rebound, names can: whoever connects to 192.0.2.7 and asks for 192.0.2.7 is
  // answered.
  if (source.local_address.empty()) return false;
  return source.local_address.find(':') == std::string::npos
             ? name == source.local_address
             : equal_without_case(name, "[" + source.local_address + "]");
}

Gate::Cors Gate::check_origin(const Request& request) const {
  const size_t count = count_headers(request, "origin");
  if (count == 0) return Cors::kNone;
  const std::string_view page = request.header("origin");
  if (count > 1 || page.empty() || page == "null") return Cors::kRefused;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (equal_without_case(page, std::string(scheme) + std::string(request.header("host"))))
      return Cors::kSameOrigin;
  }
  return contains(rules_.cors_origins, page) ? Cors::kAllowed : Cors::kRefused;
}

std::optional<Response> Gate::check_access(Request& request, const Route& route, const Source& source) const {
  if (route.access == Access::kPublic) return std::nullopt;
  if (rules_.keys.empty()) {
    if (route.access != Access::kAdmin || source.local) return std::nullopt;
    return refuse(403, "admin_is_local",
                  "this path is open to local clients only while the server has no API keys");
  }
  const auto unauthenticated = [](std::string code, std::string message) {
    Response response = refuse(401, std::move(code), std::move(message));
    response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"mla\"");
    return response;
  };
  const std::string_view authorization = request.header("authorization");
  constexpr std::string_view kScheme = "bearer ";
  if (count_headers(request, "authorization") != 1 || authorization.size() <= kScheme.size() ||
      !equal_without_case(authorization.substr(0, kScheme.size()), kScheme)) {
    return unauthenticated("missing_api_key", "expected one header Authorization: Bearer KEY");
  }
  const KeyRing::Key* key = rules_.keys.find(without_blanks(authorization.substr(kScheme.size())));
  if (key == nullptr) return unauthenticated("invalid_api_key", "the API key is not known to this server");
  request.client = key->name;
  if (route.access == Access::kAdmin && !key->admin)
    return refuse(403, "not_admin", "this path needs an admin key");
  return std::nullopt;
}

Gate::Verdict Gate::check(Request& request, const Source& source) const {
  Verdict verdict;
  const auto refused = [&](Response response) {
    verdict.response = std::move(response);
    return verdict;
  };
  const std::optional<Target> target = parse_target(request.path);
  if (!target) return refused(refuse(400, "bad_target", "expected a target of the form /path?query"));
  request.path = target->path;
  request.query = target->query;

  // HTTP/1.0 has no Host, and no browser speaks it: nobody's name is rebound when it is missing.
  if (count_headers(request, "host") > 0 && !host_is_allowed(request.header("host"), source)) {
    return refused(
        refuse(403, "host_not_allowed",
               "the Host header names another server; a name must be allowed with --allowed-hosts"));
  }
  if (query_has_key(request.query)) {
    return refused(refuse(
        400, "key_in_query",
        "API keys are taken from the Authorization header only; a key that was in a URL should be replaced"));
  }
  const Cors cors = check_origin(request);
  verdict.headers.emplace_back("Vary", "Origin");
  if (cors == Cors::kRefused)
    return refused(refuse(403, "origin_not_allowed",
                          "pages of this origin may not use this server; see --cors-origins"));
  if (cors == Cors::kAllowed) {
    const bool any =
        std::find(rules_.cors_origins.begin(), rules_.cors_origins.end(), "*") != rules_.cors_origins.end();
    verdict.headers.emplace_back("Access-Control-Allow-Origin",
                                 any ? "*" : std::string(request.header("origin")));
    verdict.headers.emplace_back("Access-Control-Expose-Headers", "x-request-id, retry-after");
  }

  RouteTable::Match match = routes_.find(request.method, *target);
  if (match.allowed.empty())
    return refused(refuse(404, "no_such_path", "there is nothing at " + request.path));
  if (request.method == "OPTIONS")
    return refused(options_response(request, match.allowed, cors == Cors::kAllowed));
  if (match.route == nullptr) {
    const std::string allowed = fmt::format("{}", fmt::join(match.allowed, ", "));
    verdict.response =
        refuse(405, "method_not_allowed",
               fmt::format("{} does not take {}; allowed: {}", request.path, request.method, allowed));
    verdict.response.headers.emplace_back("Allow", allowed);
    return verdict;
  }
  if (std::optional<Response> response = check_access(request, *match.route, source))
    return refused(std::move(*response));
  const std::string_view expectation = request.header("expect");
  if (!expectation.empty() && !equal_without_case(expectation, "100-continue")) {
    return refused(refuse(417, "expectation", "the only expectation understood is 100-continue"));
  }
  if (std::optional<Response> response = check_body_type(request, *match.route))
    return refused(std::move(*response));
  request.path_id = std::move(match.path_id);
  verdict.route = match.route;
  return verdict;
}

}  // namespace mla::http
