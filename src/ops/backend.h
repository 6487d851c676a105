#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/paged.h"
#include "ops/rope.h"
#include "ops/router.h"
#include "ops/weight.h"
#include "tensor/tensor_view.h"

namespace mla {

enum class Gelu { kTanh, kErf };

/// The routed experts of a layer. Each maps x to down(silu(gate x) * (up x)).
struct ExpertWeights {
  Weight gate;  ///< [n_experts, d_expert, d_model]
  Weight up;    ///< [n_experts, d_expert, d_model]
  Weight down;  ///< [n_experts, d_model, d_expert]
};

/// The operations of a transformer, declared once. A backend owns the memory and the layout of weights, activations and
/// cache pages; model code composes these calls and never touches weight bytes.
///
/// Activations and sums are f32 (in an order of each backend); attention over rows narrower than f32 may round queries and
/// weights to bf16. Tolerances are in tests/. Shapes are checked by
/// whoever binds the model: a call with wrong shapes is a bug of ours and asserts in debug builds. Calls are made by one
/// thread at a time; a backend parallelises inside a call. Activations must not overlap unless a call says so.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  /// What its results' last bits depend on: rows computed under another text are not these rows.
  virtual std::string numerics() const { return std::string(name()); }
  /// Threads that it computes with: others that prepare work for it take no more.
  virtual int n_threads() const { return 1; }
  /// Calls work(i) for every i in [0, n) on those threads, which have nothing else to do between operations; returns when all
  /// are done. `work` must not throw nor call the backend.
  virtual void parallel(int64_t n, const std::function<void(int64_t i)>& work) {
    for (int64_t i = 0; i < n; ++i) work(i);
  }

  // -- memory -------------------------------------------------------------------------------------------------------
  /// Brings a weight of rank 1, 2 or 3 into this backend's layout. The view's bytes must outlive the Weight (a backend
  /// uses the file's mapping in place where it can). Errors: kInvalidFile for an element type that holds no weights or
  /// rank > 3; kResource without memory.
  virtual Result<Weight> pack(const TensorView& view) = 0;
  /// The same for a stack that a file holds as separate matrices of one shape and type (Hugging Face experts).
  virtual Result<Weight> pack_stack(std::span<const TensorView> matrices) = 0;
  /// Bytes that pack() of this tensor (or of a stack's part) will take beside the view's own; 0 where it is used in place.
  virtual int64_t packed_bytes(const TensorView& /*view*/) const { return 0; }

  /// Scratch activations [n_rows, n_cols], uninitialised, contiguous, 64-byte aligned; valid until release_scratch().
  /// Throws std::bad_alloc (the engine turns it into an Error at its border).
  virtual Activation scratch(int64_t n_rows, int64_t n_cols) = 0;
  virtual Routing scratch_routing(int64_t n_tokens, int64_t n_used) = 0;
  /// Forgets all scratch activations; keeps the memory for the next step.
  virtual void release_scratch() = 0;

  /// Memory for cache pages, zeroed, 64-byte aligned, committed lazily where the system can.
  virtual Result<std::shared_ptr<std::byte>> allocate_pages(int64_t bytes) = 0;
  /// Copies rows of pages inside the backend's memory (copy on write of shared pages).
  virtual void copy_bytes(std::byte* to, const std::byte* from, int64_t n) = 0;
  /// Brings activations to host memory, rows packed: out [x.n_rows, x.n_cols].
  virtual void download(const Activation& x, float* out) = 0;

  // -- embeddings, norms, elementwise -------------------------------------------------------------------------------
  /// out[t] = table[ids[t]]; table [n_vocab, d_model]. Ids are in range (checked at submission).
  virtual void embed(std::span<const int32_t> ids, const PackedWeight& table, Activation out) = 0;
  /// out[i] = x[rows[i]].
  virtual void gather_rows(Activation x, std::span<const int32_t> rows, Activation out) = 0;
  /// x += y.
  virtual void add(Activation x, Activation y) = 0;
  /// RMSNorm (arXiv 1910.07467) over each consecutive group of weight.n_in columns: whole rows when n_cols = n_in, per
  /// head for Qwen3's q and k norms. out may be x.
  virtual void rms_norm(Activation x, const PackedWeight& weight, float eps, Activation out) = 0;
  /// LayerNorm (arXiv 1607.06450) with weight and bias [n_cols]; bias may be null. out may be x.
  virtual void layer_norm(Activation x, const PackedWeight& weight, const PackedWeight* bias, float eps, Activation out) = 0;
  /// Rotates dimensions [offset, offset + table.d_rope()) of each of the heads of width d_head in a row, in place.
  virtual void rope(Activation x, int64_t d_head, int64_t offset, const RopeTable& table, std::span<const int32_t> positions) = 0;
  /// out = silu(gate) * up (SwiGLU, arXiv 2002.05202). out may be gate or up.
  virtual void silu_mul(Activation gate, Activation up, Activation out) = 0;
  /// In place.
  virtual void gelu(Activation x, Gelu kind) = 0;

  // -- products -----------------------------------------------------------------------------------------------------
  /// out = x W^T (+ bias): x [n_tokens, n_in], W [n_out, n_in], bias [n_out] or null.
  virtual void linear(Activation x, const PackedWeight& weight, const PackedWeight* bias, Activation out) = 0;
  /// Chooses experts from router logits [n_tokens, n_experts]; `correction_bias` [n_experts] or null is added to the
  /// scores for the choice only.
  virtual void route(Activation logits, const RouterSpec& spec, const PackedWeight* correction_bias, Routing out) = 0;
  /// out[t] += sum over the token's chosen experts of weight * expert(x[t]).
  virtual void experts(Activation x, const Routing& routing, const ExpertWeights& weights, Activation out) = 0;

  // -- attention ----------------------------------------------------------------------------------------------------
  /// Appends the new rows of every sequence to the cache: rows [n_tokens, layout.width()], row of token i of a slice at
  /// position n_past + i.
  virtual void store_rows(const Batch& batch, Activation rows, const LayerRows& cache) = 0;
  /// q [n_tokens, n_heads * d_k] over cached rows -> out [n_tokens, n_heads * d_v]. The new rows are already stored.
  virtual void attention(const Batch& batch, Activation q, const LayerRows& cache, const AttentionSpec& spec, Activation out) = 0;
  /// q [n_tokens, n_heads * (d_nope + d_rope)], rope part rotated -> out [n_tokens, n_heads * d_v].
  virtual void mla_attention(const Batch& batch, Activation q, const LayerRows& cache, const MlaSpec& spec,
                             const MlaProjections& projections, MlaForm form, Activation out) = 0;
  virtual void dense_attention(const DenseAttentionArgs& args) = 0;
  virtual void additive_attention(const AdditiveAttentionArgs& args) = 0;
};

/// Backend no. 1: the specification. Single-threaded, plain loops, sums in f64.
std::unique_ptr<Backend> make_reference_backend();

}  // namespace mla
