#include "cpu/weight.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "cpu/backend.h"
#include "cpu/interleaved.h"

namespace mla::cpu {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kSmallTask = int64_t{64} << 10;  // bytes that a thread interleaves at a time where weights are small

/// Whether the kernels can read a view as it lies: FP8 factors must not change within 32 elements (no known
/// model's do).
bool readable_in_place(const TensorView& view) {
  return view.rank() > 1 && (view.block_scale == nullptr || view.scale_block % 32 == 0);
}

}  // namespace

CpuWeight::CpuWeight(std::span<const TensorView> views) : PackedWeight(views) {
  if (!std::all_of(views.begin(), views.end(), readable_in_place)) {
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

void CpuWeight::interleave(CpuBackend& backend) {
  if (matrices_.empty() || backend.kernels().interleaved_product[static_cast<size_t>(dtype)] == nullptr) return;
  const int64_t row_bytes = interleaved_row_bytes(dtype, n_in), group_bytes = kGroupRows * row_bytes;
  const int64_t n_groups = (n_out + kGroupRows - 1) / kGroupRows;  // of one matrix
  const int64_t bytes = n_stack * n_groups * group_bytes;
  allocate_interleaved(bytes);
  uint8_t* to = interleaved_.get();
  // A task writes about one huge page, so that two threads seldom fault in the same one, which is cleared by both then.
  const int64_t task_bytes = bytes >= 8 * kHugePage ? kHugePage : kSmallTask;
  const auto first_group = [&](int64_t task) {
    return std::min(n_stack * n_groups, (task * task_bytes + group_bytes - 1) / group_bytes);
  };
  backend.for_tasks((bytes + task_bytes - 1) / task_bytes, static_cast<double>(bytes), [&](int64_t task, int) {
    for (int64_t g = first_group(task); g < first_group(task + 1); ++g) {
      interleave_group(matrix(g / n_groups), g % n_groups * kGroupRows, to + g * group_bytes);
    }
  });
  for (WeightMatrix& m : matrices_) {
    m.data = to + (&m - matrices_.data()) * n_groups * group_bytes;
    m.row_bytes = row_bytes;
    m.interleaved = true;
  }
  owned_bytes = bytes;
}

void CpuWeight::allocate_interleaved(int64_t bytes) {
  const auto size = static_cast<size_t>(bytes), alignment = static_cast<size_t>(bytes >= kHugePage ? kHugePage : 64);
  const size_t whole = std::max<size_t>(1, (size + alignment - 1) / alignment) * alignment;
  interleaved_.reset(static_cast<uint8_t*>(std::aligned_alloc(alignment, whole)));
  if (interleaved_ == nullptr) throw std::bad_alloc();
  // A wish: without it there are only more page faults. The last, partly used pages stay small: no memory is lost to them.
  const size_t huge = size / kHugePage * kHugePage;
  if (huge > 0) static_cast<void>(madvise(interleaved_.get(), huge, MADV_HUGEPAGE));
}

void decode_row(const Kernels& kernels, const WeightMatrix& matrix, int64_t row, float* out) {
  if (matrix.interleaved) return decode_interleaved_row(matrix, row, out);
  kernels.decode_row[static_cast<size_t>(matrix.dtype)](matrix, row, out);
}

int64_t CpuBackend::packed_bytes(const TensorView& view) const {
  if (!readable_in_place(view)) return view.n_elements() * static_cast<int64_t>(sizeof(float));
  if (kernels_.interleaved_product[static_cast<size_t>(view.dtype)] == nullptr) return 0;
  const int64_t n_out = view.shape[view.shape.size() - 2];
  const int64_t n_groups = (n_out + kGroupRows - 1) / kGroupRows;
  return view.n_rows() / std::max<int64_t>(n_out, 1) * n_groups * kGroupRows * interleaved_row_bytes(view.dtype, view.n_in());
}

Weight CpuBackend::make_weight(std::span<const TensorView> views) {
  auto weight = std::make_shared<CpuWeight>(views);
  weight->interleave(*this);
  return weight;
}

}  // namespace mla::cpu
