#!/usr/bin/env python3
"""Write a checkpoint of train.py as one GGUF file: matrices in Q8_0, norms, router and its bias in F32.

The file is read back and compared with the checkpoint before the command succeeds.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import DeepseekV3Config

import weights

HERE = Path(__file__).resolve().parent
NAME = "mla-default"
FILE_TYPE_MOSTLY_Q8_0 = 7


def add_model_keys(w: gguf.GGUFWriter, c: DeepseekV3Config) -> None:
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_vocab_size(c.vocab_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(1)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_q_lora_rank(c.q_lora_rank)
    w.add_kv_lora_rank(c.kv_lora_rank)
    w.add_key_length(c.kv_lora_rank + c.qk_rope_head_dim)
    w.add_value_length(c.kv_lora_rank)
    w.add_key_length_mla(c.qk_nope_head_dim + c.qk_rope_head_dim)
    w.add_value_length_mla(c.v_head_dim)
    w.add_rope_dimension_count(c.qk_rope_head_dim)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    w.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    w.add_leading_dense_block_count(c.first_k_dense_replace)
    w.add_expert_count(c.n_routed_experts)
    w.add_expert_used_count(c.num_experts_per_tok)
    w.add_expert_shared_count(c.n_shared_experts)
    w.add_expert_feed_forward_length(c.moe_intermediate_size)
    w.add_expert_weights_scale(c.routed_scaling_factor)
    w.add_expert_weights_norm(c.norm_topk_prob)
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    w.add_expert_group_count(c.n_group)
    w.add_expert_group_used_count(c.topk_group)


def add_tokenizer(w: gguf.GGUFWriter, tokenizer_file: Path, c: DeepseekV3Config) -> None:
    t = json.loads(tokenizer_file.read_text())
    ids = {**t["model"]["vocab"], **{a["content"]: a["id"] for a in t["added_tokens"]}}
    tokens = sorted(ids, key=ids.get)
    if [ids[x] for x in tokens] != list(range(c.vocab_size)):
        raise SystemExit(f"{tokenizer_file}: ids are not 0..{c.vocab_size - 1}")
    special = {a["content"] for a in t["added_tokens"]}
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("deepseek-v3")
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if x in special else gguf.TokenType.NORMAL for x in tokens])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in t["model"]["merges"]])
    w.add_bos_token_id(c.bos_token_id)
    w.add_eos_token_id(c.eos_token_id)
    w.add_pad_token_id(c.pad_token_id)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)


def add_general_keys(w: gguf.GGUFWriter, tokens_seen: int) -> None:
    w.add_name(NAME)
    w.add_author("The mla.cpp authors")
    w.add_license("mit")
    w.add_description(f"A small DeepSeek-V3-shaped base model (latent attention, mixture of experts) trained on "
                      f"{tokens_seen:,} tokens of public-domain books and a hand-written primer")
    w.add_languages(["en"])
    w.add_tags(["text-generation", "mla", "moe"])
    w.add_file_type(FILE_TYPE_MOSTLY_Q8_0)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)


def quantised(name: str, tensor: np.ndarray) -> tuple[np.ndarray, gguf.GGMLQuantizationType]:
    if name.endswith(weights.KEPT_IN_F32):
        return tensor, gguf.GGMLQuantizationType.F32
    kind = gguf.GGMLQuantizationType.Q8_0
    return gguf.quants.quantize(tensor, kind), kind


def verify(path: Path, tensors: dict[str, np.ndarray]) -> float:
    """Largest error relative to the absolute maximum of a tensor; raises SystemExit where it is more than Q8_0's."""
    _, read = weights.read_gguf(path)
    if read.keys() != tensors.keys():
        raise SystemExit(f"{path}: tensors differ: {read.keys() ^ tensors.keys()}")
    worst = 0.0
    for name, expected in tensors.items():
        error = np.abs(read[name] - expected).max() / max(np.abs(expected).max(), 1e-30)
        # Half a step of 1/127, and the rounding of the block's scale to 11 bits at 127 steps.
        limit = 0.0 if name.endswith(weights.KEPT_IN_F32) else (0.5 + 127 * 2**-11) / 127
        if read[name].shape != expected.shape or not error <= limit:
            raise SystemExit(f"{path}: {name}: shape {read[name].shape}, expected {expected.shape}; "
                             f"relative error {error:.2e}, at most {limit:.2e} expected")
        worst = max(worst, error)
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=HERE / "runs/default/checkpoint.pt")
    parser.add_argument("--tokenizer", type=Path, default=HERE / "data/tokenizer.json")
    parser.add_argument("--out", type=Path, default=HERE / f"../models/{NAME}.gguf")
    args = parser.parse_args()
    checkpoint = torch.load(args.checkpoint, weights_only=True, map_location="cpu")
    config = DeepseekV3Config(**checkpoint["config"])
    tensors = weights.to_gguf(checkpoint["model"], config)
    writer = gguf.GGUFWriter(args.out, "deepseek2")
    add_general_keys(writer, checkpoint["tokens"])
    add_model_keys(writer, config)
    add_tokenizer(writer, args.tokenizer, config)
    for name, tensor in tensors.items():
        data, kind = quantised(name, tensor)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{args.out}: {args.out.stat().st_size:,} bytes, {len(tensors)} tensors, {checkpoint['tokens']:,} tokens seen, "
          f"largest relative error {verify(args.out, tensors):.2e}")


if __name__ == "__main__":
    main()
