#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ops/activation.h"
#include "ops/paged.h"
#include "ops/weight.h"

namespace mla {

/// Scaled dot-product attention of new tokens over cached rows, causal: MHA (n_kv_heads = n_heads), GQA, MQA
/// (n_kv_heads = 1). Head h reads KV head h / (n_heads / n_kv_heads). Vaswani et al. 2017, section 3.2; Shazeer 2019
/// (arXiv 1911.02150); Ainslie et al. 2023 (arXiv 2305.13245). Rows: RowLayout::gqa.
struct AttentionSpec {
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  ///< divides n_heads
  int64_t d_k = 0;
  int64_t d_v = 0;
  float scale = 0.0F;      ///< factor on q.k, usually d_k^-0.5
};

/// How MLA attention is computed. Both give the same numbers up to rounding (docs/mla.md derives it).
enum class MlaForm {
  kAuto,      ///< the backend chooses by counting operations for this call
  kExpanded,  ///< keys and values are rebuilt from the latents: few operations per (query, row) pair
  kAbsorbed,  ///< up-projections folded into query and output; attention runs over the latents themselves
};
std::string_view mla_form_name(MlaForm form);
Result<MlaForm> mla_form_from_name(std::string_view name);

/// Multi-head latent attention (DeepSeek-V2 report, section 2.1). Rows: RowLayout::mla. Queries arrive as
/// [n_tokens, n_heads, d_nope + d_rope] with the rope part rotated; scores are (q_nope.k_nope + q_rope.k_rope) * scale.
struct MlaSpec {
  int64_t n_heads = 0;
  int64_t kv_rank = 0;
  int64_t d_nope = 0;
  int64_t d_rope = 0;
  int64_t d_v = 0;
  float scale = 0.0F;
};

/// The two up-projections of a layer (both halves of kv_b_proj), as stacks over heads.
struct MlaProjections {
  Weight k_up;  ///< W_UK^T, [n_heads, kv_rank, d_nope]: k_b as GGUF stores it; q_nope[d_nope] -> latent space [kv_rank]
  Weight v_up;  ///< W_UV, [n_heads, d_v, kv_rank]: latent [kv_rank] -> value [d_v]
};

/// Operations (multiply and add counted apart) of one call in each form, from the dimensions alone: `n_pairs` (query,
/// row) pairs that attend, `n_queries` new tokens, `n_rows` cached rows incl. new ones. kAuto takes the smaller; docs/mla.md.
struct MlaCost {
  double expanded = 0.0;
  double absorbed = 0.0;
};
MlaCost mla_cost(const MlaSpec& spec, int64_t n_queries, int64_t n_rows, int64_t n_pairs);

/// The form of one sequence's part of a batch: `wanted`, or for kAuto the one that needs fewer operations. Decided per
/// sequence, so that its numbers do not depend on its neighbours.
MlaForm choose_mla_form(const MlaSpec& spec, const SequenceSlice& slice, MlaForm wanted);

/// The fewest new tokens of one sequence with `n_past` cached rows from which on kAuto expands: the break-even point of
/// docs/mla.md, section 5. Nothing where absorbing is always the cheaper one (d_nope + d_v >= 2 kv_rank).
std::optional<int64_t> mla_break_even(const MlaSpec& spec, int64_t n_past);

/// Dense scaled dot-product attention for self (bidirectional), masked self (causal) and cross attention: no cache.
/// q [n_q, n_heads * d_k], k [n_kv, n_kv_heads * d_k], v [n_kv, n_kv_heads * d_v] -> out [n_q, n_heads * d_v].
/// Causal: query i sees keys 0 ... i + (n_kv - n_q). A query that sees no key gives zeros.
struct DenseAttentionArgs {
  Activation q, k, v, out;
  AttentionSpec spec;
  bool causal = false;
};

/// Additive attention (Bahdanau et al. 2015, arXiv 1409.0473, appendix A.1.2): for query s and key h_j
/// e_j = v . tanh(W_q s + W_k h_j + b), weights = softmax over the first n_valid keys, context = sum_j weights_j h_j.
/// query [n_q, d_query], keys [n_kv, d_key], W_q [d_attn, d_query], W_k [d_attn, d_key], b and v [d_attn]
/// -> out [n_q, d_key]; weights (optional) [n_q, n_kv]. With n_valid = 0 all outputs are zero.
struct AdditiveAttentionArgs {
  Activation query, keys, out;
  Weight w_query, w_key, bias, v;  ///< bias may be null
  int64_t n_valid = -1;            ///< keys from here on are masked; -1 = none masked
  Activation weights;              ///< data == nullptr: not wanted
};

}  // namespace mla
