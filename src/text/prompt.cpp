#include "text/prompt.h"

namespace mla {

Result<std::vector<int32_t>> encode_prompt(const Tokenizer& tokenizer, std::string_view text, bool parse_special) {
  std::vector<int32_t> ids = tokenizer.encode(text, {.add_bos = tokenizer.add_bos(), .parse_special = parse_special});
  if (ids.empty() && tokenizer.bos() >= 0) ids.push_back(tokenizer.bos());
  if (ids.empty()) return Error::usage("the prompt is empty and this model has no beginning-of-sequence token to start from");
  return ids;
}

}  // namespace mla
