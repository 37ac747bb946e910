"""Writes blocks.bin: random blocks of each GGUF format and what the `gguf` package (0.19.0) decodes them to.

Layout, little-endian, for each format in the order below: name padded with zeros to 8 bytes, u32 number of blocks,
u32 elements, the blocks, the decoded elements as f32. Run: python make_blocks.py
"""

import pathlib
import struct

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize

BLOCKS = 3
# Byte offsets of the half-precision fields of a block; random bits there would give infinities and NaN.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}

rng = np.random.default_rng(20)
out = bytearray()
for name, halves in HALVES.items():
    length, size = GGML_QUANT_SIZES[Type[name]]
    blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
    for at in halves:
        values = (rng.standard_normal(BLOCKS) * 0.05).astype(np.float16)
        blocks[:, at : at + 2] = values.view(np.uint8).reshape(BLOCKS, 2)
    decoded = dequantize(blocks, Type[name]).astype(np.float32).reshape(-1)
    assert decoded.size == BLOCKS * length
    out += name.lower().encode().ljust(8, b"\0") + struct.pack("<II", BLOCKS, decoded.size)
    out += blocks.tobytes() + decoded.tobytes()
(pathlib.Path(__file__).parent / "blocks.bin").write_bytes(out)
