#include "ops/host_memory_backend.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace mla {
namespace {

Error refuse(const TensorView& view, const std::string& what) {
  return Error::invalid_file(fmt::format("tensor '{}' ({} {}) cannot be a weight: {}", view.name,
                                         dtype_info(view.dtype).name, shape_string(view.shape), what));
}

Status check(const TensorView& view) {
  if (!is_weight_dtype(view.dtype)) return refuse(view, "its element type holds no weights");
  if (view.rank() < 1 || view.rank() > 3) return refuse(view, "expected 1, 2 or 3 dimensions");
  const int64_t block = dtype_info(view.dtype).block_size;
  if (view.n_in() % block != 0)
    return refuse(view, fmt::format("rows must be a multiple of the type's block of {} elements", block));
  return {};
}

}  // namespace

Result<Weight> HostMemoryBackend::pack(const TensorView& view) {
  return pack_views({&view, 1});
}

Result<Weight> HostMemoryBackend::pack_stack(std::span<const TensorView> matrices) {
  if (matrices.empty())
    return Error::invalid_file("a stack of no matrices cannot be a weight: expected at least one");
  const TensorView& first = matrices[0];
  for (const TensorView& view : matrices) {
    if (view.rank() != 2) return refuse(view, "a matrix of a stack has 2 dimensions");
    if (view.shape != first.shape || view.dtype != first.dtype) {
      return refuse(view, fmt::format("it differs from '{}' ({} {}) in the same stack", first.name,
                                      dtype_info(first.dtype).name, shape_string(first.shape)));
    }
  }
  return pack_views(matrices);
}

Result<Weight> HostMemoryBackend::pack_views(std::span<const TensorView> views) {
  for (const TensorView& view : views) MLA_TRY(check(view));
  try {
    return make_weight(views);
  } catch (const std::bad_alloc&) {
    return Error::resource(fmt::format("tensor '{}': no memory to unpack it", views.front().name));
  }
}

Activation HostMemoryBackend::scratch(int64_t n_rows, int64_t n_cols) {
  return arena_.activation(n_rows, n_cols);
}

Routing HostMemoryBackend::scratch_routing(int64_t n_tokens, int64_t n_used) {
  return arena_.routing(n_tokens, n_used);
}

void HostMemoryBackend::release_scratch() {
  arena_.release();
}

Result<std::shared_ptr<std::byte>> HostMemoryBackend::allocate_pages(int64_t bytes) {
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
  madvise(memory, size, MADV_HUGEPAGE);  // a wish: rows of wide caches lie pages apart
  return std::shared_ptr<std::byte>(static_cast<std::byte*>(memory),
                                    [size](std::byte* p) { munmap(p, size); });
}

void HostMemoryBackend::copy_bytes(std::byte* to, const std::byte* from, int64_t n) {
  std::memmove(to, from, static_cast<size_t>(n));
}

void HostMemoryBackend::download(const Activation& x, float* out) {
  for (int64_t i = 0; i < x.n_rows; ++i) std::copy_n(x.row(i), x.n_cols, out + i * x.n_cols);
}

}  // namespace mla
