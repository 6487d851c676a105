#include "cpu/weight.h"

#include <new>
#include <string>

#include "cpu/backend.h"

namespace mla::cpu {
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

/// Whether the kernels can read a view as it lies: FP8 factors must not change within 32 elements (no known
/// model's do).
bool readable_in_place(const TensorView& view) {
  return view.rank() > 1 && (view.block_scale == nullptr || view.scale_block % 32 == 0);
}

}  // namespace

CpuWeight::CpuWeight(std::span<const TensorView> views) {
  const TensorView& v = views.front();
  n_in = v.n_in();
  n_out = v.rank() >= 2 ? v.shape[v.shape.size() - 2] : 1;
  n_stack = views.size() > 1 ? static_cast<int64_t>(views.size()) : (v.rank() == 3 ? v.shape[0] : 1);
  dtype = v.dtype;
  bool in_place = true;
  for (const TensorView& view : views) {
    file_bytes += view.n_bytes();
    in_place = in_place && readable_in_place(view);
  }
  if (!in_place) {
    decode(views);
    return;
  }
  matrices_.reserve(static_cast<size_t>(n_stack));
  for (const TensorView& view : views) add_matrices(view);
}

void CpuWeight::add_matrices(const TensorView& view) {
  WeightMatrix m;
  m.row_bytes = view.row_bytes();
  m.n_out = n_out;
  m.n_in = n_in;
  m.dtype = dtype;
  int64_t factors = 0;  // per matrix
  if (view.block_scale != nullptr) {
    m.scale_block = view.scale_block;
    m.scale_stride = (n_in + view.scale_block - 1) / view.scale_block;
    factors = (n_out + view.scale_block - 1) / view.scale_block * m.scale_stride;
  }
  const int64_t n = view.rank() == 3 ? view.shape[0] : 1;
  for (int64_t s = 0; s < n; ++s) {
    m.data = reinterpret_cast<const uint8_t*>(view.data) + s * n_out * m.row_bytes;
    if (view.block_scale != nullptr) m.block_scale = view.block_scale + s * factors;
    matrices_.push_back(m);
  }
}

void CpuWeight::decode(std::span<const TensorView> views) {
  decoded_.resize(static_cast<size_t>(n_stack * n_out * n_in));
  float* out = decoded_.data();
  for (const TensorView& view : views) {
    for (int64_t i = 0; i < view.n_rows(); ++i, out += n_in) dequantize_row(view, i, out);
  }
  owned_bytes = static_cast<int64_t>(decoded_.size() * sizeof(float));
  WeightMatrix m;
  m.row_bytes = n_in * static_cast<int64_t>(sizeof(float));
  m.n_out = n_out;
  m.n_in = n_in;
  for (int64_t s = 0; s < n_stack; ++s) {
    m.data = reinterpret_cast<const uint8_t*>(decoded_.data() + s * n_out * n_in);
    matrices_.push_back(m);
  }
}

Result<Weight> CpuBackend::pack(const TensorView& view) {
  return pack_views({&view, 1});
}

Result<Weight> CpuBackend::pack_stack(std::span<const TensorView> matrices) {
  if (matrices.empty())
    return Error::invalid_file("a stack of no matrices cannot be a weight: expected at least one");
  for (const TensorView& view : matrices) {
    if (view.rank() != 2) return refuse(view, "a matrix of a stack has 2 dimensions");
    if (view.shape != matrices[0].shape || view.dtype != matrices[0].dtype) {
      return refuse(view, "it differs from '" + matrices[0].name + "' (" +
                              std::string(dtype_info(matrices[0].dtype).name) + " " +
                              shape_string(matrices[0].shape) + ") in the same stack");
    }
  }
  return pack_views(matrices);
}

Result<Weight> CpuBackend::pack_views(std::span<const TensorView> views) {
  for (const TensorView& view : views) MLA_TRY(check(view));
  try {
    return Weight(std::make_shared<CpuWeight>(views));
  } catch (const std::bad_alloc&) {
    return Error::resource("tensor '" + views.front().name + "': no memory to unpack it");
  }
}

}  // namespace mla::cpu
