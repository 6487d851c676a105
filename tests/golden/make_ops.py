"""Makes ops/: inputs and results of single operations, computed by PyTorch in float64 and stored as float32.

Inputs are float32 values, so the results carry one rounding only. Parameters are strings in the file's metadata.
"""

import json

import torch
import torch.nn.functional as F
from transformers import DeepseekV2Config, DeepseekV3Config, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

from cases import rope, yarn
from common import ROOT, check, generator, save_tensors
from mla_formula import rope_frequencies, rotate_interleaved

OPS = ROOT / "ops"


def random(name: str, *shape: int, std: float = 1.0) -> torch.Tensor:
    """Float64 tensor of float32 values."""
    return (std * torch.randn(shape, generator=generator("ops", name))).float().double()


def save(name: str, tensors: dict[str, torch.Tensor], **parameters) -> None:
    stored = {key: t.to(torch.int32) if not t.is_floating_point() else t.float() for key, t in tensors.items()}
    for key, tensor in stored.items():
        check(bool(torch.isfinite(tensor.float()).all()), f"{name}: {key} is not finite")
    save_tensors(OPS / f"{name}.safetensors", stored, {key: str(value) for key, value in parameters.items()} or None)


def make_additive() -> None:
    """Bahdanau et al. 2015: e_ij = v . tanh(W_q q_i + W_k k_j + b), a = softmax over the valid keys, context = a K."""
    cases = {"plain": (4, 7, False, -1), "bias": (3, 9, True, -1), "one_key": (2, 1, True, -1), "masked": (5, 8, True, 6)}
    for name, (n_q, n_kv, has_bias, n_valid) in cases.items():
        d_query, d_key, d_attn = 6, 5, 11
        inputs = {
            "query": random(f"{name} q", n_q, d_query), "keys": random(f"{name} k", n_kv, d_key),
            "w_query": random(f"{name} wq", d_attn, d_query, std=0.7), "w_key": random(f"{name} wk", d_attn, d_key, std=0.7),
            "v": random(f"{name} v", d_attn),
        }  # fmt: skip
        if has_bias:
            inputs["bias"] = random(f"{name} b", d_attn)
        save(f"additive_{name}", inputs | additive(inputs, n_valid), n_valid=n_valid)


def additive(inputs: dict[str, torch.Tensor], n_valid: int) -> dict[str, torch.Tensor]:
    query = F.linear(inputs["query"], inputs["w_query"])  # [n_q, d_attn]
    key = F.linear(inputs["keys"], inputs["w_key"], inputs.get("bias"))  # [n_kv, d_attn]
    scores = torch.tanh(query[:, None] + key[None]) @ inputs["v"]  # [n_q, n_kv]
    masked = scores.clone()
    if n_valid >= 0:
        masked[:, n_valid:] = -torch.inf
    weights = torch.softmax(masked, -1)
    return {"scores": scores, "weights": weights, "out": weights @ inputs["keys"]}


def make_additive_batch() -> None:
    """A batch of ragged lengths as one padded tensor: row b has n_valid[b] keys; the padding must not matter."""
    n_batch, n_q, n_kv = 3, 2, 6
    n_valid = torch.tensor([6, 1, 4])
    shared = {"w_query": random("ab wq", 7, 4), "w_key": random("ab wk", 7, 4), "v": random("ab v", 7), "bias": random("ab b", 7)}
    query, keys = random("ab q", n_batch, n_q, 4), random("ab k", n_batch, n_kv, 4)
    rows = [additive(shared | {"query": query[b], "keys": keys[b]}, int(n_valid[b])) for b in range(n_batch)]
    results = {key: torch.stack([row[key] for row in rows]) for key in ("weights", "out")}
    save("additive_batch", shared | {"query": query, "keys": keys, "n_valid": n_valid} | results)


