#include "server/http/routes.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace mla::http {
namespace {

constexpr std::string_view kId = "{id}";

std::vector<std::string> segments_of(std::string_view pattern) {
  assert(pattern.starts_with('/'));
  std::vector<std::string> segments;
  if (pattern == "/") return segments;
  for (size_t at = 1; at <= pattern.size();) {
    const size_t end = std::min(pattern.find('/', at), pattern.size());
    segments.emplace_back(pattern.substr(at, end - at));
    at = end + 1;
  }
  return segments;
}

/// The segment that stands for {id} ("" when the pattern has none), or nothing when the path is another.
std::optional<std::string> matched(const std::vector<std::string>& pattern,
                                   const std::vector<std::string>& path) {
  if (pattern.size() != path.size()) return std::nullopt;
  std::string id;
  for (size_t i = 0; i < path.size(); ++i) {
    if (pattern[i] == kId) {
      id = path[i];
    } else if (pattern[i] != path[i]) {
      return std::nullopt;
    }
  }
  return id;
}

}  // namespace

RouteTable::RouteTable(std::vector<Route> routes) : routes_(std::move(routes)) {
  for (const Route& route : routes_) patterns_.push_back(segments_of(route.pattern));
}

RouteTable::Match RouteTable::find(std::string_view method, const Target& target) const {
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  Match match;
  for (size_t i = 0; i < routes_.size(); ++i) {
    std::optional<std::string> id = matched(patterns_[i], target.segments);
    if (!id) continue;
    match.allowed.push_back(routes_[i].method);
    if (routes_[i].method == wanted && match.route == nullptr) {
      match.route = &routes_[i];
      match.path_id = std::move(*id);
    }
  }
  if (!match.allowed.empty()) {
    if (std::find(match.allowed.begin(), match.allowed.end(), "GET") != match.allowed.end())
      match.allowed.push_back("HEAD");
    match.allowed.push_back("OPTIONS");
  }
  return match;
}

}  // namespace mla::http
