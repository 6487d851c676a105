"""Faster equals of two parts of transformers' DeepseekV3ForCausalLM, for training on a CPU.

Both compute what the stock classes compute (`test_fast_paths.py` compares outputs and gradients); they only order
the work better. The checkpoint knows nothing of them: it loads into the stock classes.
"""

import types

import torch
import torch.nn.functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek


def experts_forward(self, hidden_states: torch.Tensor, top_k_index: torch.Tensor,
                    top_k_weights: torch.Tensor) -> torch.Tensor:
    """Sort the (token, expert) pairs by expert, run each expert on its slice, and put the rows back.

    hidden_states [n_tokens, d_model], top_k_* [n_tokens, n_experts_used] -> [n_tokens, d_model].
    Adds the number of tokens each expert got to `self.load` [n_experts], which balances the router.
    """
    n_tokens, n_used = top_k_index.shape
    order = top_k_index.reshape(-1).argsort(stable=True)  # [n_tokens * n_used]
    counts = torch.bincount(top_k_index.reshape(-1), minlength=self.num_experts)
    self.load += counts
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden_states.dtype
    slices = hidden_states.to(dtype)[order // n_used].split(counts.tolist())
    results = []
    for x, gate_up, down in zip(slices, self.gate_up_proj.to(dtype).unbind(), self.down_proj.to(dtype).unbind()):
        gate, up = F.linear(x, gate_up).chunk(2, dim=-1)
        results.append(F.linear(F.silu(gate) * up, down))
    rows = torch.cat(results)[order.argsort()].view(n_tokens, n_used, -1)
    return (rows * top_k_weights.unsqueeze(-1).to(dtype)).sum(dim=1).to(hidden_states.dtype)


def padded_attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """Causal attention through PyTorch's fused kernel, which wants values as wide as the keys: pad, then cut.

    query, key [batch, n_heads, n_tokens, d_nope + d_rope], value [..., d_v] -> [batch, n_tokens, n_heads, d_v].
    """
    d_v = value.shape[-1]
    value = F.pad(value, (0, query.shape[-1] - d_v))
    out = F.scaled_dot_product_attention(query, key.to(query.dtype), value.to(query.dtype), is_causal=True,
                                         scale=scaling)
    return out[..., :d_v].transpose(1, 2).contiguous(), None


def rms_norm_forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(hidden_states.float(), self.weight.shape, self.weight, self.variance_epsilon)


def install(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Switch `model` to the fast paths and return its routers' (gate, experts) pairs, one per MoE layer."""
    ALL_ATTENTION_FUNCTIONS.register("mla_padded", padded_attention)
    model.config._attn_implementation = "mla_padded"
    pairs = []
    for module in model.modules():
        if isinstance(module, deepseek.DeepseekV3MoE):
            experts = module.experts
            experts.register_buffer("load", torch.zeros(experts.num_experts, dtype=torch.long), persistent=False)
            experts.forward = types.MethodType(experts_forward, experts)
            pairs.append((module.gate, experts))
        elif isinstance(module, deepseek.DeepseekV3RMSNorm):
            module.forward = types.MethodType(rms_norm_forward, module)
    return pairs