def make_dense_attention() -> None:
    """torch's scaled_dot_product_attention. Causal: query i sees keys 0 ... i + n_kv - n_q."""
    # name: n_heads, n_kv_heads, d_k, d_v, n_q, n_kv, causal, scale (None: d_k^-0.5)
    cases = {
        "self": (3, 3, 8, 8, 7, 7, False, None), "causal": (3, 3, 8, 8, 9, 9, True, None),
        "cross": (4, 4, 6, 6, 5, 11, False, None), "cross_one_key": (2, 2, 5, 5, 3, 1, False, None),
        "gqa_causal": (6, 2, 10, 10, 8, 8, True, None), "mqa_causal": (5, 1, 7, 7, 6, 6, True, None),
        "gqa_cross": (4, 2, 16, 16, 3, 13, False, None), "gqa_past": (4, 2, 6, 6, 4, 70, True, None),
        "decode": (4, 2, 8, 8, 1, 67, True, None), "value_width": (3, 1, 9, 4, 6, 6, True, 0.5),
        "value_wide": (2, 2, 4, 17, 5, 8, False, 0.3),
    }  # fmt: skip
    for name, (heads, kv_heads, d_k, d_v, n_q, n_kv, causal, scale) in cases.items():
        q = random(f"{name} q", n_q, heads, d_k, std=1.5)
        k, v = random(f"{name} k", n_kv, kv_heads, d_k, std=1.5), random(f"{name} v", n_kv, kv_heads, d_v)
        mask = torch.ones(n_q, n_kv, dtype=torch.bool).tril(n_kv - n_q) if causal else None
        heads_first = (t.transpose(0, 1)[None] for t in (q, k, v))
        out = F.scaled_dot_product_attention(*heads_first, attn_mask=mask, scale=scale, enable_gqa=heads != kv_heads)
        parameters = dict(n_heads=heads, n_kv_heads=kv_heads, d_k=d_k, d_v=d_v, causal=int(causal), scale=scale or d_k**-0.5)
        save(f"attention_{name}", {"q": q, "k": k, "v": v, "out": out[0].transpose(0, 1)}, **parameters)


def make_mla() -> None:
    """MLA over latent rows: new token i sees rows 0 ... n_past + i. Expanded and absorbed must agree; one result."""
    # name: n_heads, kv_rank, d_nope, d_rope, d_v, n_past, n_new
    cases = {
        "prefill": (3, 20, 8, 6, 10, 0, 9), "decode": (4, 20, 10, 4, 8, 66, 1), "chunk": (2, 10, 6, 8, 6, 59, 8),
        "wide_value": (3, 12, 12, 4, 16, 5, 3), "first_token": (5, 7, 3, 2, 5, 0, 1),
    }  # fmt: skip
    for name, (heads, rank, nope, d_rope, d_v, n_past, n_new) in cases.items():
        q = random(f"{name} q", n_new, heads, nope + d_rope)
        rows = random(f"{name} rows", n_past + n_new, rank + d_rope)
        k_up, v_up = random(f"{name} ku", heads, rank, nope, std=0.5), random(f"{name} vu", heads, d_v, rank, std=0.5)
        scale = 1.3 * (nope + d_rope) ** -0.5
        latent, k_rope = rows[:, :rank], rows[:, rank:]
        mask = torch.ones(n_new, n_past + n_new, dtype=torch.bool).tril(n_past)

        keys = torch.einsum("rc,hcn->rhn", latent, k_up)
        keys = torch.cat([keys, k_rope[:, None].expand(-1, heads, -1)], -1)
        values = torch.einsum("rc,hvc->rhv", latent, v_up)
        heads_first = (t.transpose(0, 1)[None] for t in (q, keys, values))
        expanded = F.scaled_dot_product_attention(*heads_first, attn_mask=mask, scale=scale)[0].transpose(0, 1)

        q_latent = torch.einsum("thn,hcn->thc", q[..., :nope], k_up)
        scores = torch.einsum("thc,rc->htr", q_latent, latent) + torch.einsum("thp,rp->htr", q[..., nope:], k_rope)
        weights = torch.softmax((scores * scale).masked_fill(~mask, -torch.inf), -1)
        absorbed = torch.einsum("htr,rc,hvc->thv", weights, latent, v_up)
        check(bool(torch.allclose(expanded, absorbed, rtol=0, atol=1e-12)), f"mla_{name}: the two forms differ")

        parameters = dict(n_heads=heads, kv_rank=rank, d_nope=nope, d_rope=d_rope, d_v=d_v, n_past=n_past, scale=scale)
        save(f"mla_{name}", {"q": q, "rows": rows, "k_up": k_up, "v_up": v_up, "out": expanded}, **parameters)


def rotate_half_split(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    angles = angles[:, None]
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()], -1)


