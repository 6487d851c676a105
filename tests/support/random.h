#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "ops/backend.h"

namespace mla::test {

/// Random numbers that are the same on every machine: the standard's distributions are not.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  /// Uniform in [low, high], both included.
  int64_t integer(int64_t low, int64_t high);
  /// Uniform in [0, 1).
  double uniform();
  /// Mean 0, variance 1.
  float normal();
  std::vector<float> normals(int64_t n, float scale = 1.0F);
  /// 0 ... n - 1 in random order.
  std::vector<int32_t> permutation(int64_t n);

 private:
  std::mt19937_64 engine_;
};

/// A host matrix to make Activations of. With stride > n_cols the gaps hold NaN, which no operation may read
/// or write: gaps_intact() tells.
struct Matrix {
  int64_t n_rows = 0, n_cols = 0, stride = 0;
  std::vector<float> data;

  Matrix() = default;
  Matrix(int64_t n_rows, int64_t n_cols, int64_t stride = 0);
  static Matrix random(Random& random, int64_t n_rows, int64_t n_cols, float scale = 1.0F,
                       int64_t stride = 0);
  /// Takes packed values.
  static Matrix of(int64_t n_rows, int64_t n_cols, std::vector<float> values);

  Activation view() { return {data.data(), n_rows, n_cols, stride}; }
  /// Rows without the gaps.
  std::vector<float> packed() const;
  bool gaps_intact() const;
};

/// A weight with the bytes it views. Packed weights may refer to them: keep it while they live.
struct HostWeight {
  std::vector<std::byte> bytes;
  TensorView view;

  /// `values` in `dtype` (one that quantize() supports), shape outermost first.
  static HostWeight of(std::vector<int64_t> shape, const std::vector<float>& values,
                       DType dtype = DType::kF32);
  static HostWeight random(Random& random, std::vector<int64_t> shape, float scale = 1.0F,
                           DType dtype = DType::kF32);
  /// The weight's values as the type holds them.
  std::vector<float> values() const;
  /// Packed by the backend; a failure fails the test by exception.
  Weight pack(Backend& backend) const;
};

struct SequenceShape {
  int64_t n_past = 0;
  int64_t n_new = 0;
};

/// A random mix of prompts, chunks and decode steps, with empty sequences and lengths around page borders.
std::vector<SequenceShape> random_sequences(Random& random, int64_t n_sequences, int64_t max_past,
                                            int64_t max_new);

/// Sequences over pages of a backend's memory as the page pool lays them out, for one layer of several. Page
/// ids are in random order and the memory of every row that was not stored is NaN, so that reading a wrong
/// row shows.
class PagedBatch {
 public:
  PagedBatch(Backend& backend, RowLayout layout, std::vector<SequenceShape> shapes, Random& random);
  PagedBatch(const PagedBatch&) = delete;

  const Batch& batch() const { return batch_; }
  LayerRows cache() const { return {&layout_, memory_.get() + layer_offset_, page_stride_}; }
  int64_t n_tokens() const { return batch_.n_tokens(); }

  /// Stores `history` [n_past, width] as the past rows of a sequence, through the backend.
  void store_past(int64_t sequence, Activation history);
  /// Random rows for the past of all sequences; returns them.
  std::vector<Matrix> store_random_past(Random& random);
  /// A batch of one of the sequences alone, over the same pages; `n` new tokens from `first` on, as if those
  /// before were cached.
  struct Single {
    SequenceSlice slice;
    Batch batch;
  };
  void single(int64_t sequence, int64_t first, int64_t n, Single& out) const;

 private:
  Backend& backend_;
  RowLayout layout_;
  std::shared_ptr<std::byte> memory_;
  int64_t page_stride_ = 0;
  int64_t layer_offset_ = 0;
  std::vector<std::vector<PageId>> pages_;
  std::vector<SequenceSlice> slices_;
  std::vector<int32_t> ids_, positions_;
  Batch batch_;
};

}  // namespace mla::test
