#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

#include "reference/math.h"
#include "reference/reference_backend.h"
#include "reference/weight.h"

namespace mla {

void ReferenceBackend::embed(std::span<const int32_t> ids, const PackedWeight& table, Activation out) {
  assert(out.n_rows == static_cast<int64_t>(ids.size()) && out.n_cols == table.n_in);
  for (size_t t = 0; t < ids.size(); ++t) {
    const std::vector<float> row = decoded(table).row(0, ids[t]);
    std::copy(row.begin(), row.end(), out.row(static_cast<int64_t>(t)));
  }
}

void ReferenceBackend::gather_rows(Activation x, std::span<const int32_t> rows, Activation out) {
  assert(out.n_rows == static_cast<int64_t>(rows.size()) && out.n_cols == x.n_cols);
  for (size_t i = 0; i < rows.size(); ++i)
    std::copy_n(x.row(rows[i]), x.n_cols, out.row(static_cast<int64_t>(i)));
}

void ReferenceBackend::add(Activation x, Activation y) {
  assert(x.n_rows == y.n_rows && x.n_cols == y.n_cols);
  for (int64_t t = 0; t < x.n_rows; ++t) {
    for (int64_t i = 0; i < x.n_cols; ++i) x.row(t)[i] += y.row(t)[i];
  }
}

/// Rotary embedding: pair i of a head is a complex number a + jb; at position p it turns by p * inv_freq[i]:
///   a' = a cos - b sin,  b' = b cos + a sin.
/// Angles are products in f64: rounded to f32 they would be off by up to 0.004 rad at position 128k.
void ReferenceBackend::rope(Activation x, int64_t d_head, int64_t offset, const RopeTable& table,
                            std::span<const int32_t> positions) {
  const int64_t n_pairs = table.d_rope() / 2;
  assert(x.n_rows == static_cast<int64_t>(positions.size()));
  assert(d_head > 0 && x.n_cols % d_head == 0 && offset >= 0 && offset + table.d_rope() <= d_head);
  const bool interleaved = table.pairs == RopePairs::kInterleaved;
  for (int64_t t = 0; t < x.n_rows; ++t) {
    for (int64_t i = 0; i < n_pairs; ++i) {
      const double angle =
          static_cast<double>(positions[static_cast<size_t>(t)]) * table.inv_freq[static_cast<size_t>(i)];
      const double c = std::cos(angle) * table.magnitude;
      const double s = std::sin(angle) * table.magnitude;
      for (int64_t head = 0; head < x.n_cols; head += d_head) {
        float* rotated = x.row(t) + head + offset;
        float& a = rotated[interleaved ? 2 * i : i];
        float& b = rotated[interleaved ? 2 * i + 1 : i + n_pairs];
        const double re = a * c - b * s;
        const double im = b * c + a * s;
        a = static_cast<float>(re);
        b = static_cast<float>(im);
      }
    }
  }
}

void ReferenceBackend::silu_mul(Activation gate, Activation up, Activation out) {
  assert(gate.n_rows == up.n_rows && gate.n_cols == up.n_cols && out.n_rows == up.n_rows &&
         out.n_cols == up.n_cols);
  for (int64_t t = 0; t < gate.n_rows; ++t) {
    for (int64_t i = 0; i < gate.n_cols; ++i) {
      out.row(t)[i] = static_cast<float>(silu(gate.row(t)[i]) * up.row(t)[i]);
    }
  }
}

/// kErf:  x Phi(x) = x/2 (1 + erf(x / sqrt 2)).
/// kTanh: x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), GPT-2's approximation.
/// arXiv 1606.08415, section 2.
void ReferenceBackend::gelu(Activation x, Gelu kind) {
  const double c = std::sqrt(2.0 / std::numbers::pi);
  for (int64_t t = 0; t < x.n_rows; ++t) {
    for (int64_t i = 0; i < x.n_cols; ++i) {
      const double v = x.row(t)[i];
      const double gate =
          kind == Gelu::kErf ? std::erf(v / std::numbers::sqrt2) : std::tanh(c * (v + 0.044715 * v * v * v));
      x.row(t)[i] = static_cast<float>(0.5 * v * (1.0 + gate));
    }
  }
}

}  // namespace mla
