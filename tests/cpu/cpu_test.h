#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "base/float16.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels.h"
#include "ops/backend.h"
#include "support/compare.h"
#include "support/random.h"
#include "tensor/dtype.h"

namespace mla::test {

inline std::unique_ptr<Backend> make_cpu(Isa isa, int n_threads = 2) {
  Result<std::unique_ptr<Backend>> backend = make_cpu_backend({.n_threads = n_threads, .isa = isa});
  if (!backend.ok()) throw std::runtime_error(backend.error().message);
  return std::move(backend).value();
}

/// Every test of an operation runs once for each instruction set of this machine, against the reference
/// backend.
class CpuTest : public testing::TestWithParam<Isa> {
 protected:
  std::unique_ptr<Backend> cpu_ = make_cpu(GetParam());
  std::unique_ptr<Backend> reference_ = make_reference_backend();
  Random random_{42};

  /// `exact` for products of f32 activations; more where a type's products round them to 16 bits, each off by up to 1/65278 of
  /// the largest of its 32 (cpu/interleaved.h), or of itself (isa/amx/products.cpp).
  static Tolerance rounding_of(DType dtype, Tolerance exact) {
    const cpu::Kernels& kernels = cpu::kernels_for(GetParam());
    const auto type = static_cast<size_t>(dtype);
    if (kernels.interleaved_product[type] != nullptr || kernels.matrix_product[type] != nullptr)
      exact.relative_to_range = std::max(exact.relative_to_range, 1e-4);
    return exact;
  }

  /// `exact` for attention in f32; more where rows of this format, queries and weights meet as bf16, each off by up
  /// to 1/512 of itself: a few of that at worst.
  static Tolerance rounding_of(RowFormat format, Tolerance exact) {
    const cpu::Kernels& kernels = cpu::kernels_for(GetParam());
    if (&cpu::tile_kernels(kernels, format) == &kernels.bf16_tiles) exact.relative_to_range = 1e-2;
    return exact;
  }
};

inline std::string isa_test_name(const testing::TestParamInfo<Isa>& info) {
  return std::string(isa_name(info.param));
}

/// All types that weights may have.
inline std::vector<DType> weight_dtypes() {
  std::vector<DType> types;
  for (int i = 0; i < kDTypeCount; ++i) {
    if (is_weight_dtype(static_cast<DType>(i))) types.push_back(static_cast<DType>(i));
  }
  return types;
}

/// Where a block's f16 factors lie, in bytes.
inline std::vector<int> factor_offsets(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kIQ4_NL:
    case DType::kIQ4_XS:
      return {0};
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    case DType::kQ6_K:
      return {208};
    default:
      return {};
  }
}

/// A weight of random bits: every code and every sub-block scale occurs. The factors are finite and of either
/// sign.
inline HostWeight random_weight(Random& random, std::vector<int64_t> shape, DType dtype) {
  if (dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16)
    return HostWeight::random(random, std::move(shape), 1.0F, dtype);
  HostWeight w;
  w.view = {.name = "test", .dtype = dtype, .shape = std::move(shape)};
  w.bytes.resize(static_cast<size_t>(w.view.n_bytes()));
  for (std::byte& b : w.bytes) {
    do b = static_cast<std::byte>(random.integer(0, 255));
    while (dtype == DType::kF8E4M3 && (b & std::byte{0x7f}) == std::byte{0x7f});  // NaN
  }
  const auto block = static_cast<size_t>(dtype_info(dtype).block_bytes);
  for (size_t at = 0; at < w.bytes.size(); at += block) {
    for (int offset : factor_offsets(dtype)) {
      const uint16_t factor = f32_to_f16(0.02F * random.normal());
      std::memcpy(w.bytes.data() + at + static_cast<size_t>(offset), &factor, 2);
    }
  }
  w.view.data = w.bytes.data();
  return w;
}

}  // namespace mla::test

#define MLA_FOR_EVERY_ISA(Suite) \
  INSTANTIATE_TEST_SUITE_P(Isa, Suite, testing::ValuesIn(mla::available_isas()), mla::test::isa_test_name)
