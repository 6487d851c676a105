#include "cpu/kernels.h"

namespace mla::cpu {
namespace {

using Fill = void (*)(Kernels&);

Kernels make(Fill products, Fill attention, Fill rowwise) {
  Kernels kernels;
  products(kernels);
  attention(kernels);
  rowwise(kernels);
  return kernels;
}

}  // namespace

const Kernels& kernels_for(Isa isa) {
  static const Kernels kScalar = make(scalar::fill_products, scalar::fill_attention, scalar::fill_rowwise);
  static const Kernels kAvx2 = make(avx2::fill_products, avx2::fill_attention, avx2::fill_rowwise);
  static const Kernels kAvx512 = make(avx512::fill_products, avx512::fill_attention, avx512::fill_rowwise);
  switch (isa) {
    case Isa::kAvx512:
      return kAvx512;
    case Isa::kAvx2:
      return kAvx2;
    case Isa::kScalar:
      break;
  }
  return kScalar;
}

}  // namespace mla::cpu
