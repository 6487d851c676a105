#pragma once

#include <cstdint>

#include "cpu/kernels.h"

namespace mla::cpu {

/// Rows [row, row + 16) of `source`, all of which must exist, as interleave_group() lays them out, by 128-bit vectors that
/// every x86-64 processor has: loading a large model interleaves gigabytes. False, and nothing written, for types without
/// this fast form.
bool interleave_rows16(const WeightMatrix& source, int64_t row, uint8_t* to);

}  // namespace mla::cpu
