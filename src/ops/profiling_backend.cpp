#include "ops/profiling_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <tuple>
#include <utility>

namespace mla {
namespace {

struct Work {
  double bytes = 0.0;
  double flop = 0.0;
};

double product(double a, double b, double c = 1.0) {
  return a * b * c;
}

std::string shape_of(const PackedWeight& w) {
  return fmt::format("{} -> {} {}", w.n_in, w.n_out, dtype_info(w.dtype).name);
}

Work linear_work(int64_t n_tokens, const PackedWeight& w) {
  return {static_cast<double>(w.file_bytes), 2.0 * product(n_tokens, w.n_in, w.n_out)};
}

/// Every expert that a token chose is read once.
Work experts_work(const Routing& routing, const ExpertWeights& weights) {
  const int64_t n_experts = weights.gate->n_stack, n_pairs = routing.n_tokens * routing.n_used;
  std::vector<bool> touched(static_cast<size_t>(n_experts), false);
  for (int64_t i = 0; i < n_pairs; ++i) touched[static_cast<size_t>(routing.experts[i])] = true;
  Work work;
  for (const PackedWeight* w : {weights.gate.get(), weights.up.get(), weights.down.get()}) {
    work.bytes += static_cast<double>(w->file_bytes) / static_cast<double>(n_experts);
    work.flop += 2.0 * product(n_pairs, w->n_in, w->n_out);
  }
  work.bytes *= static_cast<double>(std::count(touched.begin(), touched.end(), true));
  return work;
}

Work attention_work(const Batch& batch, const LayerRows& cache, const AttentionSpec& spec) {
  Work work;
  for (const SequenceSlice& s : batch.sequences) {
    if (s.n_new == 0) continue;
    work.bytes += product(s.n_rows(), cache.layout->row_bytes());
    work.flop += 2.0 * product(s.n_pairs(), spec.n_heads, spec.d_k + spec.d_v);
  }
  return work;
}

}  // namespace

/// Costs by (operation, shape).
struct ProfilingBackend::Ledger {
  std::map<std::pair<std::string, std::string>, OperationCost> costs;

