#!/usr/bin/env python3
"""Peak anonymous memory of a compile, on a synthetic model of more than 4 GB.

    tests/scripts/memory.py ACTC FOLDER [SEQUENCES ...]       8 and 64 calibration sequences by default

Makes a llama-form checkpoint of random float16 weights in FOLDER (4.1 GB, once; two shards, the tokenizer of the embedded
model), compiles it to 3 bits with 512-token sequences, and samples RssAnon of the compiler until it ends. The bound is
twice the largest block in float16, three of its largest Hessians, and 300 MB. Exit code 1 where a run is above it. Needs
numpy.
"""
import json, pathlib, subprocess, sys, time
import numpy as np

HIDDEN, FFN, LAYERS, HEADS, VOCABULARY = 1024, 4096, 12, 16, 900_000
ROOT = pathlib.Path(__file__).resolve().parents[2]


def tensors():
    """Names with shapes, shard by shard."""
    embed, head = [("model.embed_tokens.weight", (VOCABULARY, HIDDEN))], [("lm_head.weight", (VOCABULARY, HIDDEN))]
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for name in ("q", "k", "v", "o"):
            embed.append((f"{layer}self_attn.{name}_proj.weight", (HIDDEN, HIDDEN)))
        for name in ("gate", "up"):
            embed.append((f"{layer}mlp.{name}_proj.weight", (FFN, HIDDEN)))
        embed.append((f"{layer}mlp.down_proj.weight", (HIDDEN, FFN)))
        embed += [(f"{layer}{n}.weight", (HIDDEN,)) for n in ("input_layernorm", "post_attention_layernorm")]
    head.append(("model.norm.weight", (HIDDEN,)))
    return [embed, head]


def shard(path, list_):
    header, at = {}, 0
    for name, shape in list_:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(1)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, shape in list_:
            count = int(np.prod(shape))
            if len(shape) == 1:
                out.write(np.ones(count, np.float16).tobytes())
                continue
            # One block of noise a tensor, repeated with a shift: random enough to be full rank, and quick to make.
            block = (rng.standard_normal(min(count, 1 << 22)) * shape[1] ** -0.5).astype(np.float16)
            left = count
            while left:
                piece = np.roll(block, left % 997)[: min(left, len(block))]
                out.write(piece.tobytes())
                left -= len(piece)


def model(folder):
    folder.mkdir(parents=True, exist_ok=True)
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": HIDDEN,
        "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS, "hidden_act": "silu", "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    whale = ROOT / "tests/models/whale-2m"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((whale / name).read_bytes())
    index = {}
    for name, list_ in zip(names, tensors()):
        index.update({tensor: name for tensor, _ in list_})
        if not (folder / name).exists():
            shard(folder / name, list_)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return sum((folder / n).stat().st_size for n in names)


def anonymous(pid):
    try:
        lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(l.split()[1]) * 1024 for l in lines if l.startswith("RssAnon")), 0)


def main():
    actc, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    size = model(folder)
    block = 2 * 3 * HIDDEN * FFN
    bound = 2 * block + 3 * 4 * FFN * FFN + 300_000_000
    print(f"model {size / 1e9:.2f} GB, bound {bound / 1e6:.0f} MB")
    failed = False
    for sequences in sys.argv[3:] or ["8", "64"]:
        command = [actc, "compile", str(folder), "--passes", "owq{bits=3,target=3.25,group=64}", "--calib-windows",
                   sequences, "--calib-len", "512", "-o", str(folder / "out.actc"), "-f", "-t", "2"]
        start, peak = time.time(), 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, anonymous(process.pid))
            time.sleep(0.02)
        failed |= process.returncode != 0 or peak > bound
        print(f"{sequences} sequences: peak RssAnon {peak / 1e6:.0f} MB, {time.time() - start:.0f} s, exit {process.returncode}")
    sys.exit(failed)


main()
