#!/usr/bin/env python3
"""Operators of `com.microsoft`, and options of recurrent layers that the standard has no cases for, through actc and through
onnxruntime on the same made-up inputs: a line for each case with its largest error.

    pip install onnx==1.23.2 onnxruntime==1.31.1 numpy
    cargo build --release
    tests/scripts/onnx_contrib.py [PART]

PART is in the names of the cases that run. `ACTC` in the environment names another binary than the release build's. Errors are
relative to the range of onnxruntime's output; one above 1e-4 (2e-3 of half precision) fails, and the script exits with 1.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ACTC = pathlib.Path(os.environ.get("ACTC", ROOT / "target/release/actc"))
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


class Model:
    """One node, its inputs by name in order: `None` left out, `const` stored in the model, others given when it runs."""

    def __init__(self, op, outputs, domain="com.microsoft", **attributes):
        self.op, self.outputs, self.domain, self.attributes = op, outputs, domain, attributes
        self.names, self.inputs, self.stored = [], {}, []
        # What onnxruntime runs in its place.
        self.instead = None

    def add(self, name, value, const=False):
        self.names.append(name if value is not None else "")
        if value is not None and const:
            self.stored.append(numpy_helper.from_array(value, name))
        elif value is not None:
            self.inputs[name] = value
        return self

    def bytes(self):
        node = helper.make_node(self.op, self.names, self.outputs, "node", domain=self.domain, **self.attributes)
        kind = helper.np_dtype_to_tensor_dtype
        ports = [helper.make_tensor_value_info(n, kind(v.dtype), v.shape) for n, v in self.inputs.items()]
        # onnxruntime finds their types; actc asks for none.
        made = [onnx.ValueInfoProto(name=n) for n in self.outputs if n]
        graph = helper.make_graph([node], "one", ports, made, self.stored)
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()


RNG = np.random.default_rng(7)


def some(*shape, scale=1.0, dtype=np.float32):
    return (RNG.standard_normal(shape) * scale).astype(dtype)


def near_one(n):
    return (1 + 0.1 * RNG.standard_normal(n)).astype(np.float32)


@case
def skip_layer_norm():
    return Model("SkipLayerNormalization", ["y", "", "", "sum"], epsilon=1e-5).add("x", some(2, 3, 32)).add(
        "skip", some(2, 3, 32)).add("gamma", near_one(32), True).add("beta", some(32), True).add("bias", some(32), True)


@case
def skip_layer_norm_broadcast():
    return Model("SkipLayerNormalization", ["y"]).add("x", some(2, 3, 32)).add("skip", some(3, 32)).add(
        "gamma", near_one(32), True)


@case
def skip_layer_norm_tiny():
    return Model("SkipLayerNormalization", ["y"]).add("x", some(2, 3, 8, scale=1e-6)).add(
        "skip", some(2, 3, 8, scale=1e-6)).add("gamma", near_one(8), True).add("beta", some(8), True)


@case
def simplified():
    return Model("SimplifiedLayerNormalization", ["y"], domain="", axis=-1, epsilon=1e-6).add("x", some(2, 3, 32)).add(
        "scale", near_one(32), True)


@case
def skip_simplified():
    return Model("SkipSimplifiedLayerNormalization", ["y", "", "", "sum"], epsilon=1e-5).add("x", some(2, 3, 32)).add(
        "skip", some(2, 3, 32)).add("gamma", near_one(32), True)


@case
def skip_simplified_half():
    half = np.float16
    return Model("SkipSimplifiedLayerNormalization", ["y", "", "", "sum"], epsilon=1e-5).add(
        "x", some(2, 3, 32, dtype=half)).add("skip", some(2, 3, 32, dtype=half)).add(
        "gamma", near_one(32).astype(half), True)


def embedded(**more):
    ids = RNG.integers(0, 20, (2, 5)).astype(np.int32)
    model = Model("EmbedLayerNormalization", ["y", "lengths", "sum"], epsilon=1e-12)
    model.add("ids", ids).add("segments", (ids % 2).astype(np.int32)).add("words", some(20, 16), True)
    model.add("positions", some(8, 16), True).add("kinds", some(2, 16), True).add("gamma", near_one(16), True)
    model.add("beta", some(16), True)
    if more.get("mask"):
        model.add("mask", np.int32([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]))
    return model


@case
def embed():
    return embedded()


@case
def embed_mask():
    return embedded(mask=True)


@case
def embed_positions():
    return embedded(mask=True).add("places", np.int32([[4, 3, 2, 1, 0], [0, 0, 7, 7, 7]]))


@case
def bias_gelu():
    return Model("BiasGelu", ["y"]).add("x", some(2, 3, 32)).add("bias", some(32), True)


@case
def fast_gelu():
    return Model("FastGelu", ["y"]).add("x", some(2, 3, 32)).add("bias", some(32), True)


@case
def gelu():
    return Model("Gelu", ["y"]).add("x", some(2, 3, 32))


@case
def quick_gelu():
    return Model("QuickGelu", ["y"]).add("x", some(2, 3, 32))


def tables(positions, half):
    angles = np.arange(positions)[:, None] * 10.0 ** (-np.arange(half) / half)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotary(x, ids, half, **attributes):
    cos, sin = tables(16, half)
    return Model("RotaryEmbedding", ["y"], **attributes).add("x", x).add("ids", ids).add("cos", cos, True).add(
        "sin", sin, True)


@case
def rotary_halves():
    return rotary(some(2, 5, 32), np.int64([[0, 1, 2, 3, 4], [9, 8, 7, 6, 5]]), 4)


@case
def rotary_first():
    return rotary(some(2, 5, 32), np.int64([3]), 4, interleaved=1)


@case
def rotary_four_axes():
    return rotary(some(2, 4, 5, 8), np.int64([3]), 4)


@case
def rotary_part():
    return rotary(some(1, 5, 32), np.int64([2]), 2, num_heads=4, rotary_embedding_dim=4)


def joint(outputs=("y",), **attributes):
    model = Model("Attention", list(outputs), num_heads=4, **attributes)
    return model.add("x", some(2, 6, 16)).add("w", some(16, 48, scale=0.3), True).add("b", some(48), True)


@case
def attention():
    return joint()


@case
def attention_causal():
    return joint(unidirectional=1)


@case
def attention_mask():
    return joint().add("mask", np.int32([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]))


@case
def attention_mask_causal():
    return joint(unidirectional=1).add("mask", np.int32([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]))


@case
def attention_mask_three_axes():
    return joint().add("mask", (RNG.random((2, 6, 6)) < 0.7).astype(np.int32))


@case
def attention_lengths():
    return joint().add("mask", np.int32([4, 6]))


@case
def attention_ends_and_starts():
    return joint().add("mask", np.int32([4, 6, 0, 2]))


@case
def attention_past():
    return joint(("y", "present"), unidirectional=1).add("mask", None).add("past", some(2, 2, 4, 3, 4))


@case
def attention_added():
    return joint().add("mask", np.int32([4, 6])).add("past", None).add("added", some(1, 4, 6, 6))


@case
def attention_sizes():
    model = Model("Attention", ["y"], num_heads=4, qkv_hidden_sizes=[16, 16, 32], scale=0.3)
    return model.add("x", some(2, 6, 16)).add("w", some(16, 64, scale=0.3), True).add("b", some(64), True)


def several(s=5, t=7, outputs=("y",), **attributes):
    model = Model("MultiHeadAttention", list(outputs), num_heads=4, **attributes)
    return model.add("q", some(2, s, 16)).add("k", some(2, t, 16)).add("v", some(2, t, 24))


@case
def multi_head():
    return several()


@case
def multi_head_bias():
    return several().add("b", some(56), True).add("mask", np.int32([[1] * 4 + [0] * 3, [1] * 7]))


@case
def multi_head_lengths():
    return several().add("b", None).add("mask", np.int32([3, 7]))


@case
def multi_head_three_axes():
    return several().add("b", None).add("mask", (RNG.random((2, 5, 7)) < 0.7).astype(np.int32))


@case
def multi_head_added():
    return several(mask_filter_value=-50.0).add("b", None).add("mask", np.int32([[1] * 4 + [0] * 3, [1] * 7])).add(
        "added", some(1, 4, 5, 7))


@case
def multi_head_packed():
    model = Model("MultiHeadAttention", ["y"], num_heads=4).add("q", some(2, 5, 4, 3, 8))
    parts = [np.ascontiguousarray(model.inputs["q"][:, :, :, i].reshape(2, 5, 32)) for i in range(3)]
    # onnxruntime has no packed form on CPUs.
    model.instead = Model("MultiHeadAttention", ["y"], num_heads=4)
    for name, value in zip("qkv", parts):
        model.instead.add(name, value)
    return model


@case
def multi_head_packed_keys():
    model = Model("MultiHeadAttention", ["y"], num_heads=4).add("q", some(2, 5, 32)).add("kv", some(2, 7, 4, 2, 8))
    parts = [np.ascontiguousarray(model.inputs["kv"][:, :, :, i].reshape(2, 7, 32)) for i in range(2)]
    model.instead = Model("MultiHeadAttention", ["y"], num_heads=4).add("q", model.inputs["q"])
    for name, value in zip("kv", parts):
        model.instead.add(name, value)
    return model


@case
def multi_head_cross():
    model = Model("MultiHeadAttention", ["y"], num_heads=4).add("q", some(2, 5, 32))
    return model.add("k", some(2, 4, 7, 8)).add("v", some(2, 4, 7, 8))


@case
def multi_head_past():
    model = Model("MultiHeadAttention", ["y", "k1", "v1"], num_heads=4, unidirectional=1)
    model.add("q", some(2, 5, 32)).add("k", some(2, 5, 32)).add("v", some(2, 5, 32)).add("b", None).add("mask", None)
    return model.add("added", None).add("k0", some(2, 4, 3, 8)).add("v0", some(2, 4, 3, 8))


def grouped(b=1, s=5, past=0, packed=False, rotary=True, dtype=np.float32, **attributes):
    model = Model("GroupQueryAttention", ["y", "k1", "v1"], num_heads=4, kv_num_heads=2, do_rotary=int(rotary), **attributes)
    if packed:
        model.add("q", some(b, s, 128, dtype=dtype)).add("k", None).add("v", None)
    else:
        for name, size in zip("qkv", [64, 32, 32]):
            model.add(name, some(b, s, size, dtype=dtype))
    model.add("k0", some(b, 2, past, 16, dtype=dtype)).add("v0", some(b, 2, past, 16, dtype=dtype))
    model.add("lengths", np.full(b, past + s - 1, np.int32)).add("total", np.array(past + s, np.int32))
    if rotary:
        cos, sin = tables(32, 8)
        model.add("cos", cos.astype(dtype), True).add("sin", sin.astype(dtype), True)
    return model


@case
def grouped_prompt():
    return grouped()


@case
def grouped_prompt_batch():
    return grouped(b=2, packed=True)


@case
def grouped_decode():
    return grouped(b=2, s=1, past=6)


@case
def grouped_decode_interleaved():
    return grouped(s=1, past=6, rotary_interleaved=1, scale=0.2)


@case
def grouped_window():
    return grouped(s=9, local_window_size=3)


@case
def grouped_window_decode():
    return grouped(s=1, past=9, local_window_size=3)


@case
def grouped_softcap():
    return grouped(b=2, rotary=False, softcap=1.5)


@case
def grouped_half():
    return grouped(b=2, s=1, past=6, dtype=np.float16)


@case
def grouped_added():
    return grouped(rotary=False).add("cos", None).add("sin", None).add("places", None).add("added", some(1, 4, 5, 5))


def few_bits(n=40, k=96, bits=4, block=32, zeros="none", dtype=np.float32, order=None, bias=False):
    blocks = -(-k // block)
    model = Model("MatMulNBits", ["y"], K=k, N=n, bits=bits, block_size=block)
    model.add("x", some(3, 5, k, dtype=dtype))
    model.add("w", RNG.integers(0, 256, (n, blocks, block * bits // 8)).astype(np.uint8), True)
    model.add("s", (RNG.random(n * blocks) * 0.1).astype(dtype), True)
    if zeros == "packed":
        model.add("z", RNG.integers(0, 256, n * -(-blocks * bits // 8)).astype(np.uint8), True)
    elif zeros == "floats":
        model.add("z", (RNG.random((n, blocks)) * 15).astype(dtype), True)
    else:
        model.add("z", None)
    model.add("g", order, True)
    return model.add("bias", some(n, dtype=dtype), True) if bias else model


@case
def four_bits():
    return few_bits()


@case
def four_bits_zeros():
    return few_bits(zeros="packed", k=80, block=16, bias=True)


@case
def four_bits_fractions():
    return few_bits(zeros="floats", block=64)


@case
def four_bits_half():
    return few_bits(zeros="packed", dtype=np.float16)


@case
def four_bits_ordered():
    return few_bits(order=RNG.permutation(96).astype(np.int32) % 3)


@case
def eight_bits():
    return few_bits(bits=8)


@case
def eight_bits_zeros():
    return few_bits(bits=8, zeros="packed", k=100)


def layer(op, gates, n=6, t=7, b=3, wide=5, directions=2, lengths=None, states=0, peep=False, bias=True, **attributes):
    outputs = ["y", "h"] + (["c"] if op == "LSTM" else [])
    if directions == 2:
        attributes.setdefault("direction", "bidirectional")
    model = Model(op, outputs, domain="", hidden_size=n, **attributes).add("x", some(t, b, wide))
    model.add("w", some(directions, gates * n, wide, scale=0.4), True).add("r", some(directions, gates * n, n, scale=0.4), True)
    model.add("b", some(directions, 2 * gates * n, scale=0.4) if bias else None, True)
    model.add("lengths", np.int32(lengths) if lengths else None)
    for name in ["h0", "c0"][:states]:
        model.add(name, some(directions, b, n))
    if peep:
        model.add("p", some(directions, 3 * n, scale=0.4), True)
    return model


@case
def lstm_lengths():
    return layer("LSTM", 4, lengths=[3, 7, 1], states=2)


@case
def lstm_peepholes():
    return layer("LSTM", 4, states=2, peep=True)


@case
def lstm_coupled():
    return layer("LSTM", 4, input_forget=1)


@case
def lstm_clip():
    return layer("LSTM", 4, clip=0.3, states=2)


@case
def lstm_wide():
    return layer("LSTM", 4, n=200, b=1, t=4, wide=30)


@case
def lstm_wide_batch():
    return layer("LSTM", 4, n=100, b=9, t=4, wide=30, directions=1, direction="reverse", lengths=[1, 2, 3, 4, 4, 3, 2, 1, 2])


@case
def lstm_functions():
    names = ["HardSigmoid", "Softsign", "Relu", "Sigmoid", "LeakyRelu", "Elu"]
    return layer("LSTM", 4, activations=names, activation_alpha=[0.3, 0.2, 0.7], activation_beta=[0.4])


@case
def gru_lengths():
    return layer("GRU", 3, lengths=[3, 7, 1], states=1)


@case
def gru_linear():
    return layer("GRU", 3, linear_before_reset=1, lengths=[3, 7, 1], states=1)


@case
def gru_linear_plain():
    return layer("GRU", 3, linear_before_reset=1, bias=False)


@case
def gru_clip():
    return layer("GRU", 3, clip=0.3)


@case
def gru_wide():
    return layer("GRU", 3, n=200, b=1, t=4)


@case
def gru_wide_batch():
    return layer("GRU", 3, n=100, b=9, t=4, linear_before_reset=1)


@case
def rnn_functions():
    return layer("RNN", 1, activations=["Affine", "ThresholdedRelu"], activation_alpha=[0.5, 0.1], activation_beta=[0.1])


@case
def rnn_lengths():
    return layer("RNN", 1, lengths=[3, 7, 1], states=1, clip=0.9)


def codes(n=6, t=7, b=3, wide=5, directions=2, lengths=None, states=0, peep=False, each=False, dtype=np.int8, **attributes):
    """An LSTM with weights of 8 bits: one grid for each direction, or one for each column."""
    if directions == 2:
        attributes["direction"] = "bidirectional"
    model = Model("DynamicQuantizeLSTM", ["y", "h", "c"], hidden_size=n, **attributes).add("x", some(t, b, wide))
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max + 1
    for name, rows in [("w", wide), ("r", n)]:
        model.add(name, RNG.integers(low, high, (directions, rows, 4 * n)).astype(dtype), True)
    model.add("b", some(directions, 8 * n, scale=0.4), True).add("lengths", np.int32(lengths) if lengths else None)
    for name, given in [("h0", states > 0), ("c0", states > 1)]:
        model.add(name, some(directions, b, n) if given else None)
    model.add("p", some(directions, 3 * n, scale=0.4) if peep else None, True)
    shape = (directions, 4 * n) if each else (directions,)
    zero = 0 if dtype == np.int8 else 131
    for name in "wr":
        model.add(f"{name}_scale", (0.002 + 0.004 * RNG.random(shape)).astype(np.float32), True)
        model.add(f"{name}_zero", np.full(shape, zero if each else zero + 3, dtype), True)
    return model


@case
def codes_lstm():
    return codes()


@case
def codes_lstm_columns():
    return codes(each=True, states=2)


@case
def codes_lstm_unsigned():
    return codes(dtype=np.uint8, directions=1)


@case
def codes_lstm_unsigned_columns():
    return codes(dtype=np.uint8, directions=1, each=True, direction="reverse")


@case
def codes_lstm_peepholes():
    return codes(states=2, peep=True, clip=0.5)


@case
def codes_lstm_coupled():
    return codes(input_forget=1, activations=["Sigmoid", "Tanh", "Relu"] * 2)


@case
def codes_lstm_one_of_a_batch():
    return codes(n=40, b=1, wide=30, lengths=[4], states=2)


@case
def codes_lstm_wide():
    return codes(n=200, b=1, t=9, wide=120)


def compare(model, folder):
    """The largest error of all outputs, in parts of what is allowed; or what went wrong."""
    (folder / "model.onnx").write_bytes(model.bytes())
    options = onnxruntime.SessionOptions()
    # With more, its layers of codes round the rows of a batch apart.
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    reference = model.instead or model
    session = onnxruntime.InferenceSession(reference.bytes(), options, providers=["CPUExecutionProvider"])
    wanted = session.run(None, reference.inputs)
    made = subprocess.run([ACTC, "compile", folder / "model.onnx", "--target", "host", "-o", folder / "m.actc"],
                          capture_output=True, text=True)
    if made.returncode:
        return made.stderr.strip().splitlines()[-1]
    arguments = []
    for i, (name, value) in enumerate(model.inputs.items()):
        np.save(folder / f"in{i}.npy", value)
        arguments += ["--input", f"{name}={folder / f'in{i}.npy'}"]
    ran = subprocess.run([ACTC, "run", folder / "m.actc", "--trust-code", *arguments, "--output", folder / "out"],
                         capture_output=True, text=True)
    if ran.returncode:
        return ran.stderr.strip().splitlines()[-1]
    worst = 0.0
    for name, expected in zip([n for n in model.outputs if n], wanted):
        found = np.load(folder / "out" / f"{name}.npy")
        if found.shape != expected.shape or found.dtype != expected.dtype:
            return f"{name} is {found.dtype}{found.shape}, expected {expected.dtype}{expected.shape}"
        allowed = 2e-3 if expected.dtype == np.float16 else 1e-4
        expected, found = expected.astype(np.float64), found.astype(np.float64)
        span = max(float(np.ptp(expected)), 1e-12) if expected.size else 1.0
        error = float(np.max(np.abs(found - expected), initial=0.0)) / span
        worst = max(worst, error / allowed) if error == error else float("inf")
    return worst


def main():
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    failed = 0
    for name, make in CASES.items():
        if not re.search(part, name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = compare(make(), pathlib.Path(folder))
            except Exception as error:  # onnxruntime has not the operator in this form
                result = f"onnxruntime: {str(error).splitlines()[0][:160]}"
        good = isinstance(result, float) and result <= 1.0
        failed += not good
        print(f"{name}: {f'{result:.1e} of the allowed error' if isinstance(result, float) else result}"
              f"{'' if good else '  FAILED'}", flush=True)
    sys.exit(int(failed > 0))


if __name__ == "__main__":
    main()
