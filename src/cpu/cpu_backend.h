#pragma once

#include <memory>

#include "base/cpu_features.h"
#include "base/result.h"
#include "ops/backend.h"

namespace mla {

/// How products with block-quantised weights see activations: as fixed-point numbers with a scale for each 32. 16 bits keep
/// nearly what f32 would (cpu/interleaved.h). 8 bits, which is what other engines use, take half the arithmetic and are 256
/// times coarser (docs/performance-log.md has what that does to predictions). Instruction sets without such integer products (below avx512vnni) compute in f32,
/// and the matrix unit in sums of two bf16, whatever is asked for.
enum class Activations { k16Bit, k8Bit };

struct CpuOptions {
  int n_threads = 0;     ///< 0 = default_thread_count()
  Isa isa = Isa::kScalar;
  Activations activations = Activations::k16Bit;
};

/// Backend no. 2: threads and vector kernels for one instruction set. Results do not depend on the number of threads.
/// Errors: kUsage when this machine cannot run `options.isa`.
Result<std::unique_ptr<Backend>> make_cpu_backend(const CpuOptions& options);

}  // namespace mla
