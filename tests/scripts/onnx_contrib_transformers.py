"""Cases of operators that exported transformers have: norms, embeddings, activations, rotary embedding, attention, products with
weights of few bits."""

import numpy as np
from onnx_contrib_node import RNG, Model, case, near_one, some


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
