// Elementwise operations and norms on one row. Compiled once per instruction set; see Kernels in
// cpu/kernels.h.

#include "cpu/isa/formats-inl.h"
#include "cpu/isa/math-inl.h"

namespace mla::cpu::MLA_CPU_ISA {

/// f(offset, load, store) for every whole vector of n elements, then for what is left.
template <class Function>
MLA_INLINE void for_vectors(int64_t n, Function f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    f(
        i, [](const float* p) MLA_INLINE_LAMBDA { return load(p); },
        [](float* p, F32 v) MLA_INLINE_LAMBDA { store(p, v); });
  }
  if (i < n) {
    const int64_t rest = n - i;
    f(
        i, [rest](const float* p) MLA_INLINE_LAMBDA { return load_n(p, rest); },
        [rest](float* p, F32 v) MLA_INLINE_LAMBDA { store_n(p, v, rest); });
  }
}

static void add_rows(float* x, const float* y, int64_t n) noexcept {
  for_vectors(
      n, [&](int64_t i, auto get, auto put) MLA_INLINE_LAMBDA { put(x + i, add(get(x + i), get(y + i))); });
}

static void rms_norm(const float* x, const float* weight, float eps, float* out, int64_t n) noexcept {
  F32 squares = zero();
  for_vectors(n, [&](int64_t i, auto get, auto) MLA_INLINE_LAMBDA {
    const F32 v = get(x + i);
    squares = fma(v, v, squares);
  });
  const F32 scale = set1(1.0F / __builtin_sqrtf(sum(squares) / static_cast<float>(n) + eps));
  for_vectors(n, [&](int64_t i, auto get, auto put)
                     MLA_INLINE_LAMBDA { put(out + i, mul(mul(get(x + i), scale), get(weight + i))); });
}

/// Two passes, mean first: the variance of large values with a small spread keeps its digits.
static void layer_norm(const float* x, const float* weight, const float* bias, float eps, float* out,
                       int64_t n) noexcept {
  F32 total = zero();
  for_vectors(n, [&](int64_t i, auto get, auto) MLA_INLINE_LAMBDA { total = add(total, get(x + i)); });
  const float mean = sum(total) / static_cast<float>(n);
  float squares = 0.0F;
  F32 sums = zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const F32 d = sub(load(x + i), set1(mean));
    sums = fma(d, d, sums);
  }
  for (; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const F32 scale = set1(1.0F / __builtin_sqrtf((sum(sums) + squares) / static_cast<float>(n) + eps));
  for_vectors(n, [&](int64_t at, auto get, auto put) MLA_INLINE_LAMBDA {
    const F32 normal = mul(sub(get(x + at), set1(mean)), scale);
    put(out + at,
        bias != nullptr ? fma(normal, get(weight + at), get(bias + at)) : mul(normal, get(weight + at)));
  });
}

static void silu_mul(const float* gate, const float* up, float* out, int64_t n) noexcept {
  for_vectors(n, [&](int64_t i, auto get, auto put)
                     MLA_INLINE_LAMBDA { put(out + i, mul(silu(get(gate + i)), get(up + i))); });
}

static void gelu_tanh(float* x, int64_t n) noexcept {
  for_vectors(n, [&](int64_t i, auto get, auto put) MLA_INLINE_LAMBDA {
    const F32 v = get(x + i);
    const F32 inner = mul(set1(0.79788456F), fma(mul(mul(v, v), v), set1(0.044715F), v));
    put(x + i, mul(mul(set1(0.5F), v), add(set1(1.0F), tanh(inner))));
  });
}

static void gelu_erf(float* x, int64_t n) noexcept {
  for_vectors(n, [&](int64_t i, auto get, auto put) MLA_INLINE_LAMBDA {
    const F32 v = get(x + i);
    put(x + i, mul(mul(set1(0.5F), v), add(set1(1.0F), erf(mul(v, set1(0.70710678F))))));
  });
}

void fill_rowwise(Kernels& kernels) {
  kernels.add = add_rows;
  kernels.rms_norm = rms_norm;
  kernels.layer_norm = layer_norm;
  kernels.silu_mul = silu_mul;
  kernels.gelu_tanh = gelu_tanh;
  kernels.gelu_erf = gelu_erf;
}

}  // namespace mla::cpu::MLA_CPU_ISA
