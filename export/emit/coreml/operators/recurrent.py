"""Recurrent layers over `x` of shape sequence, batch, features; states are float32 between the steps.

Source: coremltools 9, `ops/defs/iOS15/recurrent.py`: equations and the order of the gates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from export.emit.coreml.operators.arguments import Arguments, Operator, flag, text

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "linear": lambda x: x,
}

States = tuple[Tensor, ...]


def _activation(given: Arguments, name: str, default: str) -> Callable[[Tensor], Tensor]:
    kind = text(given, name, default).lower()
    if kind not in _ACTIVATIONS:
        raise NotImplementedError(f"{name} {kind!r}; the reference supports {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[kind]


def _refuse(given: Arguments, *names: str) -> None:
    for name in names:
        if given.get(name) is not None:
            raise NotImplementedError(
                f"input {name!r} of a recurrent layer; the reference does not support it"
            )


def _run(given: Arguments, step: Callable[[Tensor, States], States], states: States, *, back: bool) -> Any:
    """Outputs of every step, in the order of the sequence, and the states after the last."""
    outputs = []
    for x in given["x"].flip(0) if back else given["x"]:
        states = step(x, states)
        outputs.append(states[0])
    return torch.stack(outputs[::-1] if back else outputs), states


def _lstm_direction(given: Arguments, states: States, *, suffix: str, back: bool) -> Any:
    gate = _activation(given, "recurrent_activation", "sigmoid")
    cell = _activation(given, "cell_activation", "tanh")
    output = _activation(given, "activation", "tanh")
    weight_ih, weight_hh, bias = (given.get(f"{name}{suffix}") for name in ("weight_ih", "weight_hh", "bias"))
    assert weight_ih is not None and weight_hh is not None

    def step(x: Tensor, states: States) -> States:
        h, c = states
        total = x @ weight_ih.T + h @ weight_hh.T
        i, f, o, z = (total if bias is None else total + bias).chunk(4, -1)
        c = gate(f) * c + gate(i) * cell(z)
        return gate(o) * output(c), c

    return _run(given, step, states, back=back)


def _lstm(given: Arguments) -> tuple[Tensor, ...]:
    _refuse(given, "peephole", "peephole_back", "clip")
    direction = text(given, "direction", "forward")
    h, c = given["initial_h"], given["initial_c"]
    if direction == "bidirectional":
        halves = list(zip(h.chunk(2, -1), c.chunk(2, -1), strict=True))
        forward, ends = _lstm_direction(given, halves[0], suffix="", back=False)
        backward, starts = _lstm_direction(given, halves[1], suffix="_back", back=True)
        sequence = torch.cat([forward, backward], -1)
        h, c = (torch.cat(pair, -1) for pair in zip(ends, starts, strict=True))
    else:
        sequence, (h, c) = _lstm_direction(given, (h, c), suffix="", back=direction == "reverse")
    return (sequence if flag(given, "output_sequence") else h[None]), h, c


def _gru(given: Arguments) -> tuple[Tensor, ...]:
    """The bias of the new gate is outside the product with the reset gate, unlike in torch."""
    _refuse(given, "input_bias")
    if flag(given, "reset_after"):
        raise NotImplementedError("gru with reset_after; the reference does not support it")
    gate = _activation(given, "recurrent_activation", "sigmoid")
    activation = _activation(given, "activation", "tanh")
    bias = given.get("bias")

    def step(x: Tensor, states: States) -> States:
        (h,) = states
        total = x @ given["weight_ih"].T
        r_x, o_x, z_x = (total if bias is None else total + bias).chunk(3, -1)
        r_h, o_h, z_h = (h @ given["weight_hh"].T).chunk(3, -1)
        z = gate(z_x + z_h)
        return ((1 - z) * activation(o_x + gate(r_x + r_h) * o_h) + z * h,)

    back = text(given, "direction", "forward") == "reverse"
    sequence, (h,) = _run(given, step, (given["initial_h"],), back=back)
    return (sequence if flag(given, "output_sequence") else h[None]), h


def _rnn(given: Arguments) -> tuple[Tensor, ...]:
    activation = _activation(given, "activation", "tanh")
    bias = given.get("bias")

    def step(x: Tensor, states: States) -> States:
        total = x @ given["weight_ih"].T + states[0] @ given["weight_hh"].T
        return (activation(total if bias is None else total + bias),)

    back = text(given, "direction", "forward") == "reverse"
    sequence, (h,) = _run(given, step, (given["initial_h"],), back=back)
    return (sequence if flag(given, "output_sequence") else h[None]), h


RECURRENT: dict[str, Operator] = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}
"""Name in MIL -> implementation."""
