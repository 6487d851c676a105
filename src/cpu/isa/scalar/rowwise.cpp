#define MLA_CPU_ISA scalar
#include "cpu/isa/simd_scalar.h"

#include "cpu/isa/rowwise-inl.h"
