"""The standard's own cases: those that its package generates, and those that it stores.

Of stored cases a model and its inputs and outputs are files of a folder. The `light` nets have weights that are all equal and an
output; their input is made as the package's own runner makes it."""

import collections
import pathlib

import numpy as np
import onnx
import onnx.backend.test

DATA = pathlib.Path(onnx.backend.test.__file__).parent / "data"
KINDS = ["simple", "pytorch-converted", "pytorch-operator"]

# Sets are pairs of inputs by name and outputs in order; what is no tensor in them is `None`.
Case = collections.namedtuple("Case", "name model sets rtol atol")


def array(value):
    """What a case holds as an array, or `None` where it is no tensor of numbers."""
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    if isinstance(value, (np.ndarray, np.generic)) and np.asarray(value).dtype.kind in "biufcV":
        return np.asarray(value)
    return None


def generated():
    from onnx.backend.test.case import node

    for case in node.collect_testcases(None):
        names = [port.name for port in case.model.graph.input]
        sets = [(dict(zip(names, map(array, given))), [array(v) for v in wanted]) for given, wanted in case.data_sets or []]
        yield Case(case.name, case.model, sets, case.rtol or 1e-3, case.atol or 1e-7)


def stored():
    for kind in KINDS:
        for folder in sorted((DATA / kind).glob("*/model.onnx")):
            yield of_folder(kind, folder.parent)
    for path in sorted((DATA / "light").glob("*.onnx")):
        yield light(path)


def of_folder(kind, folder):
    model = onnx.load(folder / "model.onnx")

    def read(what, ports, place):
        return [array(onnx.load_tensor(place / f"{what}_{i}.pb")) if port.type.HasField("tensor_type") else None
                for i, port in enumerate(ports) if (place / f"{what}_{i}.pb").exists()]

    names = [port.name for port in model.graph.input]
    sets = [(dict(zip(names, read("input", model.graph.input, place))), read("output", model.graph.output, place))
            for place in sorted(folder.glob("test_data_set_*"))]
    return Case(f"{kind}/{folder.name}", model, sets, 1e-3, 1e-7)


def light(path):
    model = onnx.load(path)
    stored = {constant.name for constant in model.graph.initializer}
    inputs = {}
    for port in model.graph.input:
        if port.name not in stored:
            shape = [d.dim_value or 1 for d in port.type.tensor_type.shape.dim]
            inputs[port.name] = (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)
    outputs = [array(onnx.load_tensor(path.with_name(f"{path.stem}_output_{i}.pb"))) for i in range(len(model.graph.output))]
    return Case(f"light/{path.stem}", model, [(inputs, outputs)], 1e-3, 1e-7)
