#include "tensor/dtype.h"

#include <array>
#include <cassert>
#include <cstddef>

#include "tensor/formats/iq4.h"
#include "tensor/formats/k_quants.h"
#include "tensor/formats/q32.h"

namespace mla {
namespace {

template <typename Block>
constexpr DTypeInfo blocks_of(std::string_view name) {
  return {name, Block::kSize, static_cast<int32_t>(sizeof(Block))};
}

// In the order of DType.
constexpr std::array<DTypeInfo, kDTypeCount> kTable = {{
    {"F32", 1, 4},
    {"F16", 1, 2},
    {"BF16", 1, 2},
    {"F8_E4M3", 1, 1},
    blocks_of<BlockQ4_0>("Q4_0"),
    blocks_of<BlockQ4_1>("Q4_1"),
    blocks_of<BlockQ5_0>("Q5_0"),
    blocks_of<BlockQ5_1>("Q5_1"),
    blocks_of<BlockQ8_0>("Q8_0"),
    blocks_of<BlockQ2_K>("Q2_K"),
    blocks_of<BlockQ3_K>("Q3_K"),
    blocks_of<BlockQ4_K>("Q4_K"),
    blocks_of<BlockQ5_K>("Q5_K"),
    blocks_of<BlockQ6_K>("Q6_K"),
    blocks_of<BlockIQ4_NL>("IQ4_NL"),
    blocks_of<BlockIQ4_XS>("IQ4_XS"),
    {"I8", 1, 1},
    {"I16", 1, 2},
    {"I32", 1, 4},
    {"I64", 1, 8},
    {"U8", 1, 1},
    {"F64", 1, 8},
}};

}  // namespace

const DTypeInfo& dtype_info(DType dtype) {
  return kTable[static_cast<size_t>(dtype)];
}

std::optional<DType> dtype_from_name(std::string_view name) {
  for (int i = 0; i < kDTypeCount; ++i) {
    if (kTable[static_cast<size_t>(i)].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

bool is_weight_dtype(DType dtype) {
  return dtype < DType::kI8;
}

int64_t dtype_bytes(DType dtype, int64_t n) {
  const DTypeInfo& info = dtype_info(dtype);
  assert(n % info.block_size == 0);
  return n / info.block_size * info.block_bytes;
}

}  // namespace mla
