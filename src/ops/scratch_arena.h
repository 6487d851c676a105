#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "ops/activation.h"
#include "ops/router.h"

namespace mla {

/// Host memory for the activations of one step: pieces are cut off one after the other and given back all at
/// once. The memory is kept, so that a steady stream of steps allocates nothing. Not thread-safe.
class ScratchArena {
 public:
  /// 64-byte aligned, uninitialised, valid until release(). Throws std::bad_alloc.
  std::byte* allocate(int64_t bytes);
  /// Contiguous [n_rows, n_cols].
  Activation activation(int64_t n_rows, int64_t n_cols);
  Routing routing(int64_t n_tokens, int64_t n_used);
  /// Forgets all pieces.
  void release();
  int64_t held_bytes() const { return held_bytes_; }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  struct Chunk {
    std::unique_ptr<std::byte, Free> memory;
    int64_t bytes = 0;
  };
  std::vector<Chunk> chunks_;
  size_t current_ = 0;  ///< chunk that pieces are cut from
  int64_t used_ = 0;    ///< bytes used of it
  int64_t held_bytes_ = 0;
};

}  // namespace mla
