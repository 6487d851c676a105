#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "mla/language_model.h"
#include "mla/result.h"

namespace mla {

/// Scaled dot-product attention (Vaswani et al. 2017). Query head h reads key/value head h / (n_heads /
/// n_kv_heads): MHA has n_kv_heads = n_heads, MQA 1, GQA something between. Self-attention has n_queries =
/// n_keys; cross-attention need not.
struct AttentionShape {
  int64_t n_queries = 0;
  int64_t n_keys = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  ///< divides n_heads
  int64_t d_k = 0;
  int64_t d_v = 0;
  bool causal = false;  ///< query i sees keys 0 ... i + (n_keys - n_queries)
  float scale = 0.0F;   ///< factor on q.k; 0 = d_k^-0.5
};

/// Additive attention (Bahdanau et al. 2015): e_j = v . tanh(W_q s + W_k h_j + b), weights = softmax(e),
/// context = sum of weights_j h_j.
struct AdditiveAttentionShape {
  int64_t n_queries = 0;
  int64_t n_keys = 0;
  int64_t d_query = 0;
  int64_t d_key = 0;
  int64_t d_attention = 0;
  int64_t n_valid = -1;  ///< keys from here on are masked; -1 = none
};

/// Multi-head latent attention (DeepSeek-V2 report, section 2.1), causal: the n_queries new tokens are the
/// last of n_rows.
struct LatentAttentionShape {
  int64_t n_queries = 0;
  int64_t n_rows = 0;  ///< at least n_queries
  int64_t n_heads = 0;
  int64_t kv_rank = 0;
  int64_t d_nope = 0;
  int64_t d_rope = 0;
  int64_t d_v = 0;
  float scale = 0.0F;  ///< 0 = (d_nope + d_rope)^-0.5
};

/// How latent attention is computed; the numbers are the same up to rounding.
enum class LatentForm {
  kAuto,      ///< whichever takes fewer operations
  kExpanded,  ///< keys and values rebuilt from the latents
  kAbsorbed,  ///< the projections folded into query and output
};

/// The attention family on plain row-major f32 arrays, for use apart from a model. One thread at a time.
///
/// All calls check the arrays' sizes against the shape. Errors: kUsage naming the array, its size and what
/// the shape needs.
class AttentionOps {
 public:
  /// Errors: as LanguageModel::open() for its options.
  static Result<AttentionOps> create(const LanguageModelOptions& options = {});
  AttentionOps(AttentionOps&&) noexcept;
  AttentionOps& operator=(AttentionOps&&) noexcept;
  ~AttentionOps();

  /// q [n_queries, n_heads, d_k], k [n_keys, n_kv_heads, d_k], v [n_keys, n_kv_heads, d_v] -> out [n_queries,
  /// n_heads, d_v]. A query that sees no key gives zeros.
  Status dot_product(const AttentionShape& shape, std::span<const float> q, std::span<const float> k,
                     std::span<const float> v, std::span<float> out);

  struct AdditiveInputs {
    std::span<const float> query;    ///< [n_queries, d_query]
    std::span<const float> keys;     ///< [n_keys, d_key]
    std::span<const float> w_query;  ///< [d_attention, d_query]
    std::span<const float> w_key;    ///< [d_attention, d_key]
    std::span<const float> bias;     ///< [d_attention], or empty
    std::span<const float> v;        ///< [d_attention]
  };
  /// out [n_queries, d_key]; weights [n_queries, n_keys], or empty when they are not wanted.
  Status additive(const AdditiveAttentionShape& shape, const AdditiveInputs& in, std::span<float> out,
                  std::span<float> weights = {});

  struct LatentInputs {
    std::span<const float> q;  ///< [n_queries, n_heads, d_nope + d_rope], the RoPE part rotated
    std::span<const float>
        rows;  ///< [n_rows, kv_rank + d_rope]: latent | rotated RoPE key; what a cache keeps of each token
    std::span<const float> k_up;  ///< [n_heads, kv_rank, d_nope]: W_UK of each head, transposed
    std::span<const float> v_up;  ///< [n_heads, d_v, kv_rank]: W_UV of each head
  };
  /// out [n_queries, n_heads, d_v].
  Status latent(const LatentAttentionShape& shape, const LatentInputs& in, std::span<float> out,
                LatentForm form = LatentForm::kAuto);

 private:
  struct Impl;
  explicit AttentionOps(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mla
