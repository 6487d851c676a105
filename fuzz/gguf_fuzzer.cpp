// A GGUF file, and the tokenizer in it.

#include "io/gguf.h"
#include "io/gguf_file.h"
#include "model/model.h"
#include "tokenizer_use.h"
#include "views.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mla;
  const fuzz::InputFile input({reinterpret_cast<const char*>(data), size});
  const auto file = MappedFile::open(input.path());
  fuzz::require(file.ok(), "the input is a file");
  const auto gguf = read_gguf_file(**file);
  if (!gguf.ok()) return 0;
  fuzz::check_views(gguf.value().tensors, **file);
  const auto checkpoint = open_gguf(file.value(), /*vocabulary_only=*/true);
  if (!checkpoint.ok()) return 0;
  const auto tokenizer = read_tokenizer(**checkpoint);
  if (tokenizer.ok() && tokenizer.value() != nullptr) fuzz::use(tokenizer.value());
  return 0;
}
