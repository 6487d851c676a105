#!/usr/bin/env python3
"""The fast paths give the outputs and gradients of transformers' stock classes. Run: python test_fast_paths.py"""

import json
from pathlib import Path

import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

import fast_paths


def outputs_and_gradients(model, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    logits = model(ids, use_cache=False).logits
    logits.square().mean().backward()
    return {"logits": logits.detach()} | {n: p.grad.clone() for n, p in model.named_parameters()}


def main() -> None:
    torch.manual_seed(1)
    config = json.loads((Path(__file__).resolve().parent / "config.json").read_text())
    model = DeepseekV3ForCausalLM(DeepseekV3Config(**config))
    for name, p in model.named_parameters():
        if name.endswith("mlp.gate.weight"):
            torch.nn.init.normal_(p, std=0.3)
    ids = torch.randint(0, config["vocab_size"], (3, 37))
    stock = outputs_and_gradients(model, ids)
    routers = fast_paths.install(model)
    fast = outputs_and_gradients(model, ids)
    for name, expected in stock.items():
        error = (fast[name] - expected).abs().max() / expected.abs().max()
        assert error < 1e-4, f"{name}: relative error {error:.2e}"
    for _, experts in routers:
        assert experts.load.sum() == ids.numel() * config["num_experts_per_tok"]
    print(f"{len(stock)} tensors agree")


if __name__ == "__main__":
    main()
