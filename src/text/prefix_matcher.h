#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mla {

/// A set of strings that finds those which begin a text: the strings lie sorted, and each further byte of the
/// text narrows the range that still matches.
class PrefixMatcher {
 public:
  PrefixMatcher() = default;
  /// Empty strings are left out. `value` is what a match reports.
  explicit PrefixMatcher(std::vector<std::pair<std::string, int32_t>> entries);

  bool empty() const { return entries_.empty(); }
  /// Whether any string begins with this byte.
  bool may_start(char c) const {
    const auto byte = static_cast<uint8_t>(c);
    return first_[byte] != first_[byte + 1];
  }

  /// Calls visit(length, value) for every string that begins `text`, shortest first.
  template <typename Visit>
  void for_each_prefix(std::string_view text, Visit visit) const {
    if (text.empty() || entries_.empty()) return;
    size_t low = first_[static_cast<uint8_t>(text[0])];
    size_t high = first_[static_cast<uint8_t>(text[0]) + size_t{1}];
    for (size_t depth = 1; low < high; ++depth) {
      while (low < high && entries_[low].first.size() == depth) visit(depth, entries_[low++].second);
      if (depth == text.size()) return;
      narrow(static_cast<uint8_t>(text[depth]), depth, low, high);
    }
  }

 private:
  void narrow(uint8_t byte, size_t depth, size_t& low, size_t& high) const;
  std::vector<std::pair<std::string, int32_t>> entries_;  // sorted by bytes
  std::array<uint32_t, 257> first_{};                     // first entry whose first byte is >= the index
};

}  // namespace mla
