#include "server/api/field_reader.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace mla::server {
namespace {

constexpr size_t kMaxShown = 60;

/// A whole number that fits, however it is written.
std::optional<int64_t> whole_of(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto n = value.get<uint64_t>();
    return n <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ? std::optional(static_cast<int64_t>(n)) : std::nullopt;
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double n = value.get<double>();
  // Beyond 2^53 a double no longer says which whole number was meant.
  if (std::abs(n) > 9007199254740992.0 || n != std::floor(n)) return std::nullopt;
  return static_cast<int64_t>(n);
}

}  // namespace

std::string shown(const Json& value) {
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  const std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= kMaxShown ? text : value.is_string() ? "a string" : text.substr(0, kMaxShown) + "...";
}

std::optional<std::vector<int32_t>> ids_of(const Json& array) {
  if (!array.is_array()) return std::nullopt;
  std::vector<int32_t> ids;
  ids.reserve(array.size());
  for (const Json& value : array) {
    const auto id = whole_of(value);
    if (!id || *id < 0 || *id > std::numeric_limits<int32_t>::max()) return std::nullopt;
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

const Json* FieldReader::find(std::string_view name) {
  known_.emplace(name);
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool FieldReader::boolean(std::string_view name, bool otherwise) {
  const Json* const value = find(name);
  if (value == nullptr || failed()) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  fail(name, fmt::format("expected true or false, got {}", shown(*value)));
  return otherwise;
}

double FieldReader::number(std::string_view name, double otherwise, double low, double high) {
  const Json* const value = find(name);
  if (value == nullptr || failed()) return otherwise;
  if (value->is_number()) {
    const double n = value->get<double>();
    if (n >= low && n <= high) return n;
  }
  fail(name, fmt::format("expected a number from {} to {}, got {}", low, high, shown(*value)));
  return otherwise;
}

int64_t FieldReader::whole(std::string_view name, int64_t otherwise, int64_t low, int64_t high) {
  return optional_whole(name, low, high).value_or(otherwise);
}

std::optional<int64_t> FieldReader::optional_whole(std::string_view name, int64_t low, int64_t high) {
  const Json* const value = find(name);
  if (value == nullptr || failed()) return std::nullopt;
  const auto n = whole_of(*value);
  if (n && *n >= low && *n <= high) return n;
  fail(name, fmt::format("expected a whole number from {} to {}, got {}", low, high, shown(*value)));
  return std::nullopt;
}

std::string FieldReader::text(std::string_view name) {
  const Json* const value = find(name);
  if (value == nullptr || failed()) return {};
  if (value->is_string()) return value->get<std::string>();
  fail(name, fmt::format("expected a string, got {}", shown(*value)));
  return {};
}

std::vector<int32_t> FieldReader::ids(std::string_view name, size_t most) {
  const Json* const value = find(name);
  if (value == nullptr || failed()) return {};
  auto ids = ids_of(*value);
  if (ids && ids->size() <= most) return std::move(*ids);
  fail(name, ids ? fmt::format("{} token ids are more than the {} that are taken", ids->size(), most)
                 : fmt::format("expected an array of token ids, got {}", shown(*value)));
  return {};
}

void FieldReader::fail(std::string_view name, std::string message) {
  const std::string path = path_of(name);
  fail(ApiError::bad(path, fmt::format("'{}': {}", path, message)));
}

void FieldReader::fail(ApiError error) {
  if (!error_) error_ = std::move(error);
}

std::string FieldReader::path_of(std::string_view name) const {
  if (path_.empty()) return std::string(name);
  return name.empty() ? path_ : fmt::format("{}.{}", path_, name);
}

std::vector<std::string> FieldReader::unknown() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_.items()) {
    if (!known_.contains(name)) names.push_back(name);
  }
  return names;
}

}  // namespace mla::server
