import pytest
import torch
from torch import nn

from export.emit.coreml.operators.recurrent import RECURRENT
from tests.export.emit.coreml.operators.oracle import check_against_torch, floats, ids, tensors

X, STATE = floats(5, 2, 3), floats(2, 4)

torch.manual_seed(0)
LSTM, BOTH_WAYS, RNN, GRU = nn.LSTM(3, 4), nn.LSTM(3, 4, bidirectional=True), nn.RNN(3, 4), nn.GRU(3, 4)
# Core ML's bias of the new gate is outside the product with the reset gate; torch's inner one is 0 here.
GRU.bias_hh_l0.data[8:] = 0


def weights(layer, order, *, torch_suffix="", suffix=""):
    """Weights and bias of a layer of torch under MIL's names, its gates in the order `order`."""
    w_ih, w_hh, b_ih, b_hh = (
        getattr(layer, f"{name}_l0{torch_suffix}").detach()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    parts = {"weight_ih": w_ih, "weight_hh": w_hh, "bias": b_ih + b_hh}
    return {
        f"{name}{suffix}": torch.cat([part.chunk(len(order))[place] for place in order])
        for name, part in parts.items()
    }


IFOZ, ROZ = (0, 1, 3, 2), (0, 2, 1)
"""Position in torch of the gates in this order of MIL."""


def both_ways(given):
    states = [given[name].reshape(2, 2, 4).transpose(0, 1) for name in ("initial_h", "initial_c")]
    sequence, (h, c) = BOTH_WAYS(given["x"], (states[0].contiguous(), states[1].contiguous()))
    return sequence, h.transpose(0, 1).flatten(1), c.transpose(0, 1).flatten(1)


CASES = [
    (
        "lstm",
        {**tensors(x=X, initial_h=STATE, initial_c=2 * STATE), **weights(LSTM, IFOZ)},
        lambda given: (
            (result := LSTM(given["x"], (given["initial_h"][None], given["initial_c"][None])))[0][-1:],
            result[1][0][0],
            result[1][1][0],
        ),
    ),
    (
        "lstm",
        {
            **tensors(
                x=X,
                initial_h=floats(2, 8),
                initial_c=floats(2, 8),
                output_sequence=True,
                direction="bidirectional",
            ),
            **weights(BOTH_WAYS, IFOZ),
            **weights(BOTH_WAYS, IFOZ, torch_suffix="_reverse", suffix="_back"),
        },
        both_ways,
    ),
    (
        "rnn",
        {**tensors(x=X, initial_h=STATE, direction="reverse"), **weights(RNN, (0,))},
        lambda given: ((last := RNN(given["x"].flip(0), given["initial_h"][None])[1]), last[0]),
    ),
    (
        "gru",
        {**tensors(x=X, initial_h=STATE, output_sequence=True), **weights(GRU, ROZ)},
        lambda given: ((result := GRU(given["x"], given["initial_h"][None]))[0], result[1][0]),
    ),
]


@pytest.mark.parametrize(("name", "given", "wanted"), CASES, ids=ids(CASES))
def test_it_gives_what_torch_gives(name, given, wanted):
    check_against_torch(name, given, wanted)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("lstm", tensors(peephole=floats(3)), "input 'peephole' of a recurrent layer"),
        ("gru", tensors(reset_after=True), "gru with reset_after"),
        (
            "rnn",
            tensors(activation="scaled_tanh"),
            "activation 'scaled_tanh'; the reference supports sigmoid, tanh",
        ),
    ],
)
def test_what_it_does_not_compute_it_names(name, given, message):
    with pytest.raises(NotImplementedError, match=message):
        RECURRENT[name](given)


def test_every_operator_is_checked():
    assert set(RECURRENT) == {case[0] for case in CASES}
