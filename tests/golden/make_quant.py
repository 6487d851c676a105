"""Makes quant/: for each block format random blocks and the values that the `gguf` package (for FP8: torch) unpacks.

The values are float32 and meant to be met bit for bit: README.md gives the order of the operations.
"""

import gguf
import numpy as np
import torch

from common import ROOT, check, numpy_generator, save_tensors

QUANT = ROOT / "quant"

# format -> byte offsets of the float16 fields (scale, then minimum or offset) within a block
HALF_FIELDS = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
}  # fmt: skip

# One block each: ordinary, negative, zero, minus zero, smallest and largest subnormal, largest number, ordinary and small.
SCALES = [0.03717041015625, -0.0110626220703125, 0.0, -0.0, 2.0**-24, 1023 * 2.0**-24, 65504.0, 0.00087738037109375]
MINIMA = [0.2078857421875, 0.5, -0.0313720703125, 0.0, -(2.0**-24), 2.0**-15, 0.75, 0.0]

F16_CODES = [
    0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400,
    0x3C00, 0xBC00, 0x3555, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00,
]  # fmt: skip
BF16_CODES = [
    0x0000, 0x8000, 0x0001, 0x8001, 0x007F, 0x807F, 0x0080, 0x8080,
    0x3F80, 0xBF80, 0x3EAB, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7FC0,
]  # fmt: skip


def random_blocks(name: str, type_size: int) -> np.ndarray:
    blocks = numpy_generator("quant", name).integers(0, 256, (len(SCALES), type_size), dtype=np.uint8)
    for offset, values in zip(HALF_FIELDS[name], (SCALES, MINIMA)):
        blocks[:, offset : offset + 2] = np.array(values, dtype=np.float16).view(np.uint8).reshape(-1, 2)
    return blocks


def make_block_format(name: str) -> None:
    kind = gguf.GGMLQuantizationType[name]
    block_size, type_size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random_blocks(name, type_size)
    values = gguf.quants.dequantize(blocks, kind)
    check(values.dtype == np.float32 and values.shape == (len(SCALES), block_size), name)
    check(bool(np.isfinite(values).all()), f"{name}: not finite")
    check(len(np.unique(values[0])) >= min(block_size, 12), f"{name}: too few different values")
    save_tensors(QUANT / f"{name}.safetensors", {"blocks": torch.from_numpy(blocks), "values": torch.from_numpy(values.copy())})


def make_half_format(name: str, codes: list[int]) -> None:
    random = numpy_generator("quant", name).integers(0, 1 << 16, 112, dtype=np.uint16)
    exponent = 0x7C00 if name == "F16" else 0x7F80
    random = random[(random & exponent) != exponent]  # the special codes have infinities and one quiet NaN
    all_codes = np.concatenate([np.array(codes, dtype=np.uint16), random])
    values = gguf.quants.dequantize(all_codes.view(np.uint8).reshape(-1, 2), gguf.GGMLQuantizationType[name]).reshape(-1)
    torch_type = torch.float16 if name == "F16" else torch.bfloat16
    other = torch.from_numpy(all_codes.view(np.int16)).view(torch_type).float().numpy()
    check(np.array_equal(values, other, equal_nan=True), f"{name}: gguf and torch differ")
    blocks = torch.from_numpy(all_codes.view(np.uint8).reshape(-1, 2).copy())
    save_tensors(QUANT / f"{name}.safetensors", {"blocks": blocks, "values": torch.from_numpy(values.reshape(-1, 1).copy())})


def make_fp8() -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    values = codes.view(torch.float8_e4m3fn).float()
    save_tensors(QUANT / "F8_E4M3.safetensors", {"blocks": codes[:, None], "values": values[:, None]})


if __name__ == "__main__":
    for block_format in HALF_FIELDS:
        make_block_format(block_format)
    make_half_format("F16", F16_CODES)
    make_half_format("BF16", BF16_CODES)
    make_fp8()
