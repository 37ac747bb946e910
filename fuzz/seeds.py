#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets: fuzz/seeds.py ACTC, with the path of the actc binary. Same bytes on every run."""

import json
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
WIDTH, HEADS, HEAD, HIDDEN, VOCABULARY = 8, 2, 4, 16, 16


def seed(target, name, data):
    folder = HERE / "seeds" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def weights():
    """Names in GGUF and safetensors, and shapes, of a one-layer llama."""
    kv = HEAD
    return [
        ("token_embd.weight", "model.embed_tokens.weight", [VOCABULARY, WIDTH]),
        ("output_norm.weight", "model.norm.weight", [WIDTH]),
        ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight", [WIDTH]),
        ("blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight", [WIDTH]),
        ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", [HEADS * HEAD, WIDTH]),
        ("blk.0.attn_k.weight", "model.layers.0.self_attn.k_proj.weight", [kv, WIDTH]),
        ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight", [kv, WIDTH]),
        ("blk.0.attn_output.weight", "model.layers.0.self_attn.o_proj.weight", [WIDTH, HEADS * HEAD]),
        ("blk.0.ffn_gate.weight", "model.layers.0.mlp.gate_proj.weight", [HIDDEN, WIDTH]),
        ("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight", [HIDDEN, WIDTH]),
        ("blk.0.ffn_down.weight", "model.layers.0.mlp.down_proj.weight", [WIDTH, HIDDEN]),
    ]


# Graphs of the target `shapes`: behind the empty line a byte that counts nothing here, then one for each symbol and each input.
SHAPES = {
    "rope": """%x: f32[N, 2, 8]
%p: i64[N]
%y = rope{dims=6, theta=10, style=half} %x, %p""",
    "attention": """%q: f32[N, 4, 8]
%k: f32[M, 2, 8]
%v: f32[M, 2, 8]
%y = attention{scale=0.5, causal} %q, %k, %v""",
    "cache": """%a: f32[M, 2, 4]
%b: f32[N, 2, 4]
%y = cache_append %a, %b""",
    "rows": """%x: f32[N, 4]
%w: f32[6, 4]
%i: i64[2, 3]
%t: f32[9, 4]
%y = linear %x, %w
%z = embedding %i, %t
%a = round_rows{to=int8} %y""",
    "conv": """%x: f32[N, 4, 8, 9]
%w: f32[6, 2, 3, 3]
%d: f32[6, 4, 3, 3]
%t: f32[4, 3, 2, 2]
%off: f32[N, 18, 6, 7]
%y = conv{kernel="3, 3", strides="1, 1", dilations="1, 1", pads="1, 1", groups=2, extents="8, 9"} %x, %w
%z = conv_transpose{kernel="2, 2", strides="2, 2", dilations="1, 1", pads="0, 0", groups=2, extents="16, 18"} %x, %t
%u = deform_conv{kernel="3, 3", strides="1, 1", dilations="1, 1", pads="0, 0", groups=1, offset_groups=1} %x, %d, %off""",
    "conv_integer": """%c: u8[N, 4, 8, 9]
%v: i8[6, 2, 3, 3]
%zero: u8[]
%one: i8[]
%y = conv_integer{kernel="3, 3", strides="2, 2", dilations="1, 1", pads="1, 1", groups=2, extents="4, 5"} %c, %v, %zero, %one""",
    "pool": """%x: f32[N, 4, 8, 9]
%r: f32[M, 4]
%b: i64[M]
%y = pool{function=most, kernel="3, 3", strides="2, 2", dilations="1, 1", pads="1, 1", behind="1, 1", extents="4, 5"} %x
%p = pool{function=place, kernel="3, 3", strides="2, 2", dilations="1, 1", pads="1, 1", behind="1, 1", extents="4, 5"} %x
%z = unpool{shape="N, 4, 8, 9"} %y, %p
%q = region_pool{function=average, size="2, 3", scale=0.25, shift=0.5, samples=2} %x, %r, %b""",
    "fold": """%x: f32[N, 4, 72]
%y = fold{kernel="2, 2", strides="1, 1", dilations="1, 1", pads="0, 0", windows="8, 9", extents="9, 10"} %x""",
    "sampling": """%x: f32[N, 3, 4, 5]
%g: f32[N, 2, 3, 2]
%i: i64[6, 2]
%w: f64[6, 2]
%y = grid_sample{mode=cubic, border=reflect, ends=edges} %x, %g
%z = resample{axis=2} %x, %i, %w""",
    "places": """%x: f32[9, 4]
%i: i64[3, 3]
%j: i64[3, 1]
%u: f32[3, 3]
%v: f32[3, 4]
%a = gather_elements{axis=0} %x, %i
%b = scatter_elements{axis=0, reduce=add} %x, %i, %u
%c = scatter_nd{reduce=max} %x, %j, %v
%d = gather_nd %x, %j
%m: f32[2, 3, 3]
%e = det %m""",
    "order": """%x: f32[N, 5]
%axis: i64[]
%y = cumulate{function=sum, exclusive} %x, %axis
%v, %i = top_k{k=3, of=most} %x
%p = place{of=most, tie=first} %x
%s = softmax %x""",
    "boxes": """%b: f32[1, 6, 4]
%s: f32[1, 2, 6]
%most: i64[]
%overlap: f32[]
%least: f32[]
%y, %n = non_max_suppression{limit=3, centre} %b, %s, %most, %overlap, %least""",
    "pad": """%x: f32[3, N]
%v: f32[]
%y = pad{before="1, 2", behind="0, 3"} %x, %v""",
    "lstm": """%x: f32[N, 2, 12]
%r: f32[12, 3]
%h: f32[2, 3]
%c: f32[2, 3]
%p: f32[9]
%n: i64[2]
%y, %hh, %cc = recurrent{cell=lstm, f=sigmoid, g=tanh, h=tanh, peepholes, lengths} %x, %r, %h, %c, %p, %n""",
    "gru": """%x: f32[N, 2, 9]
%r: f32[9, 3]
%h: f32[2, 3]
%b: f32[3]
%y, %hh = recurrent{cell=gru_linear, f=sigmoid, g=tanh, reverse} %x, %r, %h, %b""",
    "linear_attention": """%q: f32[1, N, 4, 3]
%k: f32[1, N, 2, 3]
%v: f32[1, N, 2, 5]
%s: f32[1, 2, 3, 5]
%d: f32[1, N, 2, 1]
%b: f32[1, N, 2, 1]
%y, %t = linear_attention{rule=gated_delta, scale=0.5} %q, %k, %v, %s, %d, %b""",
    "selection": """%x: f32[N, 3]
%i, %n = non_zero %x
%u, %f, %b, %c, %m = unique{sorted} %x""",
    "bound": """%n: i64[1]
%x: f32[9]
%k = bind{symbols=K} %n
%r = range{start=1, len=K}
%y = gather{axis=0} %x, %r
%z = concat{axis=0} %y, %x
%e = expect{shape="K + 9"} %z""",
}


