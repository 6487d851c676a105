// One .safetensors file.

#include "io/safetensors.h"
#include "views.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mla;
  const fuzz::InputFile input({reinterpret_cast<const char*>(data), size});
  const auto file = MappedFile::open(input.path());
  fuzz::require(file.ok(), "the input is a file");
  const auto tensors = read_safetensors(**file);
  if (tensors.ok()) fuzz::check_views(tensors.value().tensors, **file);
  return 0;
}
