#include "ops/scratch_arena.h"

#include <algorithm>
#include <new>

#include "base/checked.h"

namespace mla {
namespace {

constexpr int64_t kAlignment = 64;           // a cache line, and the widest vector register
constexpr int64_t kSmallestChunk = 1 << 20;  // bytes

/// Bytes of n x m elements; throws when no memory could hold them.
int64_t bytes_of(int64_t n, int64_t m, size_t element) {
  const Checked<int64_t> bytes = Checked<int64_t>(n) * m * static_cast<int64_t>(element);
  if (!bytes.valid()) throw std::bad_alloc();
  return *bytes.get();
}

}  // namespace

void ScratchArena::Free::operator()(std::byte* p) const {
  ::operator delete (p, std::align_val_t{kAlignment});
}

std::byte* ScratchArena::allocate(int64_t bytes) {
  const Checked<int64_t> rounded = Checked<int64_t>(bytes).align_up(kAlignment);
  if (bytes < 0 || !rounded.valid()) throw std::bad_alloc();
  const int64_t need = *rounded.get();
  for (; current_ < chunks_.size(); ++current_, used_ = 0) {
    Chunk& chunk = chunks_[current_];
    if (chunk.bytes - used_ < need) continue;
    std::byte* piece = chunk.memory.get() + used_;
    used_ += need;
    return piece;
  }
  // Every new chunk is as large as all before it, so their number stays logarithmic in the largest step's
  // needs.
  const int64_t size = std::max({need, kSmallestChunk, held_bytes_});
  auto* memory =
      static_cast<std::byte*>(::operator new (static_cast<size_t>(size), std::align_val_t{kAlignment}));
  chunks_.push_back({std::unique_ptr<std::byte, Free>(memory), size});
  held_bytes_ += size;
  current_ = chunks_.size() - 1;
  used_ = need;
  return memory;
}

Activation ScratchArena::activation(int64_t n_rows, int64_t n_cols) {
  auto* data = reinterpret_cast<float*>(allocate(bytes_of(n_rows, n_cols, sizeof(float))));
  return {data, n_rows, n_cols, n_cols};
}

Routing ScratchArena::routing(int64_t n_tokens, int64_t n_used) {
  Routing routing{n_tokens, n_used, nullptr, nullptr};
  routing.experts = reinterpret_cast<int32_t*>(allocate(bytes_of(n_tokens, n_used, sizeof(int32_t))));
  routing.weights = reinterpret_cast<float*>(allocate(bytes_of(n_tokens, n_used, sizeof(float))));
  return routing;
}

void ScratchArena::release() {
  current_ = 0;
  used_ = 0;
}

}  // namespace mla
