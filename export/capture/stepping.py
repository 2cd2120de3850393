"""The second program of a network that streams: one frame and a state in, logits and the next state out.

A network streams when it has `step(frame, state) -> (logits, state)` and `initial_state(frame) -> state`; a frame
is `N 3 H W`, a state a dict or a tuple of tensors of rank 4 at most, zeros before the first frame. In a file every
tensor of the state is an input `state_<name>` and an output `next_<name>`, which the caller hands back with the
next frame. A tensor that `step` hands on as it was given, as the frame before becomes the one before that, is no
output: `FileSpec.states` says then which input the caller hands back under another name, and nobody copies it.
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
"""Name of the input that takes one frame."""


@dataclass(frozen=True, kw_only=True)
class Stepper:
    """The program for one frame, and what it takes and gives as torch has it."""

    program: ExportedProgram
    spec: FileSpec


class StepNetwork(nn.Module):
    """`network.step` on positional tensors: frame and state to logits and what is new of the next state."""

    def __init__(self, network: nn.Module, frame: Tensor, state: State, *, named: bool) -> None:
        super().__init__()
        self.network, self.names, self.named = network, tuple(state), named
        with torch.no_grad():
            _, following = self._step(frame, state)
        self.handed_on = {
            name: before for name in self.names for before, given in state.items() if following[name] is given
        }
        """States whose next value is the present one of a state, and of which."""

    def forward(self, frame: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Every tensor of the logits, then those of the next state that are not handed on, in the order given."""
        logits, following = self._step(frame, dict(zip(self.names, state, strict=True)))
        kept = (following[name] for name in self.names if name not in self.handed_on)
        return (*named_outputs(logits).values(), *kept)

    def _step(self, frame: Tensor, state: State) -> tuple[Any, Mapping[str, Tensor]]:
        step: Any = self.network.step
        if self.named:
            return step(frame, state)
        logits, following = step(frame, tuple(state.values()))
        return logits, dict(zip(self.names, following, strict=True))


def beside(path: Path) -> Path:
    """Where the program for one frame stands in formats of one program a file: `model_step` beside `model`."""
    return path.with_name(f"{path.stem}_step{path.suffix}")


def streams(network: nn.Module) -> bool:
    """Whether `network` has what it takes to run one frame at a time."""
    return callable(getattr(network, "step", None)) and callable(getattr(network, "initial_state", None))


def check_stream(network: nn.Module, spec: FileSpec) -> None:
    """Raises ValueError for a network that cannot run one frame at a time: no `step`, or more inputs."""
    if not streams(network):
        raise ValueError(
            f"{type(network).__name__} has no step(frame, state) and initial_state(frame), so it cannot run one "
            "frame at a time; docs/streaming.md says what they have to do"
        )
    step_spec(spec, (), {})


def step_network(network: nn.Module, clip: Tensor) -> tuple[StepNetwork, tuple[Tensor, ...]]:
    """The network for one frame of clips like `clip`, `N 3 T H W`, and its first inputs: a frame and zeros.

    Raises ValueError for states that no runtime takes.
    """
    frame = clip[:, :, 0]
    given: Any = network.initial_state(frame)  # type: ignore[operator]
    named = isinstance(given, Mapping)
    state: State = dict(given) if named else {str(k): tensor for k, tensor in enumerate(given)}
    state = {name: tensor.clone() for name, tensor in state.items()}  # one tensor each, to tell them apart
    describe_state(state)
    return StepNetwork(network, frame, state, named=named).eval(), (frame, *state.values())


def stepper(network: nn.Module, clip: Tensor, spec: FileSpec) -> Stepper:
    """The captured program for one frame; `spec` is that of the clip program, of which it keeps all but the inputs.

    Raises what `step_network` and `capture` raise, and ValueError for a network with other inputs than a clip.
    """
    stepping, example = step_network(network, clip)
    states = describe_state(dict(zip(stepping.names, example[1:], strict=True)))
    return Stepper(program=capture(stepping, example), spec=step_spec(spec, states, stepping.handed_on))


def step_spec(spec: FileSpec, states: Sequence[StateSpec], handed_on: Mapping[str, str]) -> FileSpec:
    """What the program for one frame takes and gives, given the same of the clip program.

    `handed_on` is that of its `StepNetwork`. Raises ValueError for a network with other inputs than a clip
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
    # Prefixes also keep the names apart from those that writers give to what lies between.
    inputs = [_info(f"state_{state.name}", state) for state in states]
    outputs = [_info(f"next_{state.name}", state) for state in states if state.name not in handed_on]
    return replace(
        spec,
        inputs=(frame, *inputs),
        outputs=(*spec.outputs, *outputs),
        states={
            f"state_{state.name}": f"state_{handed_on[state.name]}"
            if state.name in handed_on
            else f"next_{state.name}"
            for state in states
        },
    )


def _info(name: str, state: StateSpec) -> TensorInfo:
    return TensorInfo(name=name, shape=state.shape, dtype=state.dtype, layout=LAYOUTS[len(state.shape)])
