// A Hugging Face tokenizer.json, and the tokenizer that it describes.

#include "tokenizer_use.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mla;
  const fuzz::InputFile input({reinterpret_cast<const char*>(data), size});
  const auto tokenizer = load_tokenizer_json(input.path(), {});
  if (tokenizer.ok()) fuzz::use(tokenizer.value());
  return 0;
}
