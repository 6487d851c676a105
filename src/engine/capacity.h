#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace mla {

/// Memory that can still be used without swapping: MemAvailable of /proc/meminfo, or what the control group
/// of this process has left where that is less. Nothing where neither can be read.
std::optional<int64_t> available_memory();

/// The bytes that a /proc/meminfo text calls available.
std::optional<int64_t> parse_mem_available(std::string_view meminfo);

/// Pages of `page_bytes` for a cache. `max_tokens` > 0: exactly what holds that many tokens. 0: the model's
/// context, reduced to the share of the available memory that a cache may take. Errors: kUsage for negative
/// max_tokens; kResource when the pages asked for, or a single one, do not fit (message with the numbers and
/// what to change).
Result<int64_t> choose_cache_pages(int64_t max_tokens, int64_t n_context, int64_t page_bytes,
                                   std::optional<int64_t> available);

}  // namespace mla
