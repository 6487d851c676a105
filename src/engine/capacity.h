#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include "base/result.h"
#include "ops/backend.h"
#include "tensor/tensor_view.h"

namespace mla {

/// Memory that can still be used without swapping.
struct MemoryBudget {
  int64_t bytes = 0;
  bool of_control_group = false;  ///< a limit on this process's control groups is what binds, not the machine
};

/// MemAvailable of /proc/meminfo, or what the control groups of this process have left where that is less. Nothing where
/// neither can be read. `root`: as in base/control_group.h.
std::optional<MemoryBudget> memory_budget(const std::filesystem::path& root = "/");
/// Its bytes.
std::optional<int64_t> available_memory();

/// The bytes that a /proc/meminfo text calls available.
std::optional<int64_t> parse_mem_available(std::string_view meminfo);

/// What weights keep in memory while the model runs.
struct WeightMemory {
  int64_t packed = 0;  ///< copies in the backend's layout; the file's pages are given back
  int64_t mapped = 0;  ///< used where the file has them: pages that could be dropped, but are read for every token
};

/// The same before anything is loaded. Tensors that lie in memory already, and not in a file, take no more where they are used
/// in place.
WeightMemory weight_memory(std::span<const TensorView> tensors, bool in_file, const Backend& backend);

/// What is left of the budget beside the weights; nothing when the budget is unknown. Errors: kResource when they do not
/// fit (message: what is needed, what there is and who limits it, what to change).
Result<std::optional<int64_t>> memory_beside_weights(const WeightMemory& weights, const std::optional<MemoryBudget>& budget);

/// Pages of `page_bytes` for a cache. `max_tokens` > 0: exactly what holds that many tokens. 0: the model's
/// context, reduced to the share of the available memory that a cache may take. Errors: kUsage for negative
/// max_tokens; kResource when the pages asked for, or a single one, do not fit (message with the numbers and
/// what to change).
Result<int64_t> choose_cache_pages(int64_t max_tokens, int64_t n_context, int64_t page_bytes,
                                   std::optional<int64_t> available);

/// The most sequences of `n_tokens` (at least 1) whose pages fit into `memory` bytes beside the weights: memory is given
/// out in whole pages of `page_bytes`, activations are not counted. 0 when not one fits, or not even the weights.
int64_t largest_batch(int64_t memory, int64_t weight_bytes, int64_t page_bytes, int64_t n_tokens);

}  // namespace mla
