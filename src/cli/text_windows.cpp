#include "cli/text_windows.h"

#include <algorithm>
#include <cmath>

namespace mla::cli {

std::vector<std::vector<int32_t>> cut_windows(std::span<const int32_t> ids, const Tokenizer& tokenizer, int64_t size) {
  const bool with_bos = tokenizer.add_bos() && tokenizer.bos() >= 0;
  const auto per_window = static_cast<size_t>(size - (with_bos ? 1 : 0));
  std::vector<std::vector<int32_t>> windows;
  for (size_t begin = 0; begin < ids.size(); begin += per_window) {
    const auto part = ids.subspan(begin, std::min(per_window, ids.size() - begin));
    std::vector<int32_t> window;
    if (with_bos) window.push_back(tokenizer.bos());
    window.insert(window.end(), part.begin(), part.end());
    if (window.size() >= 2) windows.push_back(std::move(window));
  }
  return windows;
}

double log_sum_exp(std::span<const float> logits) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - highest);
  return highest + std::log(sum);
}

}  // namespace mla::cli
