#include "io/gguf_types.h"

#include <fmt/format.h>

namespace mla {
namespace {

struct GgmlType {
  uint32_t id;
  DType dtype;
};

constexpr GgmlType kSupported[] = {
    {0, DType::kF32},   {1, DType::kF16},   {2, DType::kQ4_0},    {3, DType::kQ4_1},    {6, DType::kQ5_0},
    {7, DType::kQ5_1},  {8, DType::kQ8_0},  {10, DType::kQ2_K},   {11, DType::kQ3_K},   {12, DType::kQ4_K},
    {13, DType::kQ5_K}, {14, DType::kQ6_K}, {20, DType::kIQ4_NL}, {23, DType::kIQ4_XS}, {24, DType::kI8},
    {25, DType::kI16},  {26, DType::kI32},  {27, DType::kI64},    {28, DType::kF64},    {30, DType::kBF16},
};

struct OtherType {
  uint32_t id;
  std::string_view name;
  bool removed;  ///< no program writes it any more; files with it must be made again
};

constexpr OtherType kOther[] = {
    {4, "Q4_2", true},        {5, "Q4_3", true},        {9, "Q8_1", false},       {15, "Q8_K", false},
    {16, "IQ2_XXS", false},   {17, "IQ2_XS", false},    {18, "IQ3_XXS", false},   {19, "IQ1_S", false},
    {21, "IQ3_S", false},     {22, "IQ2_S", false},     {29, "IQ1_M", false},     {31, "Q4_0_4_4", true},
    {32, "Q4_0_4_8", true},   {33, "Q4_0_8_8", true},   {34, "TQ1_0", false},     {35, "TQ2_0", false},
    {36, "IQ4_NL_4_4", true}, {37, "IQ4_NL_4_8", true}, {38, "IQ4_NL_8_8", true}, {39, "MXFP4", false},
    {40, "NVFP4", false},     {41, "Q1_0", false},
};

std::string supported_names() {
  std::string names;
  for (const GgmlType& type : kSupported) {
    if (!is_weight_dtype(type.dtype)) continue;
    if (!names.empty()) names += ", ";
    names += dtype_info(type.dtype).name;
  }
  return names;
}

}  // namespace

Result<DType> dtype_from_ggml(uint32_t id) {
  for (const GgmlType& type : kSupported) {
    if (type.id == id) return type.dtype;
  }
  for (const OtherType& type : kOther) {
    if (type.id != id) continue;
    if (type.removed) {
      return Error::invalid_file(
          fmt::format("type {} (number {}) was removed from GGUF; convert the model again, for "
                      "example to Q4_0. Supported: {}",
                      type.name, id, supported_names()));
    }
    return Error::invalid_file(
        fmt::format("type {} (number {}) is not supported; use a file of another quantisation. "
                    "Supported: {}",
                    type.name, id, supported_names()));
  }
  return Error::invalid_file(fmt::format("type number {} is unknown. Supported: {}", id, supported_names()));
}

std::optional<uint32_t> ggml_from_dtype(DType dtype) {
  for (const GgmlType& type : kSupported) {
    if (type.dtype == dtype) return type.id;
  }
  return std::nullopt;
}

}  // namespace mla
