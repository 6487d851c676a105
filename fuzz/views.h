#pragma once

#include <vector>

#include "base/file.h"
#include "input.h"
#include "tensor/tensor_view.h"

namespace mla::fuzz {

/// Every tensor's bytes lie in the file.
inline void check_views(const std::vector<TensorView>& tensors, const MappedFile& file) {
  const std::span<const std::byte> bytes = file.bytes();
  for (const TensorView& tensor : tensors) {
    const auto n = static_cast<size_t>(tensor.n_bytes());
    require(n <= bytes.size(), "a tensor is no longer than its file");
    if (n == 0) continue;
    require(tensor.data >= bytes.data() && tensor.data <= bytes.data() + (bytes.size() - n),
            "a tensor lies in its file");
  }
}

}  // namespace mla::fuzz
