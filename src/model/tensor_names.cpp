#include "model/tensor_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace mla {
namespace {

// clang-format off
constexpr TensorName kDeepseek[] = {
    {Role::kEmbedding, "model.embed_tokens.weight", "token_embd.weight"},
    {Role::kFinalNorm, "model.norm.weight", "output_norm.weight"},
    {Role::kHead, "lm_head.weight", "output.weight"},
    {Role::kAttentionNorm, "model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
    {Role::kQ, "model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"},
    {Role::kQA, "model.layers.{}.self_attn.q_a_proj.weight", "blk.{}.attn_q_a.weight"},
    {Role::kQANorm, "model.layers.{}.self_attn.q_a_layernorm.weight", "blk.{}.attn_q_a_norm.weight"},
    {Role::kQB, "model.layers.{}.self_attn.q_b_proj.weight", "blk.{}.attn_q_b.weight"},
    {Role::kKvA, "model.layers.{}.self_attn.kv_a_proj_with_mqa.weight", "blk.{}.attn_kv_a_mqa.weight"},
    {Role::kKvANorm, "model.layers.{}.self_attn.kv_a_layernorm.weight", "blk.{}.attn_kv_a_norm.weight"},
    {Role::kKvB, "model.layers.{}.self_attn.kv_b_proj.weight", "blk.{}.attn_kv_b.weight"},
    {Role::kKUp, "", "blk.{}.attn_k_b.weight"},
    {Role::kVUp, "", "blk.{}.attn_v_b.weight"},
    {Role::kAttentionOut, "model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
    {Role::kFeedForwardNorm, "model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
    {Role::kGate, "model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
    {Role::kUp, "model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
    {Role::kDown, "model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
    {Role::kRouter, "model.layers.{}.mlp.gate.weight", "blk.{}.ffn_gate_inp.weight"},
    {Role::kRouterBias, "model.layers.{}.mlp.gate.e_score_correction_bias", "blk.{}.exp_probs_b.bias"},
    {Role::kExpertGate, "model.layers.{}.mlp.experts.{}.gate_proj.weight", ""},
    {Role::kExpertUp, "model.layers.{}.mlp.experts.{}.up_proj.weight", ""},
    {Role::kExpertDown, "model.layers.{}.mlp.experts.{}.down_proj.weight", ""},
    {Role::kExpertsGate, "", "blk.{}.ffn_gate_exps.weight"},
    {Role::kExpertsUp, "", "blk.{}.ffn_up_exps.weight"},
    {Role::kExpertsGateUp, "model.layers.{}.mlp.experts.gate_up_proj", "blk.{}.ffn_gate_up_exps.weight"},
    {Role::kExpertsDown, "model.layers.{}.mlp.experts.down_proj", "blk.{}.ffn_down_exps.weight"},
    {Role::kSharedGate, "model.layers.{}.mlp.shared_experts.gate_proj.weight", "blk.{}.ffn_gate_shexp.weight"},
    {Role::kSharedUp, "model.layers.{}.mlp.shared_experts.up_proj.weight", "blk.{}.ffn_up_shexp.weight"},
    {Role::kSharedDown, "model.layers.{}.mlp.shared_experts.down_proj.weight", "blk.{}.ffn_down_shexp.weight"},
};

constexpr TensorName kLlama[] = {
    {Role::kEmbedding, "model.embed_tokens.weight", "token_embd.weight"},
    {Role::kFinalNorm, "model.norm.weight", "output_norm.weight"},
    {Role::kHead, "lm_head.weight", "output.weight"},
    {Role::kAttentionNorm, "model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
    {Role::kQ, "model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"},
    {Role::kK, "model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"},
    {Role::kV, "model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
    {Role::kQNorm, "model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"},
    {Role::kKNorm, "model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"},
    {Role::kAttentionOut, "model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
    {Role::kFeedForwardNorm, "model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
    {Role::kGate, "model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
    {Role::kUp, "model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
    {Role::kDown, "model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
};

constexpr TensorName kGpt2[] = {
    {Role::kEmbedding, "transformer.wte.weight", "token_embd.weight"},
    {Role::kPositionEmbedding, "transformer.wpe.weight", "position_embd.weight"},
    {Role::kFinalNorm, "transformer.ln_f.weight", "output_norm.weight"},
    {Role::kHead, "lm_head.weight", "output.weight"},
    {Role::kAttentionNorm, "transformer.h.{}.ln_1.weight", "blk.{}.attn_norm.weight"},
    {Role::kQkv, "transformer.h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight"},
    {Role::kAttentionOut, "transformer.h.{}.attn.c_proj.weight", "blk.{}.attn_output.weight"},
    {Role::kFeedForwardNorm, "transformer.h.{}.ln_2.weight", "blk.{}.ffn_norm.weight"},
    {Role::kUp, "transformer.h.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight"},
    {Role::kDown, "transformer.h.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight"},
};

constexpr TensorName kFalcon[] = {
    {Role::kEmbedding, "transformer.word_embeddings.weight", "token_embd.weight"},
    {Role::kFinalNorm, "transformer.ln_f.weight", "output_norm.weight"},
    {Role::kHead, "lm_head.weight", "output.weight"},
    {Role::kAttentionNorm, "transformer.h.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
    {Role::kQkv, "transformer.h.{}.self_attention.query_key_value.weight", "blk.{}.attn_qkv.weight"},
    {Role::kAttentionOut, "transformer.h.{}.self_attention.dense.weight", "blk.{}.attn_output.weight"},
    {Role::kUp, "transformer.h.{}.mlp.dense_h_to_4h.weight", "blk.{}.ffn_up.weight"},
    {Role::kDown, "transformer.h.{}.mlp.dense_4h_to_h.weight", "blk.{}.ffn_down.weight"},
};

// clang-format on

}  // namespace

NameTable deepseek_tensor_names() {
  return kDeepseek;
}
NameTable llama_tensor_names() {
  return kLlama;
}
NameTable gpt2_tensor_names() {
  return kGpt2;
}
NameTable falcon_tensor_names() {
  return kFalcon;
}

const TensorName& tensor_name(NameTable table, Role role) {
  const auto row =
      std::find_if(table.begin(), table.end(), [&](const TensorName& n) { return n.role == role; });
  assert(row != table.end());
  return *row;
}

std::string numbered(std::string_view name, int64_t layer, int64_t expert) {
  return fmt::format(fmt::runtime(name), layer, expert);
}

}  // namespace mla
