#include "engine/capacity.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "base/control_group.h"
#include "cache/page_pool.h"

namespace mla {
namespace {

/// Share of the available memory that a cache sized by itself takes; the rest is for activations and
/// everybody else.
constexpr double kMemoryShare = 0.8;

constexpr double kMiB = 1024.0 * 1024.0;

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string mebibytes(int64_t bytes) {
  return fmt::format("{:.0f} MiB", static_cast<double>(bytes) / kMiB);
}

}  // namespace

std::optional<int64_t> parse_mem_available(std::string_view meminfo) {
  const auto kib = number_after(meminfo, "MemAvailable:");
  if (!kib || *kib > std::numeric_limits<int64_t>::max() / 1024) return std::nullopt;
  return *kib * 1024;
}

std::optional<MemoryBudget> memory_budget(const std::filesystem::path& root) {
  const auto meminfo = read_file(root / "proc/meminfo");
  const auto system = meminfo ? parse_mem_available(*meminfo) : std::nullopt;
  const auto group = control_group_memory(root);
  if (group && (!system || *group < *system)) return MemoryBudget{.bytes = *group, .of_control_group = true};
  if (system) return MemoryBudget{.bytes = *system};
  return std::nullopt;
}

std::optional<int64_t> available_memory() {
  const auto budget = memory_budget();
  return budget ? std::optional(budget->bytes) : std::nullopt;
}

WeightMemory weight_memory(std::span<const TensorView> tensors, bool in_file, const Backend& backend) {
  WeightMemory memory;
  for (const TensorView& tensor : tensors) {
    const int64_t packed = backend.packed_bytes(tensor);
    if (packed > 0) {
      memory.packed += packed;
    } else if (in_file) {
      memory.mapped += tensor.n_bytes();
    }
  }
  return memory;
}

Result<std::optional<int64_t>> memory_beside_weights(const WeightMemory& weights, const std::optional<MemoryBudget>& budget) {
  if (!budget) return std::optional<int64_t>();
  const int64_t left = budget->bytes - std::min(budget->bytes, weights.packed + weights.mapped);
  if (weights.packed + weights.mapped <= budget->bytes) return std::optional(left);
  return Error::resource(fmt::format(
      "the weights take {} ({} packed for this processor, {} used where the file has them), {} has {} left; {}, or use a smaller "
      "quantisation of the model",
      mebibytes(weights.packed + weights.mapped), mebibytes(weights.packed), mebibytes(weights.mapped),
      budget->of_control_group ? "the control group of this process" : "this machine", mebibytes(budget->bytes),
      budget->of_control_group ? "raise the group's memory limit" : "close other programs"));
}

Result<int64_t> choose_cache_pages(int64_t max_tokens, int64_t n_context, int64_t page_bytes,
                                   std::optional<int64_t> available) {
  if (max_tokens < 0)
    return Error::usage(fmt::format("cache of {} tokens: expected 0 (automatic) or more", max_tokens));
  const int64_t free_bytes = available.value_or(std::numeric_limits<int64_t>::max());
  if (max_tokens > 0) {
    const int64_t pages = pages_for(std::min(max_tokens, std::numeric_limits<int64_t>::max() - kPageRows));
    if (pages <= free_bytes / page_bytes) return pages;
    return Error::resource(fmt::format(
        "a cache of {} tokens takes {:.0f} MiB ({} bytes per token), but only {:.0f} MiB of memory are "
        "available: at most {} tokens "
        "fit; use a smaller cache or the int8 row format",
        max_tokens, static_cast<double>(pages) * static_cast<double>(page_bytes) / kMiB,
        page_bytes / kPageRows, static_cast<double>(free_bytes) / kMiB, free_bytes / page_bytes * kPageRows));
  }
  const int64_t share = static_cast<int64_t>(static_cast<double>(free_bytes) * kMemoryShare);
  const int64_t pages = std::min(pages_for(n_context), share / page_bytes);
  if (pages >= 1) return pages;
  return Error::resource(fmt::format(
      "one page of the cache ({} tokens) takes {:.1f} MiB, but only {:.1f} MiB of memory are available",
      kPageRows, static_cast<double>(page_bytes) / kMiB, static_cast<double>(free_bytes) / kMiB));
}

int64_t largest_batch(int64_t memory, int64_t weight_bytes, int64_t page_bytes, int64_t n_tokens) {
  return memory > weight_bytes ? (memory - weight_bytes) / page_bytes / pages_for(n_tokens) : 0;
}

}  // namespace mla
