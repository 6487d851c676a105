#include "cli/ids.h"

#include <fmt/format.h>

#include <charconv>

namespace mla::cli {

Result<std::vector<int32_t>> parse_ids(std::string_view text, int64_t n_vocab) {
  constexpr std::string_view kSeparators = " ,\t\r\n[]";
  std::vector<int32_t> ids;
  for (size_t begin = text.find_first_not_of(kSeparators); begin != std::string_view::npos;) {
    const size_t end = std::min(text.find_first_of(kSeparators, begin), text.size());
    const std::string_view word = text.substr(begin, end - begin);
    int64_t id = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || stop != word.data() + word.size()) {
      return Error::usage(fmt::format("'{}' is no token id: expected whole numbers separated by spaces", word));
    }
    if (id < 0 || id >= n_vocab) {
      return Error::usage(fmt::format("token id {} is outside the vocabulary: expected 0 ... {}", id, n_vocab - 1));
    }
    ids.push_back(static_cast<int32_t>(id));
    begin = text.find_first_not_of(kSeparators, end);
  }
  return ids;
}

}  // namespace mla::cli
