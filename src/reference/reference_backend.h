#pragma once

#include "ops/backend.h"
#include "ops/scratch_arena.h"

namespace mla {

/// The specification of every operation, for readers and for the tests of faster backends: plain loops, one
/// thread, f32 activations, sums in f64. Contracts are in ops/backend.h; each file of this folder holds one
/// group of operations with its formulas.
class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }

  // weight.cpp
  Result<Weight> pack(const TensorView& view) override;
  Result<Weight> pack_stack(std::span<const TensorView> matrices) override;

  // memory.cpp
  Activation scratch(int64_t n_rows, int64_t n_cols) override;
  Routing scratch_routing(int64_t n_tokens, int64_t n_used) override;
  void release_scratch() override;
  Result<std::shared_ptr<std::byte>> allocate_pages(int64_t bytes) override;
  void copy_bytes(std::byte* to, const std::byte* from, int64_t n) override;
  void download(const Activation& x, float* out) override;

  // elementwise.cpp
  void embed(std::span<const int32_t> ids, const PackedWeight& table, Activation out) override;
  void gather_rows(Activation x, std::span<const int32_t> rows, Activation out) override;
  void add(Activation x, Activation y) override;
  void rope(Activation x, int64_t d_head, int64_t offset, const RopeTable& table,
            std::span<const int32_t> positions) override;
  void silu_mul(Activation gate, Activation up, Activation out) override;
  void gelu(Activation x, Gelu kind) override;

  // norm.cpp
  void rms_norm(Activation x, const PackedWeight& weight, float eps, Activation out) override;
  void layer_norm(Activation x, const PackedWeight& weight, const PackedWeight* bias, float eps,
                  Activation out) override;

  // linear.cpp
  void linear(Activation x, const PackedWeight& weight, const PackedWeight* bias, Activation out) override;

  // router.cpp
  void route(Activation logits, const RouterSpec& spec, const PackedWeight* correction_bias,
             Routing out) override;

  // experts.cpp
  void experts(Activation x, const Routing& routing, const ExpertWeights& weights, Activation out) override;

  // attention.cpp
  void store_rows(const Batch& batch, Activation rows, const LayerRows& cache) override;
  void attention(const Batch& batch, Activation q, const LayerRows& cache, const AttentionSpec& spec,
                 Activation out) override;
  void dense_attention(const DenseAttentionArgs& args) override;

  // mla_attention.cpp
  void mla_attention(const Batch& batch, Activation q, const LayerRows& cache, const MlaSpec& spec,
                     const MlaProjections& projections, MlaForm form, Activation out) override;

  // additive_attention.cpp
  void additive_attention(const AdditiveAttentionArgs& args) override;

 private:
  ScratchArena arena_;
};

}  // namespace mla
