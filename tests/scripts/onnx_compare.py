#!/usr/bin/env python3
"""An ONNX model through actc and through onnxruntime on the same made-up inputs: the largest error of each output.

    pip install onnxruntime==1.31.1 numpy
    cargo build --release
    tests/scripts/onnx_compare.py MODEL.onnx [NAME=N]...

NAME=N gives an extent that has a name. Integer inputs are ids below 1000, of masks ones, of token types zeros; float inputs
are uniform in 0 to 1. Errors are relative to the range of onnxruntime's output. Exits with 1 where one is above 1e-3.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime

ACTC = pathlib.Path(__file__).resolve().parent.parent.parent / "target/release/actc"


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
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    shape = lambda port: [int(extents[d]) if isinstance(d, str) else d for d in port.shape]
    inputs = {port.name: made_up(port, shape(port), rng) for port in session.get_inputs()}
    wanted = session.run(None, inputs)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run([ACTC, "compile", model, "--target", "host", "-o", folder / "m.actc"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        arguments = []
        for i, (name, value) in enumerate(inputs.items()):
            np.save(folder / f"in{i}.npy", value)
            arguments += ["--input", f"{name}={folder / f'in{i}.npy'}"]
        subprocess.run([ACTC, "run", folder / "m.actc", "--trust-code", *arguments, "--output", folder / "out"],
                       check=True, stdout=subprocess.DEVNULL)
        for port, expected in zip(session.get_outputs(), wanted):
            found = np.load(folder / "out" / (re.sub(r"[^A-Za-z0-9._-]", "_", port.name) + ".npy"))
            expected = np.asarray(expected, np.float64)
            span = max(float(np.ptp(expected)), 1e-12)
            error = float(np.max(np.abs(found - expected))) / span if found.shape == expected.shape else np.inf
            worst = max(worst, error)
            print(f"{port.name}: {list(found.shape)}, error {error:.1e} of the range")
    sys.exit(int(not worst <= 1e-3))


if __name__ == "__main__":
    main()
