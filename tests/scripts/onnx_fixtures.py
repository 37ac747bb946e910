#!/usr/bin/env python3
"""Writes the small ONNX models of `tests/data/onnx` again, and for those that are compared the inputs and what onnxruntime
makes of them, as `MODEL.NAME.npy`.

    pip install onnx==1.23.2 onnxruntime==1.31.1 numpy
    tests/scripts/onnx_fixtures.py
"""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper
from onnx_programs import ROOT, opened

FOLDER = ROOT / "tests/data/onnx"


def mlp():
    """`relu(x W + b)` of any number of rows, cut into `[N, 2, 2]` by arithmetic on its shape."""
    weight = np.arange(12, dtype=np.float32).reshape(3, 4) - 5
    stored = [numpy_helper.from_array(weight, "W"), numpy_helper.from_array(np.float32([1, -1, 0, 2]), "b"),
              numpy_helper.from_array(np.int64(0), "first"), numpy_helper.from_array(np.int64([0]), "axes"),
              numpy_helper.from_array(np.int64([2, 2]), "tail")]
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["product"], "product"),
        helper.make_node("Add", ["product", "b"], ["sum"], "bias"),
        helper.make_node("Relu", ["sum"], ["hidden"], "relu"),
        helper.make_node("Shape", ["hidden"], ["extents"], "extents"),
        helper.make_node("Gather", ["extents", "first"], ["rows"], "rows", axis=0),
        helper.make_node("Unsqueeze", ["rows", "axes"], ["list"], "list"),
        helper.make_node("Concat", ["list", "tail"], ["shape"], "shape", axis=0),
        helper.make_node("Reshape", ["hidden", "shape"], ["y"], "reshape"),
    ]
    value = helper.make_tensor_value_info
    return helper.make_graph(nodes, "mlp", [value("x", TensorProto.FLOAT, ["N", 3])],
                             [value("y", TensorProto.FLOAT, ["N", 2, 2])], stored)


def unknown():
    """Two operators that nobody has, and one that is known."""
    nodes = [helper.make_node("Frobnicate", ["x"], ["a"], "first", domain="org.example"),
             helper.make_node("Relu", ["a"], ["b"], "known"),
             helper.make_node("Sgimoid", ["b"], ["y"], "second", domain="org.example")]
    value = helper.make_tensor_value_info
    return helper.make_graph(nodes, "unknown", [value("x", TensorProto.FLOAT, [2])], [value("y", TensorProto.FLOAT, [2])])


RNG = np.random.default_rng(3)


def some(*shape, scale=1.0):
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def compared(name, nodes, inputs, outputs, stored, named=None):
    """A model whose inputs and outputs are stored beside it; `named` says which extents of inputs have names."""
    kind = helper.np_dtype_to_tensor_dtype
    shape = lambda n, v: [(named or {}).get((n, i), d) for i, d in enumerate(v.shape)]
    ports = [helper.make_tensor_value_info(n, kind(v.dtype), shape(n, v)) for n, v in inputs.items()]
    made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    constants = [numpy_helper.from_array(v, n) for n, v in stored.items()]
    graph = helper.make_graph(nodes, name, ports, made, constants)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="actc").SerializeToString()
    (FOLDER / f"{name}.onnx").write_bytes(model)
    # With more threads, layers of codes round the rows of a batch apart.
    found = dict(zip(outputs, opened(model, threads=1).run(outputs, inputs)))
    for port, value in {**inputs, **found}.items():
        np.save(FOLDER / f"{name}.{port}.npy", value)


def vision():
    """Convolutions of three kinds, one behind the other, and a distribution over ten classes."""
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w1", "b1"], ["c1"], "first", pads=[1, 1, 1, 1]), node("Relu", ["c1"], ["r1"], "relu1"),
        node("Conv", ["r1", "w2"], ["c2"], "depthwise", group=24, pads=[1, 1, 1, 1]),
        node("Conv", ["c2", "w3", "b3"], ["c3"], "halves", group=2, strides=[2, 2]), node("Relu", ["c3"], ["r3"], "relu3"),
        node("GlobalAveragePool", ["r3"], ["mean"], "mean"), node("Flatten", ["mean"], ["flat"], "flat"),
        node("Gemm", ["flat", "w4", "b4"], ["logits"], "classes", transB=1), node("Softmax", ["logits"], ["y"], "softmax"),
    ]
    stored = {"w1": some(24, 3, 3, 3, scale=0.3), "b1": some(24, scale=0.1), "w2": some(24, 1, 3, 3, scale=0.4),
              "w3": some(32, 12, 3, 3, scale=0.2), "b3": some(32, scale=0.1), "w4": some(10, 32), "b4": some(10)}
    compared("vision", nodes, {"image": some(1, 3, 16, 16)}, ["y"], stored, {("image", 0): "N"})


