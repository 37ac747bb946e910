#!/usr/bin/env python3
"""Writes the small ONNX models of `tests/data/onnx` again.

    pip install onnx==1.23.2 numpy
    tests/scripts/onnx_fixtures.py
"""

import pathlib

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "data/onnx"


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


for name, graph in [("mlp", mlp()), ("unknown", unknown())]:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("org.example", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="actc")
    if name != "unknown":
        checker.check_model(model, full_check=True)
    (FOLDER / f"{name}.onnx").write_bytes(model.SerializeToString())
