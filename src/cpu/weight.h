#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "cpu/kernels.h"
#include "ops/weight.h"
#include "tensor/tensor_view.h"

namespace mla::cpu {

class CpuBackend;

/// A weight of the CPU backend. Matrices stay in the file's bytes and format, which the kernels decode as
/// they go, or are interleaved for kernels that want that; vectors are copied to f32.
class CpuWeight final : public PackedWeight {
 public:
  /// One view of everything, or one for each matrix of a stack; already checked.
  explicit CpuWeight(std::span<const TensorView> views);

  /// Copies the matrices into the layout of cpu/interleaved.h, if their type has kernels for it in `backend`, which does
  /// it with all its threads. Throws std::bad_alloc.
  void interleave(CpuBackend& backend);

  /// Matrix s of the stack, [n_out, n_in].
  const WeightMatrix& matrix(int64_t s = 0) const { return matrices_[static_cast<size_t>(s)]; }
  /// A rank-1 weight, [n_in].
  const float* vector() const { return decoded_.data(); }

 private:
  void add_matrices(const TensorView& view);
  void decode(std::span<const TensorView> views);
  void allocate_interleaved(int64_t bytes);

  std::vector<WeightMatrix> matrices_;
  std::vector<float> decoded_;
  std::unique_ptr<uint8_t, void (*)(void*)> interleaved_{nullptr, std::free};
};

/// Row `row` of a matrix as f32, [n_in].
void decode_row(const Kernels& kernels, const WeightMatrix& matrix, int64_t row, float* out);

/// A weight that this backend packed.
inline const CpuWeight& packed(const PackedWeight& weight) {
  return static_cast<const CpuWeight&>(weight);
}

}  // namespace mla::cpu
