"""What every golden maker shares: folders, seeds, number formats and files that come out the same on every run."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent

# One thread: a sum's order, and so its last bit, must not depend on the machine.
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def generator(*key) -> torch.Generator:
    """A random generator seeded by what it is for, so that adding one case changes no other."""
    return torch.Generator().manual_seed(zlib.crc32(repr(key).encode()))


def numpy_generator(*key) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def representable(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Float32 values that `dtype` and float16 both hold exactly, so that one weight can be stored in either."""
    values = torch.where(values.abs() < 2.0**-14, torch.zeros_like(values), values)
    return values.to(dtype).to(torch.float32)


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, str(path), metadata=metadata)
    sort_metadata(path)


def sort_metadata(path: Path) -> None:
    """The library writes metadata in a random order; sorting it in place makes equal contents equal bytes."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    metadata = {"__metadata__": dict(sorted(header.pop("__metadata__", {}).items()))}
    text = json.dumps((metadata if metadata["__metadata__"] else {}) | header, separators=(",", ":"), ensure_ascii=False)
    check(len(text.encode()) <= size, f"{path}: header grew")
    path.write_bytes(data[:8] + text.encode().ljust(size) + data[8 + size :])


def save_json(path: Path, value, indent: int | None = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=True) + "\n", encoding="utf-8")


def check(condition: bool, what: str) -> None:
    """A self-check of a maker: a golden that fails one is never written."""
    if not condition:
        raise SystemExit(f"golden self-check failed: {what}")


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the range of the expected values."""
    expected = expected.double()
    return ((got.double() - expected).abs().max() / (expected.max() - expected.min())).item()