def count(dims):
    n = 1
    for d in dims:
        n *= d
    return n


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def gguf(vocabulary):
    u32 = lambda k, v: text(k) + struct.pack("<II", 4, v)
    f32 = lambda k, v: text(k) + struct.pack("<If", 6, v)
    string = lambda k, v: text(k) + struct.pack("<I", 8) + text(v)
    array = lambda k, kind, items: text(k) + struct.pack("<IIQ", 9, kind, len(items)) + b"".join(items)
    pairs = [
        string("general.architecture", "llama"), u32("llama.block_count", 1), u32("llama.context_length", 32),
        u32("llama.embedding_length", WIDTH), u32("llama.feed_forward_length", HIDDEN),
        u32("llama.attention.head_count", HEADS), u32("llama.attention.head_count_kv", 1),
        f32("llama.attention.layer_norm_rms_epsilon", 1e-5),
    ]
    tokens = ["<unk>", "<s>", "</s>", "\u2581a", "b", "ab", *(f"t{i}" for i in range(VOCABULARY - 6))]
    if vocabulary == "llama":
        pairs += [string("tokenizer.ggml.model", "llama"), array("tokenizer.ggml.tokens", 8, [text(t) for t in tokens]),
                  array("tokenizer.ggml.scores", 6, [struct.pack("<f", -i) for i in range(VOCABULARY)]),
                  array("tokenizer.ggml.token_type", 5, [struct.pack("<i", 3 if i < 3 else 1) for i in range(VOCABULARY)])]
    if vocabulary == "gpt2":
        pairs += [string("tokenizer.ggml.model", "gpt2"), string("tokenizer.ggml.pre", "smollm"),
                  array("tokenizer.ggml.tokens", 8, [text(t) for t in tokens]),
                  array("tokenizer.ggml.merges", 8, [text("a b")]), u32("tokenizer.ggml.eos_token_id", 2),
                  array("tokenizer.ggml.token_type", 5, [struct.pack("<i", 3 if i < 3 else 1) for i in range(VOCABULARY)])]
    out = b"GGUF" + struct.pack("<IQQ", 3, len(weights()), len(pairs)) + b"".join(pairs)
    offset, data = 0, b""
    for name, _, dims in weights():
        out += text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in reversed(dims))
        out += struct.pack("<IQ", 0, offset)
        values = b"".join(struct.pack("<f", (i * 7 % 11 - 5) / 10) for i in range(count(dims)))
        values += b"\0" * (-len(values) % 32)
        data, offset = data + values, offset + len(values)
    return out + b"\0" * (-len(out) % 32) + data


