#include <algorithm>
#include <cstring>

#include "ops/page_memory.h"
#include "reference/reference_backend.h"

namespace mla {

Activation ReferenceBackend::scratch(int64_t n_rows, int64_t n_cols) {
  return arena_.activation(n_rows, n_cols);
}

Routing ReferenceBackend::scratch_routing(int64_t n_tokens, int64_t n_used) {
  return arena_.routing(n_tokens, n_used);
}

void ReferenceBackend::release_scratch() {
  arena_.release();
}

Result<std::shared_ptr<std::byte>> ReferenceBackend::allocate_pages(int64_t bytes) {
  return allocate_page_memory(bytes);
}

void ReferenceBackend::copy_bytes(std::byte* to, const std::byte* from, int64_t n) {
  std::memmove(to, from, static_cast<size_t>(n));
}

void ReferenceBackend::download(const Activation& x, float* out) {
  for (int64_t i = 0; i < x.n_rows; ++i) std::copy_n(x.row(i), x.n_cols, out + i * x.n_cols);
}

std::unique_ptr<Backend> make_reference_backend() {
  return std::make_unique<ReferenceBackend>();
}

}  // namespace mla
