#define MLA_CPU_ISA avx2
#include "cpu/isa/simd_avx2.h"

#include "cpu/isa/attention-inl.h"
