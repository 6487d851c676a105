#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"

namespace mla {

/// Zeroed host memory for cache pages: page-aligned, and committed by the system only as pages are first
/// written, so a large cache costs nothing until it is used. Freed with the last reference. Errors: kResource
/// when `bytes` is negative or the system refuses.
Result<std::shared_ptr<std::byte>> allocate_page_memory(int64_t bytes);

}  // namespace mla
