#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ops/backend.h"

namespace mla {

/// Names of attention's operations: over keys and values, and over latents by the form that a call's sequences took.
inline constexpr std::string_view kAttentionOperation = "attention";
inline constexpr std::string_view kMlaAbsorbedOperation = "mla attention (absorbed)";
inline constexpr std::string_view kMlaExpandedOperation = "mla attention (expanded)";
inline constexpr std::string_view kMlaBothFormsOperation = "mla attention (both forms)";

/// What all calls of one operation on one shape cost.
struct OperationCost {
  std::string operation;  ///< "linear", "experts", "mla attention (absorbed)", ...
  std::string shape;      ///< the dimensions that calls have in common: "2048 -> 10944 Q4_0"; may be empty
  int64_t calls = 0;
  double seconds = 0.0;
  double bytes = 0.0;  ///< that must be read at least: weights (of touched experts) and cached rows, once a call
  double flop = 0.0;   ///< multiplies and adds of products and attention, counted apart; 0 for what only moves data
};

/// A backend that measures another one: every call goes through unchanged, and its time, bytes and operations are added
/// up by operation and shape. Bytes and operations are what the shapes demand (docs/mla.md), not what was executed, so
/// that bytes / seconds against the machine's limit says how far a kernel is from it.
class ProfilingBackend final : public Backend {
 public:
  explicit ProfilingBackend(std::unique_ptr<Backend> measured);
  ~ProfilingBackend() override;

  /// The backend itself, to call without measuring.
  Backend& measured() { return *measured_; }

  /// What was measured since the last call of this function, costliest first.
  std::vector<OperationCost> take();

  std::string_view name() const override;
  int n_threads() const override;
  void parallel(int64_t n, const std::function<void(int64_t i)>& work) override;
  int64_t packed_bytes(const TensorView& view) const override;
  Result<Weight> pack(const TensorView& view) override;
  Result<Weight> pack_stack(std::span<const TensorView> matrices) override;
  Activation scratch(int64_t n_rows, int64_t n_cols) override;
  Routing scratch_routing(int64_t n_tokens, int64_t n_used) override;
  void release_scratch() override;
  Result<std::shared_ptr<std::byte>> allocate_pages(int64_t bytes) override;
  void copy_bytes(std::byte* to, const std::byte* from, int64_t n) override;
  void download(const Activation& x, float* out) override;
  void embed(std::span<const int32_t> ids, const PackedWeight& table, Activation out) override;
  void gather_rows(Activation x, std::span<const int32_t> rows, Activation out) override;
  void add(Activation x, Activation y) override;
  void rms_norm(Activation x, const PackedWeight& weight, float eps, Activation out) override;
  void layer_norm(Activation x, const PackedWeight& weight, const PackedWeight* bias, float eps, Activation out) override;
  void rope(Activation x, int64_t d_head, int64_t offset, const RopeTable& table, std::span<const int32_t> positions) override;
  void silu_mul(Activation gate, Activation up, Activation out) override;
  void gelu(Activation x, Gelu kind) override;
  void linear(Activation x, const PackedWeight& weight, const PackedWeight* bias, Activation out) override;
  void route(Activation logits, const RouterSpec& spec, const PackedWeight* correction_bias, Routing out) override;
  void experts(Activation x, const Routing& routing, const ExpertWeights& weights, Activation out) override;
  void store_rows(const Batch& batch, Activation rows, const LayerRows& cache) override;
  void attention(const Batch& batch, Activation q, const LayerRows& cache, const AttentionSpec& spec, Activation out) override;
  void mla_attention(const Batch& batch, Activation q, const LayerRows& cache, const MlaSpec& spec,
                     const MlaProjections& projections, MlaForm form, Activation out) override;
  void dense_attention(const DenseAttentionArgs& args) override;
  void additive_attention(const AdditiveAttentionArgs& args) override;

 private:
  struct Ledger;
  std::unique_ptr<Backend> measured_;
  std::unique_ptr<Ledger> ledger_;
};

}  // namespace mla
