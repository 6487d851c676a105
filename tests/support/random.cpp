#include "support/random.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <utility>

#include "tensor/dequantize.h"

namespace mla::test {
namespace {
constexpr float kGap = std::numeric_limits<float>::quiet_NaN();
}

int64_t Random::integer(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
}

double Random::uniform() {
  return static_cast<double>(engine_() >> 11) * 0x1p-53;
}

float Random::normal() {  // Box-Muller
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * uniform()));
}

std::vector<float> Random::normals(int64_t n, float scale) {
  std::vector<float> out(static_cast<size_t>(n));
  for (float& x : out) x = scale * normal();
  return out;
}

std::vector<int32_t> Random::permutation(int64_t n) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<int32_t>(i);
    std::swap(order[i], order[static_cast<size_t>(integer(0, static_cast<int64_t>(i)))]);
  }
  return order;
}

Matrix::Matrix(int64_t rows, int64_t cols, int64_t wanted_stride)
    : n_rows(rows),
      n_cols(cols),
      stride(wanted_stride == 0 ? cols : wanted_stride),
      data(static_cast<size_t>(rows * stride), kGap) {}

Matrix Matrix::random(Random& random, int64_t n_rows, int64_t n_cols, float scale, int64_t stride) {
  Matrix m(n_rows, n_cols, stride);
  for (int64_t r = 0; r < n_rows; ++r) {
    for (int64_t c = 0; c < n_cols; ++c) m.view().row(r)[c] = scale * random.normal();
  }
  return m;
}

Matrix Matrix::of(int64_t n_rows, int64_t n_cols, std::vector<float> values) {
  if (static_cast<int64_t>(values.size()) != n_rows * n_cols)
    throw std::runtime_error("Matrix::of: wrong number of values");
  Matrix m(n_rows, n_cols);
  m.data = std::move(values);
  return m;
}

std::vector<float> Matrix::packed() const {
  std::vector<float> out;
  for (int64_t r = 0; r < n_rows; ++r) {
    const auto begin = data.begin() + r * stride;
    out.insert(out.end(), begin, begin + n_cols);
  }
  return out;
}

bool Matrix::gaps_intact() const {
  for (size_t i = 0; i < data.size(); ++i) {
    if (static_cast<int64_t>(i) % stride >= n_cols && !std::isnan(data[i])) return false;
  }
  return true;
}

HostWeight HostWeight::of(std::vector<int64_t> shape, const std::vector<float>& values, DType dtype) {
  HostWeight w;
  w.view = {.name = "test", .dtype = dtype, .shape = std::move(shape)};
  if (static_cast<int64_t>(values.size()) != w.view.n_elements())
    throw std::runtime_error("HostWeight: wrong number of values");
  w.bytes.resize(static_cast<size_t>(w.view.n_bytes()));
  w.view.data = w.bytes.data();
  if (!values.empty() && !quantize(dtype, values.data(), w.bytes.data(), w.view.n_elements())) {
    throw std::runtime_error("HostWeight: no encoder for " + std::string(dtype_info(dtype).name));
  }
  return w;
}

HostWeight HostWeight::random(Random& random, std::vector<int64_t> shape, float scale, DType dtype) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return of(std::move(shape), random.normals(n, scale), dtype);
}

std::vector<float> HostWeight::values() const {
  std::vector<float> out(static_cast<size_t>(view.n_elements()));
  for (int64_t i = 0; i < view.n_rows(); ++i) dequantize_row(view, i, out.data() + i * view.n_in());
  return out;
}

Weight HostWeight::pack(Backend& backend) const {
  Result<Weight> packed = backend.pack(view);
  if (!packed.ok()) throw std::runtime_error(packed.error().message);
  return std::move(packed).value();
}

