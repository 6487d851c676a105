#include "cpu/backend.h"

#include <algorithm>
#include <string>
#include <utility>

namespace mla::cpu {
namespace {

// Waking the other threads and waiting for the last costs a few microseconds: as much as this many
// multiply-adds or bytes on one thread.
constexpr double kWorthWaking = 100e3;

// More than any machine has processors for; a larger number is a mistake.
constexpr int kMaxThreads = 1024;

}  // namespace

CpuBackend::CpuBackend(const Kernels& kernels, std::string_view name, std::string numerics, int n_threads)
    : kernels_(kernels), name_(name), numerics_(std::move(numerics)), pool_(n_threads) {}

void CpuBackend::parallel(int64_t n, const std::function<void(int64_t i)>& work) {
  for_tasks(n, 2 * kWorthWaking, [&](int64_t i, int /*thread*/) { work(i); });
}

void CpuBackend::for_tasks(int64_t n, double work, const Task& fn) {
  if (n <= 1 || work < kWorthWaking || pool_.size() == 1) {
    for (int64_t i = 0; i < n; ++i) fn(i, 0);
    return;
  }
  pool_.parallel_for(n, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) fn(i, thread);
  });
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
  if (options.n_threads < 0 || options.n_threads > cpu::kMaxThreads) {
    return Error::usage("number of threads " + std::to_string(options.n_threads) + ": expected 1 to " +
                        std::to_string(cpu::kMaxThreads) + ", or 0 for all processors");
  }
  const int n_threads = options.n_threads == 0 ? default_thread_count() : options.n_threads;
  const std::string_view name = isa_name(options.isa);
  std::string numerics = "cpu " + std::string(name) + (options.activations == Activations::k8Bit ? ", 8-bit activations" : "");
  return std::unique_ptr<Backend>(std::make_unique<cpu::CpuBackend>(cpu::kernels_for(options.isa, options.activations), name,
                                                                    std::move(numerics), n_threads));
}

}  // namespace mla
