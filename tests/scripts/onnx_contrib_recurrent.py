"""Cases of recurrent layers: options that the standard has no cases for, and weights of 8 bits."""

import numpy as np
from onnx_contrib_node import RNG, Model, case, some


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
