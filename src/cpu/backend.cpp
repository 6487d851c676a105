#include "cpu/backend.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "ops/page_memory.h"

namespace mla::cpu {
namespace {

// Waking the other threads and waiting for the last costs a few microseconds: as much as this many
// multiply-adds or bytes on one thread.
constexpr double kWorthWaking = 100e3;

}  // namespace

CpuBackend::CpuBackend(const Kernels& kernels, std::string_view name, int n_threads)
    : kernels_(kernels), name_(name), pool_(n_threads) {}

void CpuBackend::for_tasks(int64_t n, double work, const Task& fn) {
  if (n <= 1 || work < kWorthWaking || pool_.size() == 1) {
    for (int64_t i = 0; i < n; ++i) fn(i, 0);
    return;
  }
  pool_.parallel_for(n, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) fn(i, thread);
  });
}

Activation CpuBackend::scratch(int64_t n_rows, int64_t n_cols) {
  return arena_.activation(n_rows, n_cols);
}
Routing CpuBackend::scratch_routing(int64_t n_tokens, int64_t n_used) {
  return arena_.routing(n_tokens, n_used);
}
void CpuBackend::release_scratch() {
  arena_.release();
}

Result<std::shared_ptr<std::byte>> CpuBackend::allocate_pages(int64_t bytes) {
  return allocate_page_memory(bytes);
}

void CpuBackend::copy_bytes(std::byte* to, const std::byte* from, int64_t n) {
  std::memmove(to, from, static_cast<size_t>(n));
}

void CpuBackend::download(const Activation& x, float* out) {
  for (int64_t i = 0; i < x.n_rows; ++i) std::copy_n(x.row(i), x.n_cols, out + i * x.n_cols);
}

}  // namespace mla::cpu

namespace mla {

Result<std::unique_ptr<Backend>> make_cpu_backend(const CpuOptions& options) {
  const std::vector<Isa> isas = available_isas();
  if (std::find(isas.begin(), isas.end(), options.isa) == isas.end()) {
    return Error::usage("instruction set '" + std::string(isa_name(options.isa)) + "': this machine (" +
                        cpu_features().model + ") cannot run it; the best it can is '" +
                        std::string(isa_name(isas.back())) + "'");
  }
  if (options.n_threads < 0) {
    return Error::usage("number of threads " + std::to_string(options.n_threads) +
                        ": expected 1 or more, or 0 for all processors");
  }
  const int n_threads = options.n_threads == 0 ? default_thread_count() : options.n_threads;
  return std::unique_ptr<Backend>(
      std::make_unique<cpu::CpuBackend>(cpu::kernels_for(options.isa), isa_name(options.isa), n_threads));
}

}  // namespace mla
