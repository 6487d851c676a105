#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "tensor/dtype.h"

namespace mla {

/// Types of GGUF metadata values, as numbered in files.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

/// The element type with ggml's number `id`. Errors: kInvalidFile for types that ggml removed, has but we do
/// not decode, or never had; the message names the type and the supported ones.
Result<DType> dtype_from_ggml(uint32_t id);

/// ggml's number for a type; nothing for FP8, which GGUF does not have.
std::optional<uint32_t> ggml_from_dtype(DType dtype);

}  // namespace mla