def make_rope() -> None:
    """Rotation of dimensions [offset, offset + d_rope) of every head by position * inv_freq, from the stored inv_freq."""
    positions = torch.tensor([0, 1, 2, 7, 64, 500, 4095])
    # name: rotation, n_heads, d_head, offset, d_rope
    cases = {
        "interleaved": (rotate_interleaved, 3, 8, 0, 8), "half_split": (rotate_half_split, 3, 8, 0, 8),
        "interleaved_tail": (rotate_interleaved, 2, 14, 8, 6), "half_split_head": (rotate_half_split, 2, 10, 0, 4),
    }  # fmt: skip
    for name, (rotate, heads, d_head, offset, d_rope) in cases.items():
        inv_freq = rope_frequencies(d_rope, 10000.0, None).float().double()
        x = random(f"rope {name}", len(positions), heads, d_head)
        out = x.clone()
        out[..., offset : offset + d_rope] = rotate(x[..., offset : offset + d_rope], positions[:, None] * inv_freq)
        tensors = {"x": x, "positions": positions, "inv_freq": inv_freq, "out": out}
        save(f"rope_{name}", tensors, pairs=name.split("_")[0], d_head=d_head, offset=offset, d_rope=d_rope)


def make_rope_tables() -> None:
    """Frequency tables of published models from transformers' own functions; parameters as JSON in the metadata."""
    llama3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    k2_betas = {"beta_fast": 1.0, "beta_slow": 1.0}
    # name: d_rope, rope parameters
    cases = {
        "plain": (64, rope(10000.0)), "deepseek_v2_lite": (64, rope(10000.0, yarn(40.0, 0.707, 4096))),
        "deepseek_v3": (64, rope(10000.0, yarn(40.0, 1.0, 4096))),
        "kimi_k2": (64, rope(50000.0, yarn(32.0, 1.0, 4096, **k2_betas))), "kimi_k25": (64, rope(50000.0, yarn(64.0, 1.0, 4096))),
        "yarn_mscale_ratio": (32, rope(10000.0, yarn(16.0, 1.0, 2048) | {"mscale_all_dim": 0.5})),
        "yarn_tiny": (8, rope(100.0, yarn(40.0, 1.0, 64))),
        "llama_3_1": (128, rope(500000.0, llama3 | {"factor": 8.0})), "llama_3_2": (64, rope(500000.0, llama3 | {"factor": 32.0})),
        "linear": (64, rope(10000.0, {"rope_type": "linear", "factor": 4.0})),
    }  # fmt: skip
    tables, parameters = {}, {}
    for name, (d_rope, rope_parameters) in cases.items():
        config = LlamaConfig(head_dim=d_rope, max_position_embeddings=163840, rope_parameters=dict(rope_parameters))
        magnitude = 1.0
        if rope_parameters["rope_type"] == "default":
            tables[name] = rope_frequencies(d_rope, rope_parameters["rope_theta"], None)
        else:
            tables[name], magnitude = ROPE_INIT_FUNCTIONS[rope_parameters["rope_type"]](config)
        if rope_parameters["rope_type"] == "yarn":
            formula = rope_frequencies(d_rope, rope_parameters["rope_theta"], rope_parameters)
            check(bool(torch.allclose(tables[name].double(), formula, rtol=1e-5, atol=0)), f"yarn formula: {name}")
        parameters[name] = json.dumps({"d_rope": d_rope, "magnitude": magnitude, **rope_parameters})
    save("rope_tables", tables, **parameters)


def make_norms() -> None:
    x = random("norm x", 5, 13, std=2.0)
    x[1] *= 1e-3  # small enough for the epsilon to matter
    x[2] = 0.0
    x, weight, bias = x.float().double(), (1 + random("norm w", 13, std=0.3)).float().double(), random("norm b", 13)
    for eps in (1e-5, 1e-6):
        out = F.rms_norm(x, (13,), weight, eps)
        save(f"rms_norm_{eps:.0e}", {"x": x, "weight": weight, "out": out}, eps=eps)
    heads = random("norm heads", 4, 3, 6)
    per_head = (1 + random("norm wh", 6, std=0.3)).float().double()
    out = F.rms_norm(heads, (6,), per_head, 1e-6)
    save("rms_norm_heads", {"x": heads, "weight": per_head, "out": out}, eps=1e-6)
    save("layer_norm", {"x": x, "weight": weight, "bias": bias, "out": F.layer_norm(x, (13,), weight, bias, 1e-5)}, eps=1e-5)
    save("layer_norm_no_bias", {"x": x, "weight": weight, "out": F.layer_norm(x, (13,), weight, None, 1e-5)}, eps=1e-5)