std::vector<SequenceShape> random_sequences(Random& random, int64_t n_sequences, int64_t max_past,
                                            int64_t max_new) {
  std::vector<SequenceShape> shapes;
  for (int64_t s = 0; s < n_sequences; ++s) {
    SequenceShape shape{random.integer(0, max_past), random.integer(0, max_new)};
    switch (random.integer(0, 4)) {
      case 0:
        shape.n_past = 0;
        break;  // a prompt
      case 1:
        shape.n_new = std::min<int64_t>(1, max_new);
        break;  // a decode step
      case 2:
        shape.n_past = std::min(max_past, kPageRows * random.integer(0, 2));
        break;  // full pages
      default:
        break;
    }
    shapes.push_back(shape);
  }
  return shapes;
}

PagedBatch::PagedBatch(Backend& backend, RowLayout layout, std::vector<SequenceShape> shapes, Random& random)
    : backend_(backend), layout_(std::move(layout)) {
  constexpr int64_t kLayers = 3;
  constexpr int64_t kSparePages = 3;
  const int64_t layer_bytes = kPageRows * layout_.row_bytes();
  page_stride_ = kLayers * layer_bytes;
  layer_offset_ = layer_bytes;  // the middle one of the layers

  int64_t n_pages = kSparePages;
  for (const SequenceShape& s : shapes) n_pages += (s.n_past + s.n_new + kPageRows - 1) / kPageRows;
  Result<std::shared_ptr<std::byte>> memory = backend.allocate_pages(n_pages * page_stride_);
  if (!memory.ok()) throw std::runtime_error(memory.error().message);
  memory_ = std::move(memory).value();
  std::memset(memory_.get(), 0xff,
              static_cast<size_t>(n_pages * page_stride_));  // NaN in f32, bf16 and as a scale

  const std::vector<int32_t> page_order = random.permutation(n_pages);
  auto next = page_order.begin();
  for (const SequenceShape& s : shapes) {
    std::vector<PageId> pages;
    for (int64_t r = 0; r < s.n_past + s.n_new; r += kPageRows) pages.push_back(*next++);
    pages_.push_back(std::move(pages));
  }
  for (size_t i = 0; i < shapes.size(); ++i) {
    slices_.push_back({static_cast<int64_t>(ids_.size()), shapes[i].n_new, shapes[i].n_past, pages_[i]});
    for (int64_t t = 0; t < shapes[i].n_new; ++t) {
      ids_.push_back(0);
      positions_.push_back(static_cast<int32_t>(shapes[i].n_past + t));
    }
  }
  batch_ = {ids_, positions_, slices_, {}};
}

void PagedBatch::single(int64_t sequence, int64_t first, int64_t n, Single& out) const {
  const SequenceSlice& s = slices_[static_cast<size_t>(sequence)];
  out.slice = {0, n, s.n_past + first, s.pages};
  const auto begin = static_cast<size_t>(s.first_token + first);
  const auto count = static_cast<size_t>(n);
  out.batch = {std::span(ids_).subspan(begin, count),
               std::span(positions_).subspan(begin, count),
               {&out.slice, 1},
               {}};
}

void PagedBatch::store_past(int64_t sequence, Activation history) {
  const SequenceSlice& s = slices_[static_cast<size_t>(sequence)];
  if (history.n_rows != s.n_past) throw std::runtime_error("store_past: history must have n_past rows");
  const SequenceSlice past{0, s.n_past, 0, s.pages};
  const std::vector<int32_t> zeros(static_cast<size_t>(s.n_past), 0);
  backend_.store_rows({zeros, zeros, {&past, 1}, {}}, history, cache());
}

std::vector<Matrix> PagedBatch::store_random_past(Random& random) {
  std::vector<Matrix> histories;
  for (size_t i = 0; i < slices_.size(); ++i) {
    histories.push_back(Matrix::random(random, slices_[i].n_past, layout_.width()));
    store_past(static_cast<int64_t>(i), histories.back().view());
  }
  return histories;
}

}  // namespace mla::test
