#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace mla {

/// Memory that can still be used without swapping: MemAvailable of /proc/meminfo, or what the control groups
/// of this process have left where that is less. Nothing where neither can be read.
std::optional<int64_t> available_memory();

/// The bytes that a /proc/meminfo text calls available.
std::optional<int64_t> parse_mem_available(std::string_view meminfo);

/// The bytes that a control group (version 2) has left, from the texts of its memory.max, memory.current and
/// memory.stat. As in MemAvailable, file pages that can be dropped count as free: reading a model's file
/// fills the group with them. Nothing when the group has no limit.
std::optional<int64_t> parse_control_group(std::string_view limit, std::string_view current,
                                           std::string_view stat);

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
