#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mla::cli {

/// Token ids separated by spaces, commas or line ends. Errors: kUsage naming the first word that is no id, or one that is
/// outside [0, n_vocab).
Result<std::vector<int32_t>> parse_ids(std::string_view text, int64_t n_vocab);

}  // namespace mla::cli
