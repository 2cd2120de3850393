"""The step program of a streaming network: one frame and a state in, logits and the next state out.

A network streams if it has `step(frame, state) -> (logits, state)` and `initial_state(frame) -> state`; a frame is
`N 3 H W`, a state a dict or a tuple of tensors of rank 4 at most, zeros before the first frame. In a file every
tensor of the state is an input `state_<name>` and an output `next_<name>`, which the caller passes back with the
next frame. A tensor that `step` passes through unchanged, as the last frame becomes the one before it, is not an
output: `FileSpec.states` then names the input that the caller passes back under another name, without a copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from export.capture.graph import capture, named_outputs
from export.capture.inputs import LAYOUTS
from export.manifest import FileSpec, TensorInfo
from models.spec import State, StateSpec, describe_state

FRAME = "frame"
"""Name of the input for one frame."""


@dataclass(frozen=True, kw_only=True)
class Stepper:
    """The step program, with its inputs and outputs in torch."""

    program: ExportedProgram
    spec: FileSpec


class StepNetwork(nn.Module):
    """`network.step` on positional tensors: frame and state to logits and the new tensors of the next state."""

    def __init__(self, network: nn.Module, frame: Tensor, state: State, *, named: bool) -> None:
        super().__init__()
        self.network, self.names, self.named = network, tuple(state), named
        with torch.no_grad():
            _, following = self._step(frame, state)
        self.passed_through = {
            name: before for name in self.names for before, given in state.items() if following[name] is given
        }
        """States whose next value is the present value of another state -> that state."""

    def forward(self, frame: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Every tensor of the logits, then those of the next state that are not passed through, in order."""
        logits, following = self._step(frame, dict(zip(self.names, state, strict=True)))
        kept = (following[name] for name in self.names if name not in self.passed_through)
        return (*named_outputs(logits).values(), *kept)

    def _step(self, frame: Tensor, state: State) -> tuple[Any, Mapping[str, Tensor]]:
        step: Any = self.network.step
        if self.named:
            return step(frame, state)
        logits, following = step(frame, tuple(state.values()))
        return logits, dict(zip(self.names, following, strict=True))


def step_path(path: Path) -> Path:
    """Path of the step program in formats with one program per file: `model_step` next to `model`."""
    return path.with_name(f"{path.stem}_step{path.suffix}")


def streams(network: nn.Module) -> bool:
    """Whether `network` has the methods for running frame by frame."""
    return callable(getattr(network, "step", None)) and callable(getattr(network, "initial_state", None))


def check_stream(network: nn.Module, spec: FileSpec) -> None:
    """Raises ValueError for a network that cannot run frame by frame: no `step`, or more inputs."""
    if not streams(network):
        raise ValueError(
            f"{type(network).__name__} has no step(frame, state) and initial_state(frame), so it cannot run one "
            "frame at a time; docs/streaming.md describes both"
        )
    step_spec(spec, (), {})


def step_network(network: nn.Module, clip: Tensor) -> tuple[StepNetwork, tuple[Tensor, ...]]:
    """The step network for clips like `clip`, `N 3 T H W`, and its first inputs: a frame and zeros.

    Raises ValueError for states that no runtime supports.
    """
    frame = clip[:, :, 0]
    given: Any = network.initial_state(frame)  # type: ignore[operator]
    named = isinstance(given, Mapping)
    state: State = dict(given) if named else {str(k): tensor for k, tensor in enumerate(given)}
    state = {name: tensor.clone() for name, tensor in state.items()}  # separate: each is identified
    describe_state(state)
    return StepNetwork(network, frame, state, named=named).eval(), (frame, *state.values())


def stepper(network: nn.Module, clip: Tensor, spec: FileSpec) -> Stepper:
    """The captured step program; `spec` is that of the clip program, of which it keeps all but the inputs.

    Raises the errors of `step_network` and `capture`, and ValueError for a network with other inputs than a clip.
    """
    stepping, example = step_network(network, clip)
    states = describe_state(dict(zip(stepping.names, example[1:], strict=True)))
    return Stepper(program=capture(stepping, example), spec=step_spec(spec, states, stepping.passed_through))


def step_spec(spec: FileSpec, states: Sequence[StateSpec], passed_through: Mapping[str, str]) -> FileSpec:
    """Inputs and outputs of the step program, given those of the clip program.

    `passed_through` is that of its `StepNetwork`. Raises ValueError for a network with other inputs than a clip
    `N 3 T H W`.
    """
    clip = spec.inputs[0]
    if len(spec.inputs) != 1 or clip.layout != "NCTHW":
        raise ValueError(
            "a network that streams takes one input, a clip N 3 T H W; this one takes "
            + ", ".join(f"{info.name} {info.layout}" for info in spec.inputs)
        )
    frame = replace(
        clip.arranged("NCTHW"), name=FRAME, shape=(*clip.shape[:2], *clip.shape[3:]), layout="NCHW"
    )
    # The prefixes also keep the names different from those that writers give to intermediate values.
    inputs = [_info(f"state_{state.name}", state) for state in states]
    outputs = [_info(f"next_{state.name}", state) for state in states if state.name not in passed_through]
    return replace(
        spec,
        inputs=(frame, *inputs),
        outputs=(*spec.outputs, *outputs),
        states={
            f"state_{state.name}": f"state_{passed_through[state.name]}"
            if state.name in passed_through
            else f"next_{state.name}"
            for state in states
        },
    )


def _info(name: str, state: StateSpec) -> TensorInfo:
    return TensorInfo(name=name, shape=state.shape, dtype=state.dtype, layout=LAYOUTS[len(state.shape)])
