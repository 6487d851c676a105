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

template <class... Fills>
Kernels extended(Isa isa, Fills... fills) {
  Kernels kernels = kernels_for(isa);
  (fills(kernels), ...);
  return kernels;
}

/// The same with 8-bit activations; the matrix unit's products keep theirs.
const Kernels& kernels_8_bit(Isa isa) {
  switch (isa) {
    case Isa::kAmx: {
      static const Kernels kAmx = extended(Isa::kAmx, avx512vnni::fill_interleaved_8_bit);
      return kAmx;
    }
    case Isa::kAvx512Bf16: {
      static const Kernels kAvx512Bf16 = extended(Isa::kAvx512Bf16, avx512vnni::fill_interleaved_8_bit);
      return kAvx512Bf16;
    }
    case Isa::kAvx512Vnni: {
      static const Kernels kAvx512Vnni = extended(Isa::kAvx512Vnni, avx512vnni::fill_interleaved_8_bit);
      return kAvx512Vnni;
    }
    default: return kernels_for(isa);
  }
}

}  // namespace

// A table is filled when it is first asked for: its fill functions are compiled for its instruction set, too.
const Kernels& kernels_for(Isa isa, Activations activations) {
  if (activations == Activations::k8Bit) return kernels_8_bit(isa);
  switch (isa) {
    case Isa::kAmx: {
      static const Kernels kAmx = extended(Isa::kAvx512Bf16, amx::fill_block_product, amx::fill_products);
      return kAmx;
    }
    case Isa::kAvx512Bf16: {
      static const Kernels kAvx512Bf16 =
          extended(Isa::kAvx512Vnni, avx512bf16::fill_block_product, avx512bf16::fill_attention);
      return kAvx512Bf16;
    }
    case Isa::kAvx512Vnni: {
      static const Kernels kAvx512Vnni = extended(Isa::kAvx512, avx512vnni::fill_interleaved);
      return kAvx512Vnni;
    }
    case Isa::kAvx512: {
      static const Kernels kAvx512 = make(avx512::fill_products, avx512::fill_attention, avx512::fill_rows, avx512::fill_rowwise);
      return kAvx512;
    }
    case Isa::kAvx2: {
      static const Kernels kAvx2 = make(avx2::fill_products, avx2::fill_attention, avx2::fill_rows, avx2::fill_rowwise);
      return kAvx2;
    }
    case Isa::kScalar: break;
  }
  static const Kernels kScalar = make(scalar::fill_products, scalar::fill_attention, scalar::fill_rows, scalar::fill_rowwise);
  return kScalar;
}

}  // namespace mla::cpu
