#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace mla {

/// The ids of a text that a model shall continue: BOS is in front where the model wants it, and stands alone for an empty
/// text. `parse_special`: special tokens in the text become their ids. Errors: kUsage for an empty text when the vocabulary
/// has no BOS to start from.
Result<std::vector<int32_t>> encode_prompt(const Tokenizer& tokenizer, std::string_view text, bool parse_special = false);

}  // namespace mla
