#include "api/backend.h"

#include "base/cpu_features.h"
#include "cpu/cpu_backend.h"

namespace mla {

Result<std::unique_ptr<Backend>> make_backend(const LanguageModelOptions& options) {
  if (options.backend == ComputeBackend::kReference) return make_reference_backend();
  MLA_ASSIGN(const Isa isa, choose_isa());
  return make_cpu_backend({.n_threads = options.n_threads,
                           .isa = isa,
                           .activations = options.activations_of_8_bits ? Activations::k8Bit : Activations::k16Bit});
}

RowFormat row_format(CacheElement element) {
  switch (element) {
    case CacheElement::kF32:
      return RowFormat::kF32;
    case CacheElement::kBF16:
      return RowFormat::kBF16;
    case CacheElement::kInt8:
      return RowFormat::kInt8;
    case CacheElement::kInt6:
      return RowFormat::kInt6;
    case CacheElement::kInt4:
      return RowFormat::kInt4;
  }
  return RowFormat::kBF16;
}

}  // namespace mla
