#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mla {

/// A tensor as a safetensors header describes it; nothing is checked against the file yet.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> data_offsets;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
};

/// Reads the JSON header without building a document, in one pass: a header of 100 MB costs no more memory
/// than its entries. Errors: kInvalidFile: no JSON, not UTF-8, anything but the three fields of an entry, a
/// wrong type, a name twice.
Result<SafetensorsHeader> parse_safetensors_header(std::string_view text);

}  // namespace mla
