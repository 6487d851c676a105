#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "tensor/tensor_view.h"

namespace mla {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr size_t kMaxSafetensorsRank = 8;

/// One .safetensors file.
struct SafetensorsFile {
  std::vector<TensorView> tensors;  ///< views into the mapping, in the order of the file's header
  std::map<std::string, std::string>
      unsupported;  ///< tensors of types that DType has not: name -> type ("BOOL", "U32")
  std::map<std::string, std::string> metadata;  ///< `__metadata__`
};

/// Reads and checks one safetensors file: u64 header length, JSON header that gives each tensor's dtype,
/// shape and byte range, then the data, which the ranges must cover without hole, overlap or rest. Errors:
/// kInvalidFile; messages begin with the path.
Result<SafetensorsFile> read_safetensors(const MappedFile& file);

}  // namespace mla
