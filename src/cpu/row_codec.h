#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cpu/kernels.h"
#include "ops/row_layout.h"

namespace mla::cpu {

/// Neighbouring segments of one stored row; the first one's elements come first in `values`.
inline void decode_segments(const Kernels& kernels, std::span<const RowSegment> segments, const std::byte* row,
                            float* values) {
  for (const RowSegment& s : segments)
    kernels.decode_segment(s, reinterpret_cast<const uint8_t*>(row), values + (s.first - segments.front().first));
}

}  // namespace mla::cpu
