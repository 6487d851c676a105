#pragma once

/// Kernels are built from small functions that must disappear into their caller at every optimisation level,
/// and that must never be emitted as shared symbols: the linker could pick the copy of a better instruction
/// set for everyone.
#define MLA_INLINE [[maybe_unused, gnu::always_inline]] static inline
/// Lambdas of kernels, between their parameters and their body.
#define MLA_INLINE_LAMBDA __attribute__((always_inline))

#define MLA_PRAGMA(text) _Pragma(#text)
/// Unrolls the next loop completely: its index chooses registers.
#define MLA_UNROLL MLA_PRAGMA(GCC unroll 32)
