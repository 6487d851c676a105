#define MLA_CPU_ISA scalar
#define MLA_CPU_SIMD "cpu/isa/simd_scalar.h"
#include "cpu/isa/rows-inl.h"
