#include <cassert>

#include "cpu/backend.h"
#include "cpu/product.h"

namespace mla::cpu {

void CpuBackend::linear(Activation x, const PackedWeight& weight, const PackedWeight* bias, Activation out) {
  assert(x.n_cols == weight.n_in && out.n_cols == weight.n_out && out.n_rows == x.n_rows &&
         weight.n_stack == 1);
  begin_work();
  const WeightMatrix& matrix = packed(weight).matrix();
  const int64_t n_tokens = x.n_rows;
  if (n_tokens == 0 || matrix.n_out == 0) return;
  const float** rows = work<const float*>(n_tokens);
  for (int64_t t = 0; t < n_tokens; ++t) rows[t] = x.row(t);
  ProductRows input{.x = rows};
  if (on_matrix_unit(kernels_, matrix, n_tokens)) {
    add_bf16_rows(*this, matrix, n_tokens, input);
  } else {
    input.fixed = fixed_rows(*this, matrix, rows, n_tokens);
  }
  float* panels = is_thin(n_tokens) ? nullptr : work<float>(n_threads() * kPanelRows * kPanelDepth);

  const int64_t step = rows_per_task(matrix, n_tokens, n_threads());
  const int64_t n_tasks = (matrix.n_out + step - 1) / step;
  for_tasks(n_tasks, product_work(matrix, matrix.n_out, n_tokens), [&](int64_t task, int thread) {
    ProductArgs args;
    args.weight = matrix;
    args.row_begin = task * step;
    args.row_end = std::min(matrix.n_out, args.row_begin + step);
    input.set(args, kernels_, 0, n_tokens);
    args.out = out.data;
    args.out_stride = out.stride;
    args.bias = bias != nullptr ? packed(*bias).vector() : nullptr;
    args.panel = panels != nullptr ? panels + thread * kPanelRows * kPanelDepth : nullptr;
    run_product(kernels_, args);
  });
}

}  // namespace mla::cpu
