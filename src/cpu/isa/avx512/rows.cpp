#define MLA_CPU_ISA avx512
#define MLA_CPU_SIMD "cpu/isa/simd_avx512.h"
#include "cpu/isa/rows-inl.h"
