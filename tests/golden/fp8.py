"""FP8 in blocks of 128x128, as the published DeepSeek-V3 checkpoints store it (E4M3 and one float32 scale a block)."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from common import save_json, save_tensors

BLOCK = 128
E4M3_MAX = 448.0


def is_quantized(name: str, tensor: torch.Tensor) -> bool:
    """The published rule: the matrices of the layers, except the router. Embedding, head and norms stay as they are."""
    return tensor.dim() == 2 and "_proj" in name and name.endswith(".weight")


def quantize(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[rows, columns] -> (E4M3 [rows, columns], scale_inv F32 [ceil(rows / 128), ceil(columns / 128)])"""
    rows, columns = weight.shape
    codes = torch.empty_like(weight, dtype=torch.float8_e4m3fn)
    scales = torch.empty(-(-rows // BLOCK), -(-columns // BLOCK))
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            block = (slice(i * BLOCK, (i + 1) * BLOCK), slice(j * BLOCK, (j + 1) * BLOCK))
            scales[i, j] = weight[block].abs().max() / E4M3_MAX
            codes[block] = (weight[block] / scales[i, j]).to(torch.float8_e4m3fn)
    return codes, scales


def dequantize(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    spread = scales.repeat_interleave(BLOCK, 0)[: codes.shape[0]].repeat_interleave(BLOCK, 1)[:, : codes.shape[1]]
    return codes.to(torch.float32) * spread


def quantize_folder(folder: Path) -> dict[str, torch.Tensor]:
    """Rewrites a folder with FP8 matrices; returns the weights as a reader must see them, in float32."""
    stored, seen = {}, {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if is_quantized(name, tensor):
            codes, scales = quantize(tensor.float())
            stored[name], stored[name + "_scale_inv"] = codes, scales
            seen[name] = dequantize(codes, scales)
        else:
            stored[name], seen[name] = tensor, tensor.float()
    save_tensors(folder / "model.safetensors", stored, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK],
    }  # fmt: skip
    save_json(folder / "config.json", dict(sorted(config.items())))
    return seen
