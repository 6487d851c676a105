#include "reference/weight.h"

#include <algorithm>
#include <cassert>
#include <memory>
#include <string>
#include <utility>

#include "reference/reference_backend.h"

namespace mla {
namespace {

Error refuse(const TensorView& view, const std::string& what) {
  return Error::invalid_file("tensor '" + view.name + "' (" + std::string(dtype_info(view.dtype).name) + " " +
                             shape_string(view.shape) + ") cannot be a weight: " + what);
}

Status check(const TensorView& view) {
  if (!is_weight_dtype(view.dtype)) return refuse(view, "its element type holds no weights");
  if (view.rank() < 1 || view.rank() > 3) return refuse(view, "expected 1, 2 or 3 dimensions");
  const int64_t block = dtype_info(view.dtype).block_size;
  if (view.n_in() % block != 0) {
    return refuse(view,
                  "rows must be a multiple of the type's block of " + std::to_string(block) + " elements");
  }
  return {};
}

}  // namespace

ReferenceWeight::ReferenceWeight(std::vector<TensorView> views) : views_(std::move(views)) {
  const TensorView& v = views_.front();
  n_in = v.n_in();
  n_out = v.rank() >= 2 ? v.shape[v.shape.size() - 2] : 1;
  n_stack = views_.size() > 1 ? static_cast<int64_t>(views_.size()) : (v.rank() == 3 ? v.shape[0] : 1);
  dtype = v.dtype;
  for (const TensorView& view : views_) file_bytes += view.n_bytes();
}

std::vector<float> ReferenceWeight::row(int64_t s, int64_t i) const {
  assert(s >= 0 && s < n_stack && i >= 0 && i < n_out);
  std::vector<float> out(static_cast<size_t>(n_in));
  if (views_.size() == 1) {
    dequantize_row(views_[0], s * n_out + i, out.data());
  } else {
    dequantize_row(views_[static_cast<size_t>(s)], i, out.data());
  }
  return out;
}

std::vector<float> ReferenceWeight::matrix(int64_t s) const {
  std::vector<float> out;
  out.reserve(static_cast<size_t>(n_out * n_in));
  for (int64_t i = 0; i < n_out; ++i) {
    const std::vector<float> r = row(s, i);
    out.insert(out.end(), r.begin(), r.end());
  }
  return out;
}

Result<Weight> ReferenceBackend::pack(const TensorView& view) {
  MLA_TRY(check(view));
  return Weight(std::make_shared<ReferenceWeight>(std::vector<TensorView>{view}));
}

Result<Weight> ReferenceBackend::pack_stack(std::span<const TensorView> matrices) {
  if (matrices.empty())
    return Error::invalid_file("a stack of no matrices cannot be a weight: expected at least one");
  for (const TensorView& view : matrices) {
    MLA_TRY(check(view));
    if (view.rank() != 2) return refuse(view, "a matrix of a stack has 2 dimensions");
    if (view.shape != matrices[0].shape || view.dtype != matrices[0].dtype) {
      return refuse(view, "it differs from '" + matrices[0].name + "' (" +
                              std::string(dtype_info(matrices[0].dtype).name) + " " +
                              shape_string(matrices[0].shape) + ") in the same stack");
    }
  }
  return Weight(std::make_shared<ReferenceWeight>(std::vector<TensorView>(matrices.begin(), matrices.end())));
}

}  // namespace mla