def folder_files():
    config = {
        "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": 1,
        "num_attention_heads": HEADS, "num_key_value_heads": 1, "head_dim": HEAD, "vocab_size": VOCABULARY,
        "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
    }
    header, data = {}, b""
    for _, name, dims in weights():
        values = b"".join(struct.pack("<f", (i * 5 % 13 - 6) / 10) for i in range(count(dims)))
        header[name] = {"dtype": "F32", "shape": dims, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    header = json.dumps(header, separators=(",", ":")).encode()
    tokens = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", *"abcdefghijklm"])}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [{"id": 2, "content": "</s>", "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": tokens, "merges": []},
    }
    return json.dumps(config), struct.pack("<Q", len(header)) + header + data, json.dumps(tokenizer)


def main(actc):
    shutil.rmtree(HERE / "seeds", ignore_errors=True)
    for vocabulary in ["none", "llama", "gpt2"]:
        seed("gguf", vocabulary, gguf(vocabulary))
    config, model, tokenizer = folder_files()
    seed("safetensors", "llama", struct.pack("<I", len(config)) + config.encode() + model)
    scaled = json.dumps({**json.loads(config), "rope_scaling": {"rope_type": "linear", "factor": 2.0}})
    seed("safetensors", "scaled", struct.pack("<I", len(scaled)) + scaled.encode() + model)
    for path in sorted((ROOT / "tests").glob("*/**/*.air")):
        if path.stat().st_size < 4096:
            seed("air", f"{path.parent.name}-{path.name}", path.read_bytes())
    for name, lines in SHAPES.items():
        seed("shapes", name, lines + "\n\n" + "0MM" + "2" * 16)
    for i, line in enumerate([
        "clean", "clean,calibrate{windows=4},owq{bits=3, group=64, target=3.25}", "rtn:bits=4:group=32",
        "calibrate,gptq{bits=4,group=channel},head{bits=8},act{bits=8}", "owq{bits=4,stored=4.5,budget=equal}",
        "rtn{bits=2,group=16},", "owq bits=3", "awq{bits=4,group=64,clip=off},act",
    ]):
        seed("pipeline", str(i), line)
    seed("tokenizer", "json", b"\0" + tokenizer.encode())
    seed("tokenizer", "bytes", b"\1" + "\x06a\n\x06b\n\x06ab\n\x02</s>\n\x06\u0120\n\nsmollm\na b".encode())
    seed("tokenizer", "scores", b"\2" + "\x01<unk>\n\x06\u2581\n\x06a\n\x06\u2581a\n\x05<0x41>\n\n-----".encode())
    # Two states as fuzz/targets/snapshot.rs has them; the target puts the digests in.
    state = lambda name, dims, data: struct.pack("<I", len(name)) + name + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + data
    head = b"actcsess" + struct.pack("<II", 1, 2) + bytes(32)
    seed("snapshot", "rows", head + state(b"cache", [2, 4], bytes(32)) + state(b"sum", [3, 5], bytes(15)))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "m").mkdir()
        (folder / "m/config.json").write_text(config)
        (folder / "m/model.safetensors").write_bytes(model)
        (folder / "m/tokenizer.json").write_text(tokenizer)
        for name, passes in [("plain", "clean"), ("packed", "rtn{bits=4,group=32}")]:
            out = folder / f"{name}.actc"
            subprocess.run([actc, "compile", folder / "m", "--passes", passes, "-o", out], check=True,
                           env={"ACTC_CACHE_DIR": str(folder / "cache")})
            seed("artifact", name, out.read_bytes())
        (folder / "text.txt").write_text("abcdefghijklm" * 16)
        out = folder / "statistics"
        subprocess.run([actc, "calibrate", folder / "m", "--calib", folder / "text.txt", "--calib-windows", "2", "-o", out],
                       check=True, env={"ACTC_CACHE_DIR": str(folder / "cache")})
        seed("statistics", "two", out.read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
