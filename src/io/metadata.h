#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace mla {

/// A metadata value: GGUF's and JSON's types in one. Integers of every width are int64_t, or uint64_t where
/// they do not fit in one; JSON null is std::monostate.
using MetadataValue =
    std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string, std::vector<bool>,
                 std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

/// Key-value pairs of a checkpoint with checked, typed access. Errors name the key, what was found and what
/// was expected.
class Metadata {
 public:
  explicit Metadata(std::string source = "") : source_(std::move(source)) {}

  /// False when the key is there already.
  bool insert(std::string key, MetadataValue value);
  /// Null when absent. JSON null counts as absent.
  const MetadataValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  const std::map<std::string, MetadataValue, std::less<>>& entries() const { return entries_; }
  /// The file the pairs came from, for messages.
  const std::string& source() const { return source_; }

  /// Required values. Errors: kInvalidFile when missing or of another type (an integer is accepted where a
  /// float is asked for; a number over 2^63 - 1 is refused). An empty array has no item type: every array
  /// getter accepts it.
  Result<int64_t> integer(std::string_view key) const;
  Result<double> number(std::string_view key) const;
  Result<bool> boolean(std::string_view key) const;
  Result<std::string> string(std::string_view key) const;
  Result<std::vector<int64_t>> integers(std::string_view key) const;
  Result<std::vector<double>> numbers(std::string_view key) const;
  /// Without a copy; null when absent. Errors: kInvalidFile when of another type.
  Result<const std::vector<std::string>*> strings(std::string_view key) const;

  /// The same with a value for absent keys; a wrong type is still an error.
  Result<int64_t> integer_or(std::string_view key, int64_t fallback) const;
  Result<double> number_or(std::string_view key, double fallback) const;
  Result<bool> boolean_or(std::string_view key, bool fallback) const;
  Result<std::string> string_or(std::string_view key, std::string fallback) const;

 private:
  std::string source_;
  std::map<std::string, MetadataValue, std::less<>> entries_;
};

}  // namespace mla
