#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/api/json_body.h"

namespace mla::server {

/// Reads the members of one object of a request. The first thing that is wrong is kept with the name of its field;
/// everything read after that gives its default, so that a caller asks for the error once, at the end. A member that is null
/// counts as absent: clients write out what they leave to the server.
class FieldReader {
 public:
  /// `path`: the object's own place ("messages[2]"), empty for the body itself.
  explicit FieldReader(const Json& object, std::string path = {}) : object_(object), path_(std::move(path)) {}

  /// The member, or null when it is absent or null. Counts as known.
  const Json* find(std::string_view name);
  bool boolean(std::string_view name, bool otherwise);
  /// A finite number from `low` to `high`.
  double number(std::string_view name, double otherwise, double low, double high);
  /// A whole number; 5.0 is one.
  int64_t whole(std::string_view name, int64_t otherwise, int64_t low, int64_t high);
  std::optional<int64_t> optional_whole(std::string_view name, int64_t low, int64_t high);
  std::string text(std::string_view name);
  /// An array of whole numbers that are token ids as far as can be told without a model.
  std::vector<int32_t> ids(std::string_view name, size_t most);

  void fail(std::string_view name, std::string message);
  void fail(ApiError error);
  bool failed() const { return error_.has_value(); }
  const std::optional<ApiError>& error() const { return error_; }
  /// "messages[2].role".
  std::string path_of(std::string_view name) const;
  /// Members that nobody asked for.
  std::vector<std::string> unknown() const;

 private:
  const Json& object_;
  std::string path_;
  std::set<std::string, std::less<>> known_;
  std::optional<ApiError> error_;
};

/// The value for a message: short, and no more than its kind when it is long.
std::string shown(const Json& value);

/// The token ids of an array, or nothing where it holds anything else.
std::optional<std::vector<int32_t>> ids_of(const Json& array);

}  // namespace mla::server
