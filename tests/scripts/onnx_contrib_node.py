"""Models of one node, with inputs that are made up: what the cases of `onnx_contrib.py` are made of."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

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
