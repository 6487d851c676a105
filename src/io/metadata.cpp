#include "io/metadata.h"

#include <fmt/format.h>

#include <type_traits>

#include "io/names.h"

namespace mla {
namespace {

std::string_view type_name(const MetadataValue& value) {
  static constexpr std::string_view kNames[] = {
      "null",   "a boolean",           "an integer",           "an unsigned integer", "a float",
      "a text", "an array of boolean", "an array of integers", "an array of floats",  "an array of texts"};
  static_assert(std::size(kNames) == std::variant_size_v<MetadataValue>);
  return kNames[value.index()];
}

bool is_empty_array(const MetadataValue& value) {
  return std::visit(
      [](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::vector<bool>> || std::is_same_v<T, std::vector<int64_t>> ||
                      std::is_same_v<T, std::vector<double>> || std::is_same_v<T, std::vector<std::string>>) {
          return v.empty();
        } else {
          return false;
        }
      },
      value);
}

Error missing(const std::string& source, std::string_view key) {
  return Error::invalid_file(fmt::format("{}: the metadata key {} is missing", source, quoted_name(key)));
}

Error wrong_type(const std::string& source, std::string_view key, const MetadataValue& value,
                 std::string_view expected) {
  return Error::invalid_file(fmt::format("{}: the metadata key {} is {}, expected {}", source,
                                         quoted_name(key), type_name(value), expected));
}

}  // namespace

bool Metadata::insert(std::string key, MetadataValue value) {
  return entries_.try_emplace(std::move(key), std::move(value)).second;
}

const MetadataValue* Metadata::find(std::string_view key) const {
  const auto it = entries_.find(key);
  if (it == entries_.end() || std::holds_alternative<std::monostate>(it->second)) return nullptr;
  return &it->second;
}

Result<int64_t> Metadata::integer(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return missing(source_, key);
  if (const auto* v = std::get_if<int64_t>(value)) return *v;
  if (const auto* v = std::get_if<uint64_t>(value)) {  // only values that int64_t does not hold
    return Error::invalid_file(
        fmt::format("{}: the metadata key {} is {}, which is too large", source_, quoted_name(key), *v));
  }
  return wrong_type(source_, key, *value, "an integer");
}

Result<double> Metadata::number(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return missing(source_, key);
  if (const auto* v = std::get_if<double>(value)) return *v;
  if (const auto* v = std::get_if<int64_t>(value)) return static_cast<double>(*v);
  if (const auto* v = std::get_if<uint64_t>(value)) return static_cast<double>(*v);
  return wrong_type(source_, key, *value, "a number");
}

Result<bool> Metadata::boolean(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return missing(source_, key);
  if (const auto* v = std::get_if<bool>(value)) return *v;
  return wrong_type(source_, key, *value, "a boolean");
}

Result<std::string> Metadata::string(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return missing(source_, key);
  if (const auto* v = std::get_if<std::string>(value)) return *v;
  return wrong_type(source_, key, *value, "a text");
}

Result<std::vector<int64_t>> Metadata::integers(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return missing(source_, key);
  if (const auto* v = std::get_if<std::vector<int64_t>>(value)) return *v;
  if (is_empty_array(*value)) return std::vector<int64_t>();
  return wrong_type(source_, key, *value, "an array of integers");
}

Result<std::vector<double>> Metadata::numbers(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return missing(source_, key);
  if (const auto* v = std::get_if<std::vector<double>>(value)) return *v;
  if (const auto* v = std::get_if<std::vector<int64_t>>(value))
    return std::vector<double>(v->begin(), v->end());
  if (is_empty_array(*value)) return std::vector<double>();
  return wrong_type(source_, key, *value, "an array of numbers");
}

Result<const std::vector<std::string>*> Metadata::strings(std::string_view key) const {
  static const std::vector<std::string> kEmpty;
  const MetadataValue* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* v = std::get_if<std::vector<std::string>>(value)) return v;
  if (is_empty_array(*value)) return &kEmpty;
  return wrong_type(source_, key, *value, "an array of texts");
}

Result<int64_t> Metadata::integer_or(std::string_view key, int64_t fallback) const {
  return has(key) ? integer(key) : fallback;
}

Result<double> Metadata::number_or(std::string_view key, double fallback) const {
  return has(key) ? number(key) : fallback;
}

Result<bool> Metadata::boolean_or(std::string_view key, bool fallback) const {
  return has(key) ? boolean(key) : fallback;
}

Result<std::string> Metadata::string_or(std::string_view key, std::string fallback) const {
  return has(key) ? string(key) : fallback;
}

}  // namespace mla
