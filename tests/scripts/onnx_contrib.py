#!/usr/bin/env python3
"""Operators of `com.microsoft`, and options of recurrent layers that the standard has no cases for, through actc and through
onnxruntime on the same made-up inputs: a line for each case with its largest error.

    pip install onnx==1.23.2 onnxruntime==1.31.1 numpy
    cargo build --release
    tests/scripts/onnx_contrib.py [PART]

PART is in the names of the cases that run, those of `onnx_contrib_transformers.py` and `onnx_contrib_recurrent.py`. Errors are
relative to the range of onnxruntime's output, zero included; one above 1e-4 (2e-3 of half precision) fails, and the script exits
with 1.
"""

import pathlib
import re
import sys
import tempfile

import numpy as np
import onnx_contrib_recurrent  # noqa: F401 - its cases
import onnx_contrib_transformers  # noqa: F401 - its cases
from onnx_contrib_node import CASES
from onnx_programs import Refused, apart, compiled, opened, ran


def compare(model, folder):
    """The largest error of all outputs, in parts of what is allowed; or what went wrong."""
    (folder / "model.onnx").write_bytes(model.bytes())
    reference = model.instead or model
    # With more threads, its layers of codes round the rows of a batch apart.
    wanted = opened(reference.bytes(), threads=1).run(None, reference.inputs)
    try:
        found = ran(compiled(folder / "model.onnx", folder / "m.actc"), model.inputs, folder).outputs
    except Refused as refused:
        return str(refused).splitlines()[-1]
    worst = 0.0
    for name, expected in zip([n for n in model.outputs if n], wanted):
        if found[name].shape != expected.shape or found[name].dtype != expected.dtype:
            return f"{name} is {found[name].dtype}{found[name].shape}, expected {expected.dtype}{expected.shape}"
        worst = max(worst, apart(found[name], expected) / (2e-3 if expected.dtype == np.float16 else 1e-4))
    return worst


def main():
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    failed = 0
    for name, make in CASES.items():
        if not re.search(part, name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = compare(make(), pathlib.Path(folder))
            except Exception as error:  # onnxruntime has not the operator in this form
                result = f"onnxruntime: {str(error).splitlines()[0][:160]}"
        good = isinstance(result, float) and result <= 1.0
        failed += not good
        print(f"{name}: {f'{result:.1e} of the allowed error' if isinstance(result, float) else result}"
              f"{'' if good else '  FAILED'}", flush=True)
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    main()
