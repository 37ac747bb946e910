#!/usr/bin/env python3
"""An ONNX model through actc and through onnxruntime on the same made-up inputs: the largest error of each output.

    pip install onnxruntime==1.31.1 numpy
    cargo build --release
    tests/scripts/onnx_compare.py MODEL.onnx [NAME=N]...

NAME=N gives an extent that has a name. Integer inputs are ids below 1000, of masks ones, of token types zeros; float inputs
are uniform in 0 to 1. Errors are relative to the range of onnxruntime's output, zero included. Exits with 1 where one is above 1e-3.
"""

import pathlib
import sys
import tempfile

import numpy as np
from onnx_programs import apart, compiled, opened, ran, stem


def made_up(port, shape, rng, ids=1000):
    """An input of `shape`; ids are below `ids`."""
    if "int" not in port.type:
        return rng.random(shape, dtype=np.float32)
    dtype = np.int64 if "64" in port.type else np.int32
    if "mask" in port.name:
        return np.ones(shape, dtype)
    return np.zeros(shape, dtype) if "type" in port.name else rng.integers(1, ids, shape).astype(dtype)


def main():
    model, extents = sys.argv[1], dict(pair.split("=") for pair in sys.argv[2:])
    session = opened(model)
    rng = np.random.default_rng(0)
    shape = lambda port: [int(extents[d]) if isinstance(d, str) else d for d in port.shape]
    inputs = {port.name: made_up(port, shape(port), rng) for port in session.get_inputs()}
    wanted = session.run(None, inputs)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        outputs = ran(compiled(model, folder / "m.actc"), inputs, folder).outputs
        for port, expected in zip(session.get_outputs(), wanted):
            found = outputs[stem(port.name)]
            error = apart(found, expected)
            worst = max(worst, error)
            print(f"{port.name}: {list(found.shape)}, error {error:.1e} of the range")
    sys.exit(int(not worst <= 1e-3))


if __name__ == "__main__":
    main()