def make_activations() -> None:
    edges = torch.tensor(
        [0.0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 0.5, -0.5, 5.0, -5.0, 9.0, -9.0, 20.0, -20.0, 90.0, -90.0, 1e4, -1e4]
    )
    x = torch.cat([edges.float().double(), random("gelu", 47, std=3.0)])
    save("gelu", {"x": x, "tanh": F.gelu(x, approximate="tanh"), "erf": F.gelu(x)})
    gate, up = x, random("silu up", len(x))
    save("silu_mul", {"gate": gate, "up": up, "out": F.silu(gate) * up})


def make_routers() -> None:
    """transformers' router modules with an identity for a weight, so that their input is the router's logits."""
    # name: version, n_experts, k, n_groups, n_groups_used, normalize, scale, mean and std of the correction bias
    cases = {
        "greedy": (2, 64, 6, 1, 1, False, 1.0, None), "greedy_normalized": (2, 7, 3, 1, 1, True, 1.0, None),
        "greedy_scaled": (2, 9, 2, 1, 1, False, 16.0, None), "group_limited": (2, 160, 6, 8, 3, False, 16.0, None),
        "group_limited_small": (2, 12, 3, 4, 2, False, 2.0, None), "noaux": (3, 128, 8, 8, 4, True, 2.5, (0.0, 0.2)),
        "noaux_one_group": (3, 11, 4, 1, 1, True, 2.827, (0.0, 0.2)), "noaux_not_normalized": (3, 12, 4, 4, 2, False, 1.5, (0.0, 0.2)),
        "noaux_negative": (3, 12, 5, 4, 2, True, 2.5, (-1.5, 0.1)), "all_experts": (3, 6, 6, 1, 1, True, 1.0, (0.0, 0.2)),
    }  # fmt: skip
    for name, (version, n_experts, k, groups, groups_used, normalize, scale, bias_shape) in cases.items():
        method = "greedy" if groups == 1 else "group_limited_greedy"
        options = dict(
            hidden_size=n_experts, n_routed_experts=n_experts, num_experts_per_tok=k, n_group=groups, num_attention_heads=1,
            topk_group=groups_used, norm_topk_prob=normalize, routed_scaling_factor=scale,
        )  # fmt: skip
        if version == 2:
            router = DeepseekV2TopkRouter(DeepseekV2Config(topk_method=method, **options))
        else:
            router = DeepseekV3TopkRouter(DeepseekV3Config(**options))
        logits = random(f"router {name}", 6, n_experts, std=1.5).float()
        tensors = {"logits": logits}
        with torch.no_grad():
            router.weight.copy_(torch.eye(n_experts))
            if bias_shape is not None:
                bias = bias_shape[0] + random(f"router bias {name}", n_experts, std=bias_shape[1]).float()
                router.e_score_correction_bias.copy_(bias)
                tensors["bias"] = bias
            _, weights, experts = router(logits)
            shifted = router(logits + 1e-5 * random("router nudge", 6, n_experts).float())[2]
        check(bool((experts.sort(-1).values == shifted.sort(-1).values).all()), f"{name}: a choice is too close")
        experts, order = experts.sort(-1)
        weights = weights.gather(1, order)
        if version == 2 and normalize:  # transformers' deepseek_v2 ignores norm_topk_prob; the original code does this
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        parameters = dict(
            score="softmax" if version == 2 else "sigmoid", group_score="max" if version == 2 else "top2_sum", n_experts=n_experts,
            n_experts_used=k, n_groups=groups, n_groups_used=groups_used, normalize=int(normalize), scale=scale,
        )  # fmt: skip
        save(f"router_{name}", tensors | {"experts": experts, "weights": weights}, **parameters)


if __name__ == "__main__":
    make_additive()
    make_additive_batch()
    make_dense_attention()
    make_mla()
    make_rope()
    make_rope_tables()
    make_norms()
    make_activations()
    make_routers()
