#pragma once

#include <memory>

#include "base/cpu_features.h"
#include "base/result.h"
#include "ops/backend.h"

namespace mla {

struct CpuOptions {
  int n_threads = 0;     ///< 0 = default_thread_count()
  Isa isa = Isa::kScalar;
};

/// Backend no. 2: threads and vector kernels for one instruction set. Results do not depend on the number of threads.
/// Errors: kUsage when this machine cannot run `options.isa`.
Result<std::unique_ptr<Backend>> make_cpu_backend(const CpuOptions& options);

}  // namespace mla