def grouped():
    """One step of a decoder: norm of a residual, matrices of 4 bits, grouped-query attention over a cache with rotation."""
    micro = dict(domain="com.microsoft")
    nodes = [
        helper.make_node("SkipSimplifiedLayerNormalization", ["x", "skip", "gamma"], ["hidden", "", "", "sum"], "norm",
                         epsilon=1e-5, **micro),
        helper.make_node("MatMulNBits", ["hidden", "codes", "scales", "zeros"], ["qkv"], "project", K=32, N=128, bits=4,
                         block_size=16, **micro),
        helper.make_node("GroupQueryAttention",
                         ["qkv", "", "", "past_key", "past_value", "lengths", "total", "cos", "sin"],
                         ["y", "present_key", "present_value"], "attend", num_heads=4, kv_num_heads=2, do_rotary=1, **micro),
    ]
    angles = np.arange(16)[:, None] * 10.0 ** (-np.arange(8) / 8)
    stored = {"gamma": 1 + some(32, scale=0.1), "codes": RNG.integers(0, 256, (128, 2, 8)).astype(np.uint8),
              "scales": (RNG.random(256) * 0.05).astype(np.float32),
              "zeros": RNG.integers(0, 256, 128).astype(np.uint8),
              "cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32)}
    inputs = {"x": some(2, 1, 32), "skip": some(2, 1, 32), "past_key": some(2, 2, 3, 16), "past_value": some(2, 2, 3, 16),
              "lengths": np.int32([3, 3]), "total": np.array(4, np.int32)}
    named = {("past_key", 2): "past", ("past_value", 2): "past"}
    compared("grouped", nodes, inputs, ["y", "sum", "present_key", "present_value"], stored, named)


def recurrent():
    """An LSTM in both directions and a GRU from the end, over sequences of lengths of their own."""
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "b", "lengths"], ["steps", "h", "c"], "lstm", hidden_size=4,
                         direction="bidirectional"),
        helper.make_node("GRU", ["x", "gw", "gr", "gb", "lengths", "h0"], ["y", ""], "gru", hidden_size=4,
                         linear_before_reset=1, direction="reverse"),
    ]
    stored = {"w": some(2, 16, 3), "r": some(2, 16, 4, scale=0.5), "b": some(2, 32), "gw": some(1, 12, 3),
              "gr": some(1, 12, 4, scale=0.5), "gb": some(1, 24)}
    inputs = {"x": some(5, 2, 3), "lengths": np.int32([5, 2]), "h0": some(1, 2, 4)}
    compared("recurrent", nodes, inputs, ["steps", "h", "c", "y"], stored, {("x", 0): "T"})


def codes():
    """An LSTM in both directions whose weights are codes of 8 bits, the state rounded in every step."""
    node = helper.make_node("DynamicQuantizeLSTM",
                            ["x", "w", "r", "b", "", "h0", "", "", "ws", "wz", "rs", "rz"], ["steps", "h", "c"], "lstm",
                            domain="com.microsoft", hidden_size=4, direction="bidirectional")
    integers = lambda *shape: RNG.integers(-128, 128, shape).astype(np.int8)
    stored = {"w": integers(2, 3, 16), "r": integers(2, 4, 16), "b": some(2, 32), "ws": np.float32([0.02, 0.01]),
              "wz": np.int8([3, -7]), "rs": (0.004 + 0.004 * RNG.random((2, 16))).astype(np.float32),
              "rz": np.zeros((2, 16), np.int8)}
    compared("codes", [node], {"x": some(6, 2, 3), "h0": some(2, 2, 4)}, ["steps", "h", "c"], stored, {("x", 0): "T"})


for name, graph in [("mlp", mlp()), ("unknown", unknown())]:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("org.example", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="actc")
    if name != "unknown":
        checker.check_model(model, full_check=True)
    (FOLDER / f"{name}.onnx").write_bytes(model.SerializeToString())
grouped()
recurrent()
vision()
codes()
