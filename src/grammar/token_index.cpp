#include "grammar/token_index.h"

#include <algorithm>
#include <utility>

#include "grammar/json_text.h"

namespace mla {

TokenIndex::TokenIndex(std::vector<TokenText> tokens)
    : tokens_(std::move(tokens)), in_string_(tokens_.size()), in_name_(tokens_.size()) {
  std::vector<int32_t> writing, leaving;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    const std::string& bytes = tokens_[i].bytes;
    if (const size_t end = bytes.find('>'); end != std::string::npos && end + 1 < bytes.size())
      behind_markers_.push_back(id);
    if (tokens_[i].special || bytes.empty()) continue;
    writing.push_back(id);
    if (enter_string(id)) leaving.push_back(id);
  }
  all_ = sorted(std::move(writing));
  leaving_ = sorted(std::move(leaving));
}

/// Notes what a token does between two characters of a string. Whether it holds the quote that ends the
/// string.
bool TokenIndex::enter_string(int32_t id) {
  auto place = StringPlace::kPlain;
  int64_t n_characters = 0;
  bool escapes = false;
  for (const char c : bytes(id)) {
    const bool between = place == StringPlace::kPlain;
    place = next_in_string(place, static_cast<uint8_t>(c));
    if (place == StringPlace::kInvalid) return false;
    if (place == StringPlace::kEnd) return true;
    if (between) ++n_characters;
    escapes = escapes || place == StringPlace::kEscape;
  }
  in_string_.add(id);
  if (!escapes) in_name_.add(id);
  inside_.push_back({id, n_characters});
  most_characters_ = std::max(most_characters_, n_characters);
  return false;
}

TokenIndex::Sorted TokenIndex::sorted(std::vector<int32_t> ids) const {
  std::sort(ids.begin(), ids.end(), [this](int32_t a, int32_t b) { return bytes(a) < bytes(b); });
  std::vector<uint32_t> n_common(ids.size(), 0);
  for (size_t i = 1; i < ids.size(); ++i) {
    const std::string_view before = bytes(ids[i - 1]), now = bytes(ids[i]);
    const auto [end, unused] = std::mismatch(before.begin(), before.end(), now.begin(), now.end());
    n_common[i] = static_cast<uint32_t>(end - before.begin());
  }
  return {std::move(ids), std::move(n_common)};
}

}  // namespace mla
