"""DeepSeek's decoder written from the papers' formulas in float64, independent of transformers.

It reads the published tensor names and the published style of config.json, and serves as a second opinion: every MLA golden
must agree with it, in the expanded and in the absorbed form. It also reports how clear each routing decision was.

Papers: DeepSeek-V2 (arXiv 2405.04434, section 2.1 and appendix C: MLA, group-limited routing), DeepSeek-V3 (arXiv 2412.19437,
section 2.1: sigmoid routing with a correction bias), YaRN (arXiv 2309.00071).
"""

import math

import torch

LATENT_NORM_EPS = 1e-6  # transformers never passes config.rms_norm_eps to the norms of the latents


def rms_norm(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def yarn_mscale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def rope_frequencies(d_rope: int, theta: float, scaling: dict | None) -> torch.Tensor:
    """Angle per position of each pair, [d_rope / 2]."""
    frequencies = torch.tensor([theta ** (-2 * i / d_rope) for i in range(d_rope // 2)], dtype=torch.float64)
    if scaling is None:
        return frequencies

    def pair_that_turns(rotations):
        original = scaling["original_max_position_embeddings"]
        return d_rope * math.log(original / (2 * math.pi * rotations)) / (2 * math.log(theta))

    low = max(math.floor(pair_that_turns(scaling["beta_fast"])), 0)
    high = min(math.ceil(pair_that_turns(scaling["beta_slow"])), d_rope - 1)
    width = high - low if high != low else 0.001
    ramp = torch.tensor([min(max((i - low) / width, 0.0), 1.0) for i in range(d_rope // 2)], dtype=torch.float64)
    return frequencies / scaling["factor"] * ramp + frequencies * (1 - ramp)


def rotate_interleaved(x, angles):
    """Rotates the pairs (x[2i], x[2i+1]) of the last axis by `angles` [n_tokens, d_rope / 2]; x is [n_tokens, ..., d_rope]."""
    angles = angles.reshape(angles.shape[0], *[1] * (x.dim() - 2), angles.shape[1])
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = (even * angles.cos() - odd * angles.sin(), odd * angles.cos() + even * angles.sin())
    return torch.stack(rotated, dim=-1).flatten(-2)


def swiglu(x, gate, up, down):
    g = x @ gate.T
    return (g * torch.sigmoid(g) * (x @ up.T)) @ down.T


def route(logits, config, bias=None, report=None):
    """[n_experts] router logits of one token -> [(expert, weight)]. `report` collects the margins of the choices."""
    n_groups, k = config.get("n_group") or 1, config["num_experts_per_tok"]
    sigmoid = config.get("scoring_func", "softmax") == "sigmoid"
    scores = torch.sigmoid(logits) if sigmoid else torch.softmax(logits, -1)
    choice = scores + bias if bias is not None else scores
    allowed = list(range(len(scores)))
    if config["topk_method"] != "greedy" and n_groups > 1:
        groups = choice.view(n_groups, -1)
        group_scores = groups.topk(2, -1).values.sum(-1) if sigmoid else groups.max(-1).values
        kept = choose(group_scores, config["topk_group"], report)
        size = len(scores) // n_groups
        allowed = [e for g in kept for e in range(g * size, (g + 1) * size)]
    best = choose(choice[allowed], k, report)
    chosen = [allowed[i] for i in best]
    weights = scores[chosen]
    if config["norm_topk_prob"]:
        weights = weights / (weights.sum() + 1e-20)
    return list(zip(chosen, weights * config["routed_scaling_factor"]))


def choose(values, k, report=None):
    order = torch.sort(values, descending=True)
    if report is not None and k < len(values):
        report.append((order.values[k - 1] - order.values[k]).item())
    return order.indices[:k].tolist()


class MlaFormula:
    """`weights`: published tensor name -> tensor. `config`: a published-style config.json as a dict."""

    def __init__(self, config: dict, weights: dict[str, torch.Tensor], absorbed: bool = False, use_bias: bool = True):
        self.config, self.absorbed, self.use_bias = config, absorbed, use_bias
        self.weights = {name: tensor.double() for name, tensor in weights.items()}
        self.margins: list[float] = []
        self.choices: list[tuple[int, ...]] = []

    def w(self, layer: int, name: str):
        return self.weights[f"model.layers.{layer}.{name}.weight"]

    def project(self, x, layer: int, name: str):
        bias = self.weights.get(f"model.layers.{layer}.{name}.bias")
        y = x @ self.w(layer, name).T
        return y if bias is None else y + bias

    def attention(self, x, layer: int):
        c, n = self.config, x.shape[0]
        nope, rope, v, heads = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["num_attention_heads"]
        rank, scaling = c["kv_lora_rank"], c.get("rope_scaling")
        angles = torch.arange(n, dtype=torch.float64)[:, None] * rope_frequencies(rope, c["rope_theta"], scaling)
        scale = (nope + rope) ** -0.5
        if scaling and scaling.get("mscale_all_dim"):
            scale *= yarn_mscale(scaling["factor"], scaling["mscale_all_dim"]) ** 2

        if c.get("q_lora_rank") is None:
            q = self.project(x, layer, "self_attn.q_proj")
        else:
            latent_q = self.project(x, layer, "self_attn.q_a_proj")
            latent_q = rms_norm(latent_q, self.w(layer, "self_attn.q_a_layernorm"), LATENT_NORM_EPS)
            q = self.project(latent_q, layer, "self_attn.q_b_proj")
        q = q.view(n, heads, nope + rope)
        q_nope, q_rope = q[..., :nope], rotate_interleaved(q[..., nope:], angles)

        kv = self.project(x, layer, "self_attn.kv_a_proj_with_mqa")
        latent = rms_norm(kv[:, :rank], self.w(layer, "self_attn.kv_a_layernorm"), LATENT_NORM_EPS)  # [n, rank]
        k_rope = rotate_interleaved(kv[:, rank:], angles)  # [n, rope], one for all heads
        kv_b = self.w(layer, "self_attn.kv_b_proj").view(heads, nope + v, rank)
        w_uk, w_uv = kv_b[:, :nope], kv_b[:, nope:]

        scores = torch.einsum("qhr,kr->hqk", q_rope, k_rope)
        if self.absorbed:
            scores = scores + torch.einsum("qhn,hnc,kc->hqk", q_nope, w_uk, latent)
        else:
            scores = scores + torch.einsum("qhn,khn->hqk", q_nope, torch.einsum("hnc,kc->khn", w_uk, latent))
        causal = torch.ones(n, n, dtype=torch.bool).tril()
        p = torch.softmax((scores * scale).masked_fill(~causal, -math.inf), -1)
        if self.absorbed:
            out = torch.einsum("hvc,qhc->qhv", w_uv, torch.einsum("hqk,kc->qhc", p, latent))
        else:
            out = torch.einsum("hqk,khv->qhv", p, torch.einsum("hvc,kc->khv", w_uv, latent))
        return self.project(out.reshape(n, heads * v), layer, "self_attn.o_proj")

    def feed_forward(self, x, layer: int):
        def mlp(name, rows):
            return swiglu(rows, *(self.w(layer, f"mlp.{name}{part}_proj") for part in ("gate", "up", "down")))

        if layer < self.config["first_k_dense_replace"]:
            return mlp("", x)
        bias = self.weights.get(f"model.layers.{layer}.mlp.gate.e_score_correction_bias") if self.use_bias else None
        out = mlp("shared_experts.", x)
        logits = x @ self.w(layer, "mlp.gate").T
        for t in range(x.shape[0]):
            routed = route(logits[t], self.config, bias, self.margins)
            self.choices.append(tuple(sorted(expert for expert, _ in routed)))
            for expert, weight in routed:
                out[t] += weight * mlp(f"experts.{expert}.", x[t : t + 1])[0]
        return out

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """[n_tokens] -> [n_tokens, n_vocab]"""
        eps = self.config["rms_norm_eps"]
        x = self.weights["model.embed_tokens.weight"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            x = x + self.attention(rms_norm(x, self.w(layer, "input_layernorm"), eps), layer)
            x = x + self.feed_forward(rms_norm(x, self.w(layer, "post_attention_layernorm"), eps), layer)
        x = rms_norm(x, self.weights["model.norm.weight"], eps)
        return x @ self.weights["lm_head.weight"].T
