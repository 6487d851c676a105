"""The same weights under their names in transformers and in GGUF (architecture `deepseek2`), both ways.

Shapes are numpy's, slowest axis first; GGUF lists them the other way round.
"""

from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

MODEL_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER_NAMES = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q_a.weight": "self_attn.q_a_proj.weight",
    "attn_q_a_norm.weight": "self_attn.q_a_layernorm.weight",
    "attn_q_b.weight": "self_attn.q_b_proj.weight",
    "attn_kv_a_mqa.weight": "self_attn.kv_a_proj_with_mqa.weight",
    "attn_kv_a_norm.weight": "self_attn.kv_a_layernorm.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
}
DENSE_NAMES = {f"ffn_{m}.weight": f"mlp.{m}_proj.weight" for m in ("gate", "up", "down")}
MOE_NAMES = {
    "ffn_gate_inp.weight": "mlp.gate.weight",
    "exp_probs_b.bias": "mlp.gate.e_score_correction_bias",
    "ffn_down_exps.weight": "mlp.experts.down_proj",
    **{f"ffn_{m}_shexp.weight": f"mlp.shared_experts.{m}_proj.weight" for m in ("gate", "up", "down")},
}
KEPT_IN_F32 = ("_norm.weight", "ffn_gate_inp.weight", "exp_probs_b.bias")


def plain_names(config: DeepseekV3Config) -> dict[str, str]:
    """GGUF name -> transformers name of all tensors that are stored the same way in both."""
    names = dict(MODEL_NAMES)
    for i in range(config.num_hidden_layers):
        mlp = DENSE_NAMES if i < config.first_k_dense_replace else MOE_NAMES
        names |= {f"blk.{i}.{g}": f"model.layers.{i}.{h}" for g, h in (LAYER_NAMES | mlp).items()}
    return names


def to_gguf(state: dict[str, torch.Tensor], config: DeepseekV3Config) -> dict[str, np.ndarray]:
    """transformers' state dict -> GGUF tensors in float32."""
    out = {g: state[h].float().numpy() for g, h in plain_names(config).items()}
    n_heads, d_nope, d_v = config.num_attention_heads, config.qk_nope_head_dim, config.v_head_dim
    for i in range(config.num_hidden_layers):
        kv_b = state[f"model.layers.{i}.self_attn.kv_b_proj.weight"].float().numpy()
        kv_b = kv_b.reshape(n_heads, d_nope + d_v, config.kv_lora_rank)
        out[f"blk.{i}.attn_k_b.weight"] = kv_b[:, :d_nope].transpose(0, 2, 1).copy()  # [n_heads, kv_rank, d_nope]
        out[f"blk.{i}.attn_v_b.weight"] = kv_b[:, d_nope:].copy()  # [n_heads, d_v, kv_rank]
        if i >= config.first_k_dense_replace:
            gate_up = state[f"model.layers.{i}.mlp.experts.gate_up_proj"].float().numpy()  # [n_experts, 2 * d_ff, d_model]
            gate, up = np.split(gate_up, 2, axis=1)
            out[f"blk.{i}.ffn_gate_exps.weight"] = gate.copy()
            out[f"blk.{i}.ffn_up_exps.weight"] = up.copy()
    return out


def from_gguf(tensors: dict[str, np.ndarray], config: DeepseekV3Config) -> dict[str, torch.Tensor]:
    """GGUF tensors in float32 -> transformers' state dict."""
    out = {h: torch.from_numpy(tensors[g].copy()) for g, h in plain_names(config).items()}
    for i in range(config.num_hidden_layers):
        key, value = tensors[f"blk.{i}.attn_k_b.weight"], tensors[f"blk.{i}.attn_v_b.weight"]
        kv_b = np.concatenate([key.transpose(0, 2, 1), value], axis=1)  # [n_heads, d_nope + d_v, kv_rank]
        out[f"model.layers.{i}.self_attn.kv_b_proj.weight"] = torch.from_numpy(kv_b.reshape(-1, kv_b.shape[-1]).copy())
        if i >= config.first_k_dense_replace:
            gate_up = np.concatenate([tensors[f"blk.{i}.ffn_{m}_exps.weight"] for m in ("gate", "up")], axis=1)
            out[f"model.layers.{i}.mlp.experts.gate_up_proj"] = torch.from_numpy(gate_up)
    return out


def read_gguf(path: Path) -> tuple[DeepseekV3Config, dict[str, np.ndarray]]:
    """Config and dequantised tensors of a file written by export_gguf.py."""
    reader = gguf.GGUFReader(path)

    def key(name: str):
        return reader.fields[f"deepseek2.{name}"].contents()

    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
    d_rope = key("rope.dimension_count")
    config = DeepseekV3Config(
        architectures=["DeepseekV3ForCausalLM"],
        vocab_size=key("vocab_size"), hidden_size=key("embedding_length"), num_hidden_layers=key("block_count"),
        num_attention_heads=key("attention.head_count"), num_key_value_heads=key("attention.head_count"),
        q_lora_rank=key("attention.q_lora_rank"), kv_lora_rank=key("attention.kv_lora_rank"),
        qk_nope_head_dim=key("attention.key_length_mla") - d_rope, qk_rope_head_dim=d_rope,
        v_head_dim=key("attention.value_length_mla"), intermediate_size=key("feed_forward_length"),
        first_k_dense_replace=key("leading_dense_block_count"), n_routed_experts=key("expert_count"),
        n_shared_experts=key("expert_shared_count"), num_experts_per_tok=key("expert_used_count"),
        moe_intermediate_size=key("expert_feed_forward_length"), n_group=key("expert_group_count"),
        topk_group=key("expert_group_used_count"), norm_topk_prob=key("expert_weights_norm"),
        routed_scaling_factor=round(key("expert_weights_scale"), 4),
        rms_norm_eps=round(key("attention.layer_norm_rms_epsilon"), 9), rope_interleave=True,
        rope_parameters={"rope_type": "default", "rope_theta": float(key("rope.freq_base"))},
        max_position_embeddings=key("context_length"), num_nextn_predict_layers=0, tie_word_embeddings=False,
        **{f"{t}_token_id": reader.fields[f"tokenizer.ggml.{k}_token_id"].contents()
           for t, k in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))},
    )
    return config, tensors


def model_from_gguf(path: Path) -> DeepseekV3ForCausalLM:
    """The stock transformers model, in float32, with the weights of a GGUF file."""
    config, tensors = read_gguf(path)
    model = DeepseekV3ForCausalLM(config)
    model.load_state_dict(from_gguf(tensors, config))
    return model.float().eval()
