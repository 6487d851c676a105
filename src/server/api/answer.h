#pragma once

#include <chrono>

#include "server/api/api_error.h"

namespace mla::server {

/// What is being computed for a request, as the watch over --request-timeout sees it.
class Answer {
 public:
  virtual ~Answer() = default;
  virtual std::chrono::steady_clock::time_point arrived() const = 0;
  /// Ends it with an error, which is the last event of an answer that streams already; nothing where it is over. From any
  /// thread.
  virtual void abort(ApiError error) = 0;
};

}  // namespace mla::server
