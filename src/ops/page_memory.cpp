#include "ops/page_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace mla {

Result<std::shared_ptr<std::byte>> allocate_page_memory(int64_t bytes) {
  if (bytes < 0)
    return Error::resource(fmt::format("cache pages: {} bytes asked for, expected 0 or more", bytes));
  const size_t size = static_cast<size_t>(std::max<int64_t>(bytes, 1));  // a mapping of nothing is refused
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return Error::resource(
        fmt::format("cache pages: the system refused {} bytes ({:.1f} GiB) of memory: {}; use fewer pages or "
                    "a smaller row format",
                    bytes, static_cast<double>(bytes) / (1 << 30), std::strerror(errno)));
  }
  return std::shared_ptr<std::byte>(static_cast<std::byte*>(memory),
                                    [size](std::byte* p) { munmap(p, size); });
}

}  // namespace mla
