// A config.json: a JSON document, and the flat keys that it becomes.

#include <nlohmann/json.hpp>

#include "input.h"
#include "io/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mla;
  const auto document = parse_json_object({reinterpret_cast<const char*>(data), size}, "input");
  if (!document.ok()) return 0;
  const auto metadata = flatten_json(document.value(), "input");
  if (!metadata.ok()) fuzz::require(metadata.error().message.starts_with("input"), "an error names the file");
  return 0;
}
