#include "tensor/tensor_view.h"

#include <gtest/gtest.h>

#include <vector>

namespace mla {
namespace {

template <typename T>
TensorView view_of(const std::vector<T>& data, DType dtype, std::vector<int64_t> shape) {
  TensorView view;
  view.name = "t";
  view.dtype = dtype;
  view.shape = std::move(shape);
  view.data = reinterpret_cast<const std::byte*>(data.data());
  return view;
}

TEST(TensorView, CountsElementsRowsAndBytes) {
  TensorView view;
  view.dtype = DType::kQ4_0;
  view.shape = {2, 3, 64};
  EXPECT_EQ(view.n_elements(), 384);
  EXPECT_EQ(view.n_in(), 64);
  EXPECT_EQ(view.n_rows(), 6);
  EXPECT_EQ(view.row_bytes(), 36);
  EXPECT_EQ(view.n_bytes(), 216);

  view.dtype = DType::kF32;
  view.shape = {};
  EXPECT_EQ(view.n_elements(), 1);
  EXPECT_EQ(view.n_bytes(), 4);
  view.shape = {5, 0};
  EXPECT_EQ(view.n_rows(), 0);
  EXPECT_EQ(view.n_bytes(), 0);
}

TEST(TensorView, ShapeString) {
  EXPECT_EQ(shape_string({}), "[]");
  EXPECT_EQ(shape_string({7}), "[7]");
  EXPECT_EQ(shape_string({2, 3, 4}), "[2, 3, 4]");
}

TEST(DequantizeRow, FindsTheRowAcrossOuterDimensions) {
  std::vector<float> data(2 * 3 * 5);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i);
  const TensorView view = view_of(data, DType::kF32, {2, 3, 5});
  std::vector<float> row(5);
  dequantize_row(view, 4, row.data());
  EXPECT_EQ(row, (std::vector<float>{20, 21, 22, 23, 24}));
}

TEST(DequantizeRow, AppliesBlockScalesWithRaggedEdges) {
  // [5, 7] ones (0x38 is 1.0) in blocks of 4 x 4: scales are [2, 2], the last block of each row and column is
  // ragged.
  const std::vector<uint8_t> data(35, 0x38);
  const std::vector<float> scales = {1, 10, 100, 1000};
  TensorView view = view_of(data, DType::kF8E4M3, {5, 7});
  view.block_scale = scales.data();
  view.scale_block = 4;
  std::vector<float> row(7);
  dequantize_row(view, 3, row.data());
  EXPECT_EQ(row, (std::vector<float>{1, 1, 1, 1, 10, 10, 10}));
  dequantize_row(view, 4, row.data());
  EXPECT_EQ(row, (std::vector<float>{100, 100, 100, 100, 1000, 1000, 1000}));
}

TEST(DequantizeRow, BlockScalesOfStackedMatricesStartAnewForEachMatrix) {
  // Two matrices [3, 2] in blocks of 2 x 2: each has scales [2, 1].
  const std::vector<uint8_t> data(12, 0x38);
  const std::vector<float> scales = {1, 2, 3, 4};
  TensorView view = view_of(data, DType::kF8E4M3, {2, 3, 2});
  view.block_scale = scales.data();
  view.scale_block = 2;
  std::vector<float> firsts;
  for (int64_t i = 0; i < view.n_rows(); ++i) {
    float row[2];
    dequantize_row(view, i, row);
    EXPECT_EQ(row[0], row[1]);
    firsts.push_back(row[0]);
  }
  EXPECT_EQ(firsts, (std::vector<float>{1, 1, 2, 3, 3, 4}));
}

}  // namespace
}  // namespace mla
