#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mla {

/// Instruction sets the CPU backend has kernels for, worst first.
enum class Isa { kScalar, kAvx2, kAvx512, kAvx512Vnni, kAvx512Bf16, kAmx };

std::string_view isa_name(Isa isa);

/// What the processor and the operating system together allow (CPUID and XGETBV).
struct CpuFeatures {
  std::string vendor;       ///< e.g. "GenuineIntel"
  std::string model;        ///< e.g. "Intel(R) Xeon(R) ..."
  bool avx2 = false;        ///< AVX2 + FMA + F16C, and the OS saves YMM state
  bool avx512 = false;      ///< AVX-512 F, BW, DQ, VL, and the OS saves ZMM state
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool amx_tile = false, amx_bf16 = false, amx_int8 = false;  ///< and the OS saves tiles and lets this process use them
};

/// Detected once, on first use.
const CpuFeatures& cpu_features();

/// Every Isa this machine can run, worst first; always contains kScalar.
std::vector<Isa> available_isas();

/// The Isa to use: the one that `wanted` names, else the one that the environment variable MLA_ISA names
/// (scalar|avx2|avx512|avx512vnni|avx512bf16|amx), else the best available one. Errors: kUsage for an unknown name or one that
/// this machine cannot run, naming what is missing.
Result<Isa> choose_isa(std::string_view wanted = {});

/// For each Isa better than `chosen`: one line that says why it was not chosen. For `mla doctor`.
std::vector<std::string> refused_isas(Isa chosen);

}  // namespace mla