  template <class Call>
  void measure(std::string_view operation, std::string shape, const Work& work, const Call& call) {
    const auto begin = std::chrono::steady_clock::now();
    call();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    OperationCost& cost = costs[{std::string(operation), std::move(shape)}];
    ++cost.calls;
    cost.seconds += seconds;
    cost.bytes += work.bytes;
    cost.flop += work.flop;
  }
};

ProfilingBackend::ProfilingBackend(std::unique_ptr<Backend> measured)
    : measured_(std::move(measured)), ledger_(std::make_unique<Ledger>()) {}
ProfilingBackend::~ProfilingBackend() = default;

std::vector<OperationCost> ProfilingBackend::take() {
  std::vector<OperationCost> list;
  for (auto& [key, cost] : std::exchange(ledger_->costs, {})) {
    std::tie(cost.operation, cost.shape) = key;
    list.push_back(std::move(cost));
  }
  std::stable_sort(list.begin(), list.end(),
                   [](const OperationCost& a, const OperationCost& b) { return a.seconds > b.seconds; });
  return list;
}

std::string_view ProfilingBackend::name() const {
  return measured_->name();
}
int ProfilingBackend::n_threads() const {
  return measured_->n_threads();
}
void ProfilingBackend::parallel(int64_t n, const std::function<void(int64_t i)>& work) {
  measured_->parallel(n, work);
}
int64_t ProfilingBackend::packed_bytes(const TensorView& view) const {
  return measured_->packed_bytes(view);
}
Result<Weight> ProfilingBackend::pack(const TensorView& view) {
  return measured_->pack(view);
}
Result<Weight> ProfilingBackend::pack_stack(std::span<const TensorView> matrices) {
  return measured_->pack_stack(matrices);
}
Activation ProfilingBackend::scratch(int64_t n_rows, int64_t n_cols) {
  return measured_->scratch(n_rows, n_cols);
}
Routing ProfilingBackend::scratch_routing(int64_t n_tokens, int64_t n_used) {
  return measured_->scratch_routing(n_tokens, n_used);
}
void ProfilingBackend::release_scratch() {
  measured_->release_scratch();
}
Result<std::shared_ptr<std::byte>> ProfilingBackend::allocate_pages(int64_t bytes) {
  return measured_->allocate_pages(bytes);
}
void ProfilingBackend::copy_bytes(std::byte* to, const std::byte* from, int64_t n) {
  ledger_->measure("copy pages", "", {static_cast<double>(n)}, [&] { measured_->copy_bytes(to, from, n); });
}
void ProfilingBackend::download(const Activation& x, float* out) {
  ledger_->measure("download", "", {}, [&] { measured_->download(x, out); });
}

void ProfilingBackend::embed(std::span<const int32_t> ids, const PackedWeight& table, Activation out) {
  const Work work{product(static_cast<double>(ids.size()), table.file_bytes) / static_cast<double>(table.n_out)};
  ledger_->measure("embed", "", work, [&] { measured_->embed(ids, table, out); });
}
void ProfilingBackend::gather_rows(Activation x, std::span<const int32_t> rows, Activation out) {
  ledger_->measure("gather rows", "", {}, [&] { measured_->gather_rows(x, rows, out); });
}
void ProfilingBackend::add(Activation x, Activation y) {
  ledger_->measure("add", "", {}, [&] { measured_->add(x, y); });
}
void ProfilingBackend::rms_norm(Activation x, const PackedWeight& weight, float eps, Activation out) {
  ledger_->measure("norm", "", {}, [&] { measured_->rms_norm(x, weight, eps, out); });
}
void ProfilingBackend::layer_norm(Activation x, const PackedWeight& weight, const PackedWeight* bias, float eps,
                                  Activation out) {
  ledger_->measure("norm", "", {}, [&] { measured_->layer_norm(x, weight, bias, eps, out); });
}
void ProfilingBackend::rope(Activation x, int64_t d_head, int64_t offset, const RopeTable& table,
                            std::span<const int32_t> positions) {
  ledger_->measure("rope", "", {}, [&] { measured_->rope(x, d_head, offset, table, positions); });
}
void ProfilingBackend::silu_mul(Activation gate, Activation up, Activation out) {
  ledger_->measure("activation", "", {}, [&] { measured_->silu_mul(gate, up, out); });
}
void ProfilingBackend::gelu(Activation x, Gelu kind) {
  ledger_->measure("activation", "", {}, [&] { measured_->gelu(x, kind); });
}

void ProfilingBackend::linear(Activation x, const PackedWeight& weight, const PackedWeight* bias, Activation out) {
  ledger_->measure("linear", shape_of(weight), linear_work(x.n_rows, weight),
                   [&] { measured_->linear(x, weight, bias, out); });
}
void ProfilingBackend::route(Activation logits, const RouterSpec& spec, const PackedWeight* correction_bias, Routing out) {
  ledger_->measure("route", "", {}, [&] { measured_->route(logits, spec, correction_bias, out); });
}
void ProfilingBackend::experts(Activation x, const Routing& routing, const ExpertWeights& weights, Activation out) {
  ledger_->measure("experts", fmt::format("{} of {}, {}", routing.n_used, weights.gate->n_stack, shape_of(*weights.gate)),
                   experts_work(routing, weights), [&] { measured_->experts(x, routing, weights, out); });
}

void ProfilingBackend::store_rows(const Batch& batch, Activation rows, const LayerRows& cache) {
  ledger_->measure("store rows", "", {}, [&] { measured_->store_rows(batch, rows, cache); });
}
void ProfilingBackend::attention(const Batch& batch, Activation q, const LayerRows& cache, const AttentionSpec& spec,
                                 Activation out) {
  ledger_->measure(kAttentionOperation, fmt::format("{} heads, {} kv", spec.n_heads, spec.n_kv_heads),
                   attention_work(batch, cache, spec), [&] { measured_->attention(batch, q, cache, spec, out); });
}
void ProfilingBackend::mla_attention(const Batch& batch, Activation q, const LayerRows& cache, const MlaSpec& spec,
                                     const MlaProjections& projections, MlaForm form, Activation out) {
  Work work{static_cast<double>(projections.k_up->file_bytes + projections.v_up->file_bytes)};
  bool any[2] = {false, false};  // absorbed, expanded
  for (const SequenceSlice& s : batch.sequences) {
    if (s.n_new == 0) continue;
    const bool expanded = choose_mla_form(spec, s, form) == MlaForm::kExpanded;
    const MlaCost cost = mla_cost(spec, s.n_new, s.n_rows(), s.n_pairs());
    any[expanded ? 1 : 0] = true;
    work.bytes += product(s.n_rows(), cache.layout->row_bytes());
    work.flop += expanded ? cost.expanded : cost.absorbed;
  }
  const std::string_view kind = any[0] && any[1] ? kMlaBothFormsOperation
                                : any[1]         ? kMlaExpandedOperation
                                                 : kMlaAbsorbedOperation;
  ledger_->measure(kind, fmt::format("{} heads", spec.n_heads), work,
                   [&] { measured_->mla_attention(batch, q, cache, spec, projections, form, out); });
}
void ProfilingBackend::dense_attention(const DenseAttentionArgs& args) {
  ledger_->measure("dense attention", "", {}, [&] { measured_->dense_attention(args); });
}
void ProfilingBackend::additive_attention(const AdditiveAttentionArgs& args) {
  ledger_->measure("additive attention", "", {}, [&] { measured_->additive_attention(args); });
}

}  // namespace mla
