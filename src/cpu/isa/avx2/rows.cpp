#define MLA_CPU_ISA avx2
#define MLA_CPU_SIMD "cpu/isa/simd_avx2.h"
#include "cpu/isa/rows-inl.h"
