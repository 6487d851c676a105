#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/thread_pool.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels.h"
#include "cpu/weight.h"
#include "ops/host_memory_backend.h"

namespace mla::cpu {

/// Cosines and sines of a step's positions: all layers rotate by the same angles, so they are worked out
/// once.
struct RopeAngles {
  std::vector<float> inv_freq;  ///< what they were computed for ...
  float magnitude = 0.0F;
  std::vector<int32_t> positions;
  std::vector<float> cos_sin;  ///< [n_tokens, d_rope]: cosines, then sines
};

/// Plans every operation as independent tasks over the threads and the kernels of one instruction set. No
/// task's result depends on the thread that runs it nor on how many there are: an output element is always
/// summed by one task, in an order that follows from the shapes alone.
class CpuBackend final : public HostMemoryBackend {
 public:
  CpuBackend(const Kernels& kernels, std::string_view name, std::string numerics, int n_threads);
  std::string_view name() const override { return name_; }
  std::string numerics() const override { return numerics_; }
  int n_threads() const override { return pool_.size(); }
  void parallel(int64_t n, const std::function<void(int64_t i)>& work) override;
  int64_t packed_bytes(const TensorView& view) const override;  // weight.cpp

  // rowwise.cpp
  void embed(std::span<const int32_t> ids, const PackedWeight& table, Activation out) override;
  void gather_rows(Activation x, std::span<const int32_t> rows, Activation out) override;
  void add(Activation x, Activation y) override;
  void rms_norm(Activation x, const PackedWeight& weight, float eps, Activation out) override;
  void layer_norm(Activation x, const PackedWeight& weight, const PackedWeight* bias, float eps,
                  Activation out) override;
  void rope(Activation x, int64_t d_head, int64_t offset, const RopeTable& table,
            std::span<const int32_t> positions) override;
  void silu_mul(Activation gate, Activation up, Activation out) override;
  void gelu(Activation x, Gelu kind) override;

  // linear.cpp, experts.cpp, router.cpp
  void linear(Activation x, const PackedWeight& weight, const PackedWeight* bias, Activation out) override;
  void route(Activation logits, const RouterSpec& spec, const PackedWeight* correction_bias,
             Routing out) override;
  void experts(Activation x, const Routing& routing, const ExpertWeights& weights, Activation out) override;

  // attention.cpp, mla_attention.cpp, additive_attention.cpp
  void store_rows(const Batch& batch, Activation rows, const LayerRows& cache) override;
  void attention(const Batch& batch, Activation q, const LayerRows& cache, const AttentionSpec& spec,
                 Activation out) override;
  void dense_attention(const DenseAttentionArgs& args) override;
  void mla_attention(const Batch& batch, Activation q, const LayerRows& cache, const MlaSpec& spec,
                     const MlaProjections& projections, MlaForm form, Activation out) override;
  void additive_attention(const AdditiveAttentionArgs& args) override;

  // -- for the parts of this room
  // -------------------------------------------------------------------------------------

  const Kernels& kernels() const { return kernels_; }

  /// fn(task, thread) for every task in [0, n): on all threads when the work, given in multiply-adds or bytes
  /// (whichever there are more of), is worth waking them, else on the caller's.
  using Task = std::function<void(int64_t task, int thread)>;
  void for_tasks(int64_t n, double work, const Task& fn);

  /// Memory of the running operation: n uninitialised elements, 64-byte aligned. Every operation starts with
  /// begin_work().
  void begin_work() { work_.release(); }
  template <class T>
  T* work(int64_t n) {
    return reinterpret_cast<T*>(work_.allocate(n * static_cast<int64_t>(sizeof(T))));
  }

 private:
  Weight make_weight(std::span<const TensorView> views) override;  // weight.cpp
  void for_rows(int64_t n_rows, int64_t n_cols, const std::function<void(int64_t row)>& fn);
  void update_angles(const RopeTable& table, std::span<const int32_t> positions);

  const Kernels& kernels_;
  std::string_view name_;
  std::string numerics_;
  ThreadPool pool_;
  ScratchArena work_;  ///< what an operation needs while it runs
  RopeAngles angles_;
};

}  // namespace mla::cpu
