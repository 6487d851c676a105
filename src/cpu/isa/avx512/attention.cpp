#define MLA_CPU_ISA avx512
#include "cpu/isa/simd_avx512.h"

#include "cpu/isa/attention-inl.h"
