#!/usr/bin/env python3
"""Writes the sample runs of the disk cache's format version 1 from its description alone (docs/format-disk-cache.md).

Needs libxxhash. Usage: make.py FOLDER
"""
import ctypes
import ctypes.util
import pathlib
import struct
import sys

PAGE_ROWS, N_LAYERS, ROW_BYTES = 64, 2, 12
PAGE_BYTES = N_LAYERS * PAGE_ROWS * ROW_BYTES
TAG = (b"Signature: 8a477f597d28d172789f06886806bc55\n"
       b"# mla disk cache: cached prefixes of prompts; safe to delete (mla cache wipe)\n")
MASK = (1 << 64) - 1


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


library = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
library.XXH3_128bits.restype = Hash128
library.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh3_128(data):
    h = library.XXH3_128bits(data, len(data))
    return struct.pack(">QQ", h.high, h.low)


def mix(x):
    x = (x + 0x9e3779b97f4a7c15) & MASK
    x = ((x ^ (x >> 30)) * 0xbf58476d1ce4e5b9) & MASK
    x = ((x ^ (x >> 27)) * 0x94d049bb133111eb) & MASK
    return x ^ (x >> 31)


def chain_tokens(chain, n_pages):
    """As tests/support/prefix_chains.cpp."""
    return [mix(((chain // 8 if i < 2 * PAGE_ROWS else 1_000_000 + chain) * 1_000_003 + i) & MASK) % 32_000
            for i in range(n_pages * PAGE_ROWS)]


def page_content(space, tokens, page):
    seed = 1
    for c in space.encode():
        seed = mix(seed ^ c)
    for token in tokens[:(page + 1) * PAGE_ROWS]:
        seed = mix(seed ^ token)
    return bytes((mix((seed + i // 8) & MASK) >> (i % 8 * 8)) & 255 for i in range(PAGE_BYTES))


def run(number, first_page, n_pages, space, label, identity):
    tokens = chain_tokens(1, first_page + n_pages)
    pages = [page_content(space, tokens, first_page + i) for i in range(n_pages)]
    variable = b"".join(xxh3_128(page) for page in pages) + struct.pack(f"<{len(tokens)}i", *tokens) + space.encode() + label.encode()
    header_bytes = (88 + len(variable) + 16 + 4095) // 4096 * 4096
    fixed = struct.pack("<8sIIQQ16sQQIIIIII", b"MLARUN\r\n", 1, 0x01020304, header_bytes, number, identity, PAGE_BYTES, ROW_BYTES,
                        N_LAYERS, PAGE_ROWS, first_page, n_pages, len(space), len(label))
    header = (fixed + variable).ljust(header_bytes - 16, b"\0")
    return header + xxh3_128(header) + b"".join(pages)


folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "CACHEDIR.TAG").write_bytes(TAG)
identity = b"\1" + bytes(15)
(folder / "0000000000000001.run").write_bytes(run(1, 0, 2, "alice", "a model", identity))
(folder / "0000000000000002.run").write_bytes(run(2, 2, 1, "alice", "a model", identity))
