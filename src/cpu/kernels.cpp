#include "cpu/kernels.h"

namespace mla::cpu {
namespace {

using Fill = void (*)(Kernels&);

Kernels make(Fill products, Fill attention, Fill rows, Fill rowwise) {
  Kernels kernels;
  products(kernels);
  attention(kernels);
  rows(kernels);
  rowwise(kernels);
  return kernels;
}

}  // namespace

// A table is filled when it is first asked for: its fill functions are compiled for its instruction set, too.
const Kernels& kernels_for(Isa isa) {
  if (isa == Isa::kAvx512Vnni) {
    static const Kernels kAvx512Vnni = [] {
      Kernels kernels = kernels_for(Isa::kAvx512);
      avx512vnni::fill_interleaved(kernels);
      return kernels;
    }();
    return kAvx512Vnni;
  }
  if (isa == Isa::kAvx512) {
    static const Kernels kAvx512 = make(avx512::fill_products, avx512::fill_attention, avx512::fill_rows, avx512::fill_rowwise);
    return kAvx512;
  }
  if (isa == Isa::kAvx2) {
    static const Kernels kAvx2 = make(avx2::fill_products, avx2::fill_attention, avx2::fill_rows, avx2::fill_rowwise);
    return kAvx2;
  }
  static const Kernels kScalar = make(scalar::fill_products, scalar::fill_attention, scalar::fill_rows, scalar::fill_rowwise);
  return kScalar;
}

}  // namespace mla::cpu
