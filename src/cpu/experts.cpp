#include <cassert>
#include <cstring>

#include "cpu/backend.h"
#include "cpu/product.h"

namespace mla::cpu {
namespace {

/// The (token, expert) pairs of a call, sorted by expert, so that every expert's weights are read once for
/// all its tokens.
struct Assignments {
  int64_t n = 0;
  int64_t n_experts = 0;
  int64_t most_tokens = 0;    ///< of one expert
  int64_t* first = nullptr;   ///< [n_experts + 1]: pairs of expert e are first[e] ... first[e + 1] - 1
  int64_t* place = nullptr;   ///< [n_tokens * n_used]: where pair (token, choice) went
  const float** x = nullptr;  ///< [n]: the token's row

  int64_t n_tokens(int64_t e) const { return first[e + 1] - first[e]; }
};

Assignments sort_by_expert(CpuBackend& backend, Activation x, const Routing& routing, int64_t n_experts) {
  Assignments a;
  a.n = routing.n_tokens * routing.n_used;
  a.n_experts = n_experts;
  a.first = backend.work<int64_t>(n_experts + 1);
  a.place = backend.work<int64_t>(a.n);
  a.x = backend.work<const float*>(a.n);
  std::fill_n(a.first, n_experts + 1, 0);
  for (int64_t i = 0; i < a.n; ++i) ++a.first[routing.experts[i] + 1];
  for (int64_t e = 0; e < n_experts; ++e) {
    a.most_tokens = std::max(a.most_tokens, a.first[e + 1]);
    a.first[e + 1] += a.first[e];
  }
  int64_t* next = backend.work<int64_t>(n_experts);
  std::copy_n(a.first, n_experts, next);
  for (int64_t i = 0; i < a.n; ++i) {
    a.place[i] = next[routing.experts[i]]++;
    a.x[a.place[i]] = x.row(i / routing.n_used);
  }
  return a;
}

struct ExpertTask {
  int64_t expert, row_begin, row_end;
};

/// All row blocks of all experts that have tokens, as one list; adds up their work.
int64_t list_tasks(CpuBackend& backend, const CpuWeight& weight, const Assignments& a, ExpertTask*& tasks,
                   double& work) {
  int64_t most = 0;
  for (int64_t e = 0; e < a.n_experts; ++e) {
    if (a.n_tokens(e) == 0) continue;
    const int64_t step = rows_per_task(weight.matrix(e), a.n_tokens(e), backend.n_threads());
    most += (weight.n_out + step - 1) / step;
  }
  tasks = backend.work<ExpertTask>(most);
  int64_t n = 0;
  for (int64_t e = 0; e < a.n_experts; ++e) {
    if (a.n_tokens(e) == 0) continue;
    const int64_t step = rows_per_task(weight.matrix(e), a.n_tokens(e), backend.n_threads());
    for (int64_t row = 0; row < weight.n_out; row += step)
      tasks[n++] = {e, row, std::min(weight.n_out, row + step)};
    work += product_work(weight.matrix(e), weight.n_out, a.n_tokens(e));
  }
  return n;
}

/// fixed_rows() of the tokens, once each, for every pair in the order of a.x.
const FixedBlock** fixed_pairs(CpuBackend& backend, Activation x, const WeightMatrix& weight, const Assignments& a,
                             int64_t n_used) {
  if (!weight.interleaved) return nullptr;
  auto** tokens = backend.work<const float*>(x.n_rows);
  for (int64_t t = 0; t < x.n_rows; ++t) tokens[t] = x.row(t);
  const FixedBlock** fixed = fixed_rows(backend, weight, tokens, x.n_rows);
  auto** pairs = backend.work<const FixedBlock*>(a.n);
  for (int64_t i = 0; i < a.n; ++i) pairs[a.place[i]] = fixed[i / n_used];
  return pairs;
}

}  // namespace

/// Three regions: hidden = silu(gate x) * (up x) for all pairs; y = down hidden for all pairs; then every
/// token adds up its pairs in the order of its choices, whatever expert finished first.
void CpuBackend::experts(Activation x, const Routing& routing, const ExpertWeights& weights, Activation out) {
  const CpuWeight& gate = packed(*weights.gate);
  const CpuWeight& up = packed(*weights.up);
  const CpuWeight& down = packed(*weights.down);
  const int64_t d_expert = gate.n_out, d_model = down.n_out;
  assert(x.n_cols == gate.n_in && x.n_cols == up.n_in && up.n_out == d_expert && down.n_in == d_expert);
  assert(out.n_cols == d_model && out.n_rows == x.n_rows && routing.n_tokens == x.n_rows);
  begin_work();
  const Assignments a = sort_by_expert(*this, x, routing, gate.n_stack);
  float* hidden = work<float>(a.n * d_expert);
  float* y = work<float>(a.n * d_model);
  const float** hidden_rows = work<const float*>(a.n);
  for (int64_t i = 0; i < a.n; ++i) hidden_rows[i] = hidden + i * d_expert;
  const int64_t up_size = a.most_tokens * kMostTaskRows;
  float* up_buffers = work<float>(n_threads() * up_size);
  float* panels = work<float>(n_threads() * kPanelRows * kPanelDepth);
  const auto run = [&](const WeightMatrix& w, const ExpertTask& task, const ProductRows& rows, float* to, int64_t stride,
                       int thread) {
    ProductArgs args;
    args.weight = w;
    args.row_begin = task.row_begin;
    args.row_end = task.row_end;
    rows.set(args, kernels_, a.first[task.expert], a.n_tokens(task.expert));
    args.out = to;
    args.out_stride = stride;
    args.panel = panels + thread * kPanelRows * kPanelDepth;
    run_product(kernels_, args);
  };

  // Experts share their tokens' rows.
  const WeightMatrix& first_of_x = gate.matrix().interleaved ? gate.matrix() : up.matrix();
  ProductRows x_rows{.x = a.x, .fixed = fixed_pairs(*this, x, first_of_x, a, routing.n_used)};
  if (on_matrix_unit(kernels_, gate.matrix(), a.most_tokens) || on_matrix_unit(kernels_, up.matrix(), a.most_tokens)) {
    add_bf16_rows(*this, gate.matrix(), a.n, x_rows);
  }

  ExpertTask* tasks = nullptr;
  double amount = 0.0;
  int64_t n_tasks = list_tasks(*this, gate, a, tasks, amount);
  for_tasks(n_tasks, 2.0 * amount, [&](int64_t i, int thread) {
    const ExpertTask& task = tasks[i];
    const int64_t begin = task.row_begin, n = task.row_end - begin;
    float* gate_out = hidden + a.first[task.expert] * d_expert;
    float* up_out = up_buffers + thread * up_size;
    run(gate.matrix(task.expert), task, x_rows, gate_out, d_expert, thread);
    run(up.matrix(task.expert), task, x_rows, up_out - begin, n, thread);
    for (int64_t t = 0; t < a.n_tokens(task.expert); ++t) {
      float* h = gate_out + t * d_expert + begin;
      kernels_.silu_mul(h, up_out + t * n, h, n);
    }
  });

  ProductRows hidden_input{.x = hidden_rows, .fixed = fixed_rows(*this, down.matrix(), hidden_rows, a.n)};
  if (on_matrix_unit(kernels_, down.matrix(), a.most_tokens)) add_bf16_rows(*this, down.matrix(), a.n, hidden_input);
  amount = 0.0;
  n_tasks = list_tasks(*this, down, a, tasks, amount);
  for_tasks(n_tasks, amount, [&](int64_t i, int thread) {
    run(down.matrix(tasks[i].expert), tasks[i], hidden_input, y + a.first[tasks[i].expert] * d_model, d_model, thread);
  });

  for_tasks(x.n_rows, static_cast<double>(a.n * d_model), [&](int64_t t, int) {
    for (int64_t k = 0; k < routing.n_used; ++k) {
      const int64_t pair = t * routing.n_used + k;
      kernels_.blend(out.row(t), 1.0F, y + a.place[pair] * d_model, routing.weights[pair], d_model);
    }
  });
}

}  // namespace mla::cpu
