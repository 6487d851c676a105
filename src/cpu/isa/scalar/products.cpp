#define MLA_CPU_ISA scalar
#include "cpu/isa/simd_scalar.h"

#include "cpu/isa/products-inl.h"
