#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/message.h"
#include "server/http/target.h"

namespace mla::http {

/// Who may use a route.
enum class Access {
  kPublic,  ///< anyone who reaches the server
  kKey,     ///< whoever has a key; anyone when the server has no keys
  kAdmin,   ///< whoever has an admin key; local clients when the server has no keys
};

struct Route {
  std::string method;  ///< "GET" answers HEAD too
  std::string
      pattern;  ///< "/v1/models/{id}": segments, of which one may be {id} and stands for any one segment
  Access access = Access::kKey;
  Handler handler;
};

/// The routes of a server as data. What is not in the table does not exist.
class RouteTable {
 public:
  explicit RouteTable(std::vector<Route> routes);

  struct Match {
    const Route* route = nullptr;  ///< null when no route has this path and method
    std::string path_id;
    std::vector<std::string> allowed;  ///< the methods of this path; empty when no route has the path
  };
  Match find(std::string_view method, const Target& target) const;

  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
  std::vector<std::vector<std::string>> patterns_;  // segments of the route at the same index
};

}  // namespace mla::http
