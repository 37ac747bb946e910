#!/usr/bin/env python3
"""The standard's own cases through `actc compile` and `actc run`: a line for each, and a summary.

    pip install onnx==1.23.2 numpy ml_dtypes
    cargo build --release
    tests/scripts/onnx_cases.py [--stored] [--only PART] [--write tests/data/onnx/cases.tsv]

Cases are those that the package generates, with `--stored` those that it stores (`tests/data/onnx/stored.tsv`): small models,
models that PyTorch exported, and nine nets with weights that are all equal.

A case passes where its model compiles, runs on the case's inputs and gives the case's outputs: integers and truth values
equal, floats within the case's tolerance (1e-3 relative where it states none), floats of eight bits and fewer equal bit by
bit, NaN apart. Types that NumPy has not are those of the package `ml_dtypes`; they are raw bytes in files. Cases with texts,
sequences, dictionaries or optional values as inputs or outputs are out of scope. Other cases fail, with the code of the error
or what is wrong; complex numbers are not tested and fail too.
"""

import argparse
import collections
import concurrent.futures
import pathlib
import tempfile

import ml_dtypes
import numpy as np
import onnx
import onnx_standard
from onnx_programs import Refused, compiled, ran, stem

SMALL = [np.dtype(getattr(ml_dtypes, name)) for name in (
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn",
    "float6_e2m3fn", "float6_e3m2fn", "int4", "uint4", "int2", "uint2")]
BRAIN = np.dtype(ml_dtypes.bfloat16)


def agree(case, found, wanted):
    """Whether an output is the case's."""
    if wanted.dtype in SMALL:
        if found.dtype != "V1":
            return False
        same = found.view(np.uint8) == wanted.view(np.uint8)
        numbers = found.view(wanted.dtype).astype(np.float32), wanted.astype(np.float32)
        return bool(np.all(same | np.isnan(numbers[0]) & np.isnan(numbers[1])))
    rtol = case.rtol
    if wanted.dtype == BRAIN:
        if found.dtype != "V2":
            return False
        # One in its last place: the case's numbers are rounded more than once.
        found, rtol = found.view(BRAIN), max(rtol, 2.0**-7)
    if wanted.dtype.kind == "f" or wanted.dtype == BRAIN:
        return np.allclose(found.astype(np.float64), wanted.astype(np.float64), rtol, case.atol, equal_nan=True)
    return wanted.dtype == found.dtype and np.array_equal(found, wanted)


def outcome(case):
    """`pass`, `out of scope` or what is wrong."""
    if any(value is None for given, wanted in case.sets for value in [*given.values(), *wanted]):
        return "out of scope"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "model.onnx").write_bytes(case.model.SerializeToString())
        try:
            compiled(folder / "model.onnx", folder / "m.actc", seconds=120)
            for given, wanted in case.sets:
                if any(value.dtype.kind == "c" for value in [*given.values(), *wanted]):
                    return "no .npy form"
                outputs = ran(folder / "m.actc", given, folder, seconds=120).outputs
                for port, value in zip(case.model.graph.output, wanted):
                    found = outputs[stem(port.name)]
                    if value.shape != found.shape:
                        return f"shape {found.shape}"
                    if not agree(case, found, value):
                        return "values"
        except Refused as refused:
            return refused.code
    return "pass"


def safely(case):
    try:
        return case.name, outcome(case)
    except Exception as error:  # a case that breaks the script fails
        return case.name, f"script: {type(error).__name__}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", action="store_true", help="the cases that the package stores")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--write", type=pathlib.Path, help="where the table goes")
    options = parser.parse_args()
    cases = onnx_standard.stored() if options.stored else onnx_standard.generated()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        rows = sorted(pool.map(safely, (c for c in cases if options.only in c.name)))
    counts = collections.Counter(what for _, what in rows)
    lines = [f"{name}\t{what}" for name, what in rows]
    if options.write:
        command = "tests/scripts/onnx_cases.py" + (" --stored" if options.stored else "")
        head = f"# {len(rows)} cases of onnx {onnx.__version__} by {command}: {counts['pass']} pass"
        options.write.write_text("\n".join([head, *lines]) + "\n")
    else:
        print("\n".join(lines))
    for what, count in counts.most_common():
        print(f"{count:5} {what}")


if __name__ == "__main__":
    main()
