// Vector exp, tanh, erf. Includes the primitives that MLA_CPU_SIMD names. Constants: Cephes' expf; Abramowitz
// and Stegun 7.1.26 for erf.

#pragma once

#include MLA_CPU_SIMD

namespace mla::cpu::MLA_CPU_ISA {

/// e^x, relative error below 2e-7 for |x| <= 87; beyond, the value at the border (1e-38, 2e38). NaN stays
/// NaN.
MLA_INLINE F32 exp(F32 x) {
  x = max2(set1(-87.33654F), min2(set1(88.37626F), x));
  const F32 n = round(mul(x, set1(1.44269504F)));
  F32 r = fma(n, set1(-0.693359375F), x);  // ln 2 in two parts
  r = fma(n, set1(2.12194440e-4F), r);
  F32 p = set1(1.9875691500e-4F);
  p = fma(p, r, set1(1.3981999507e-3F));
  p = fma(p, r, set1(8.3334519073e-3F));
  p = fma(p, r, set1(4.1665795894e-2F));
  p = fma(p, r, set1(1.6666665459e-1F));
  p = fma(p, r, set1(5.0000001201e-1F));
  p = add(fma(p, mul(r, r), r), set1(1.0F));
  return mul(p, pow2(n));
}

/// tanh x = sign(x) (1 - e^-2|x|) / (1 + e^-2|x|), absolute error below 2e-7.
MLA_INLINE F32 tanh(F32 x) {
  const F32 e = exp(mul(abs(x), set1(-2.0F)));
  return copy_sign(div(sub(set1(1.0F), e), add(set1(1.0F), e)), x);
}

/// erf x, absolute error below 3e-7.
MLA_INLINE F32 erf(F32 x) {
  const F32 a = abs(x);
  const F32 t = div(set1(1.0F), fma(a, set1(0.3275911F), set1(1.0F)));
  F32 p = set1(1.061405429F);
  p = fma(p, t, set1(-1.453152027F));
  p = fma(p, t, set1(1.421413741F));
  p = fma(p, t, set1(-0.284496736F));
  p = fma(p, t, set1(0.254829592F));
  const F32 e = exp(sub(zero(), mul(a, a)));
  return copy_sign(sub(set1(1.0F), mul(mul(p, t), e)), x);
}

/// x / (1 + e^-x)
MLA_INLINE F32 silu(F32 x) {
  return div(x, add(set1(1.0F), exp(sub(zero(), x))));
}

}  // namespace mla::cpu::MLA_CPU_ISA
