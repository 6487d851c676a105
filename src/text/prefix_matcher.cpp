#include "text/prefix_matcher.h"

#include <algorithm>

namespace mla {

PrefixMatcher::PrefixMatcher(std::vector<std::pair<std::string, int32_t>> entries)
    : entries_(std::move(entries)) {
  std::erase_if(entries_, [](const auto& e) { return e.first.empty(); });
  std::sort(entries_.begin(), entries_.end());  // std::string compares bytes as unsigned
  size_t i = 0;
  for (size_t byte = 0; byte <= 256; ++byte) {
    while (i < entries_.size() && static_cast<uint8_t>(entries_[i].first[0]) < byte) ++i;
    first_[byte] = static_cast<uint32_t>(i);
  }
}

void PrefixMatcher::narrow(uint8_t byte, size_t depth, size_t& low, size_t& high) const {
  // All strings of the range are longer than `depth`: those of that length were visited and left behind.
  const auto at = [&](size_t i) { return static_cast<uint8_t>(entries_[i].first[depth]); };
  const auto first_not_below = [&](unsigned bound) {
    size_t l = low, h = high;
    while (l < h) {
      const size_t middle = l + (h - l) / 2;
      if (at(middle) < bound) {
        l = middle + 1;
      } else {
        h = middle;
      }
    }
    return l;
  };
  const size_t new_low = first_not_below(byte);
  const size_t new_high = first_not_below(static_cast<unsigned>(byte) + 1);
  low = new_low;
  high = new_high;
}

}  // namespace mla
