#pragma once

#include <cstdint>
#include <vector>

#include "ops/paged.h"

namespace mla {

/// All cached rows of a sequence, its new ones included, decoded to f32: [n_rows, layout.width()]. From here
/// on attention sees a plain matrix; pages and row formats are behind it.
inline std::vector<float> decode_rows(const SequenceSlice& slice, const LayerRows& cache) {
  const int64_t width = cache.layout->width();
  std::vector<float> rows(static_cast<size_t>(slice.n_rows() * width));
  for (int64_t r = 0; r < slice.n_rows(); ++r) {
    decode_row(*cache.layout, cache.row(slice, r), 0, width, rows.data() + r * width);
  }
  return rows;
}

}  // namespace mla
