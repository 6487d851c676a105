#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/metadata.h"

namespace mla {

/// Reads a model's hyper-parameters out of metadata and keeps every fault, so that one error lists all of
/// them. A value that is missing or wrong reads as zero, and status() then fails.
class FieldReader {
 public:
  /// `prefix` is put in front of every key ("llama." in GGUF, "text_config." in a wrapped config.json).
  FieldReader(const Metadata& metadata, std::string prefix)
      : metadata_(metadata), prefix_(std::move(prefix)) {}

  bool has(std::string_view key) const { return metadata_.has(full(key)); }
  /// The first of the keys that is there, else the first: configurations renamed some of theirs over the
  /// years.
  std::string_view first_of(std::initializer_list<std::string_view> keys) const;

  /// Sizes and counts beyond 2^40 in magnitude are faults, so that callers may add and multiply a few of
  /// them.
  int64_t integer(std::string_view key) {
    return bounded(key, keep(metadata_.integer(full(key)), int64_t{0}));
  }
  float number(std::string_view key) { return narrow(key, keep(metadata_.number(full(key)), 0.0)); }
  std::string string(std::string_view key) { return keep(metadata_.string(full(key)), std::string()); }
  bool boolean(std::string_view key) { return keep(metadata_.boolean(full(key)), false); }

  int64_t integer_or(std::string_view key, int64_t fallback) { return has(key) ? integer(key) : fallback; }
  float number_or(std::string_view key, float fallback) { return has(key) ? number(key) : fallback; }
  std::string string_or(std::string_view key, std::string fallback) {
    return has(key) ? string(key) : fallback;
  }
  bool boolean_or(std::string_view key, bool fallback) { return has(key) ? boolean(key) : fallback; }

  /// Records a fault of the value at `key`.
  void fault(std::string_view key, const std::string& what) { faults_.push_back(full(key) + ": " + what); }
  /// Fails unless the text at `key` is one of `known`.
  void expect_one_of(std::string_view key, const std::string& value,
                     std::initializer_list<std::string_view> known);

  /// The metadata's source and all faults, or success.
  Status status() const;

 private:
  std::string full(std::string_view key) const { return prefix_ + std::string(key); }
  int64_t bounded(std::string_view key, int64_t value);
  float narrow(std::string_view key, double value);

  template <typename T>
  T keep(Result<T> result, T nothing) {
    if (result.ok()) return std::move(result).value();
    faults_.push_back(result.error().message);
    return nothing;
  }

  const Metadata& metadata_;
  std::string prefix_;
  std::vector<std::string> faults_;
};

/// "what: fault; fault; ..." with the first faults and the number of the others.
std::string list_faults(const std::string& what, const std::vector<std::string>& faults);

}  // namespace mla
