#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "text/tokenizer.h"

namespace mla::cli {

/// A text's tokens in windows of at most `size` that do not overlap, BOS at the start of each where the model wants it. A
/// window without a token to predict is left out.
std::vector<std::vector<int32_t>> cut_windows(std::span<const int32_t> ids, const Tokenizer& tokenizer, int64_t size);

/// log of the sum of exponentials.
double log_sum_exp(std::span<const float> logits);

}  // namespace mla::cli
