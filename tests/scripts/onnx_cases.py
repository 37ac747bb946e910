#!/usr/bin/env python3
"""The standard's own cases through `actc compile` and `actc run`: a line for each, and a summary.

    pip install onnx==1.23.2 numpy ml_dtypes
    cargo build --release
    tests/scripts/onnx_cases.py [--only PART] [--write tests/data/onnx/cases.tsv]

`ACTC` in the environment names another binary than the release build's.

A case passes where its model compiles, runs on the case's inputs and gives the case's outputs: integers and truth values
equal, floats within the case's tolerance (1e-3 relative where it states none), floats of eight bits and fewer equal bit by
bit, NaN apart. Types that NumPy has not are those of the package `ml_dtypes`; they are raw bytes in files. Cases with texts,
sequences, dictionaries or optional values as inputs or outputs are out of scope. Other cases fail, with the code of the error
or what is wrong; complex numbers are not tested and fail too.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import tempfile

import ml_dtypes
import numpy as np
import onnx
from onnx.backend.test.case import node as nodes

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ACTC = pathlib.Path(os.environ.get("ACTC", ROOT / "target/release/actc"))


SMALL = [np.dtype(getattr(ml_dtypes, name)) for name in (
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn",
    "float6_e2m3fn", "float6_e3m2fn", "int4", "uint4", "int2", "uint2")]
BRAIN = np.dtype(ml_dtypes.bfloat16)


def array(value):
    """What a case holds as an array, or `None` where it is no tensor of numbers."""
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    if isinstance(value, (np.ndarray, np.generic)) and np.asarray(value).dtype.kind in "biufcV":
        return np.asarray(value)
    return None


def save(path, value):
    raw = value.dtype in SMALL or value.dtype == BRAIN
    np.save(path, np.ascontiguousarray(value).reshape(value.shape).view(f"V{value.itemsize}") if raw else value)


def agree(case, found, wanted):
    """Whether an output is the case's."""
    if wanted.dtype in SMALL:
        if found.dtype != "V1":
            return False
        same = found.view(np.uint8) == wanted.view(np.uint8)
        numbers = found.view(wanted.dtype).astype(np.float32), wanted.astype(np.float32)
        return bool(np.all(same | np.isnan(numbers[0]) & np.isnan(numbers[1])))
    rtol, atol = case.rtol or 1e-3, case.atol or 1e-7
    if wanted.dtype == BRAIN:
        if found.dtype != "V2":
            return False
        # One in its last place: the case's numbers are rounded more than once.
        found, rtol = found.view(BRAIN), max(rtol, 2.0**-7)
    if wanted.dtype.kind == "f" or wanted.dtype == BRAIN:
        return np.allclose(found.astype(np.float64), wanted.astype(np.float64), rtol, atol, equal_nan=True)
    return wanted.dtype == found.dtype and np.array_equal(found, wanted)


def file_name(name):
    kept = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return ("_" + kept if set(kept) <= {"."} else kept) + ".npy"


def error_code(text):
    found = re.search(r"error\[([a-z0-9-]+)\]", text)
    return found.group(1) if found else "crash"


def outcome(case):
    """`pass`, `out of scope` or what is wrong."""
    model = case.model
    names_in, names_out = [i.name for i in model.graph.input], [o.name for o in model.graph.output]
    data_sets = [([array(v) for v in inputs], [array(v) for v in outputs]) for inputs, outputs in case.data_sets or []]
    if any(v is None for inputs, outputs in data_sets for v in [*inputs, *outputs]):
        return "out of scope"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        made = subprocess.run([ACTC, "compile", folder / "model.onnx", "--target", "host", "-o", folder / "m.actc"],
                              capture_output=True, text=True, timeout=120)
        if made.returncode != 0:
            return error_code(made.stderr)
        for inputs, outputs in data_sets:
            if any(v.dtype.kind == "c" for v in [*inputs, *outputs]):
                return "no .npy form"
            arguments = []
            for i, (name, value) in enumerate(zip(names_in, inputs)):
                save(folder / f"in{i}.npy", value)
                arguments += ["--input", f"{name}={folder / f'in{i}.npy'}"]
            ran = subprocess.run([ACTC, "run", folder / "m.actc", "--trust-code", *arguments, "--output", folder / "out"],
                                 capture_output=True, text=True, timeout=120)
            if ran.returncode != 0:
                return error_code(ran.stderr)
            for name, wanted in zip(names_out, outputs):
                found = np.load(folder / "out" / file_name(name))
                if wanted.shape != found.shape:
                    return f"shape {found.shape}"
                if not agree(case, found, wanted):
                    return "values"
    return "pass"


def safely(case):
    try:
        return case.name, outcome(case)
    except Exception as error:  # a case that breaks the script fails
        return case.name, f"script: {type(error).__name__}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--write", type=pathlib.Path, help="where the table goes")
    options = parser.parse_args()
    cases = [c for c in nodes.collect_testcases(None) if options.only in c.name]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        rows = sorted(pool.map(safely, cases))
    counts = collections.Counter(what for _, what in rows)
    lines = [f"{name}\t{what}" for name, what in rows]
    if options.write:
        head = f"# {len(rows)} cases of onnx {onnx.__version__} by tests/scripts/onnx_cases.py: {counts['pass']} pass"
        options.write.write_text("\n".join([head, *lines]) + "\n")
    else:
        print("\n".join(lines))
    for what, count in counts.most_common():
        print(f"{count:5} {what}")


if __name__ == "__main__":
    main()
