"""The inputs on which every file of an export is run, and what torch answers to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compress.command.user_code import user_code
from export.capture import named_outputs
from export.child import in_a_sentence
from export.samples import Samples

Network = Callable[..., Any]
"""What is asked: a module, or a captured graph, on one sample at a time."""

FLOAT, REFERENCE = "float", "reference"
"""Names of the networks that answer: the float network, and the reference, which has the numbers of the files: the
torch int8 reference, or the network with the weights that are stored."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Inputs and answers."""

    inputs: Mapping[str, np.ndarray]
    """`N x shape` per input, as torch has it."""
    source: str
    """Where the inputs are from, in words."""
    answers: Mapping[str, tuple[np.ndarray, ...]]
    """`FLOAT`, `REFERENCE` or both -> `N x shape` per output."""
    output_names: tuple[str, ...] = ()
    """Names of the outputs, as the first network that was asked has them (`named_outputs`)."""

    @property
    def count(self) -> int:
        """N, the number of inputs."""
        return len(next(iter(self.inputs.values())))

    def with_answers(self, answers: Mapping[str, tuple[np.ndarray, ...]]) -> Trial:
        """The same with the answers of further networks."""
        return replace(self, answers={**self.answers, **answers})

    def save(self, folder: Path) -> None:
        """Writes `<input>.npy` for every input, where other processes read it."""
        for name, array in self.inputs.items():
            np.save(folder / f"{name}.npy", array)


def ask(networks: Mapping[str, Network], inputs: Mapping[str, np.ndarray], *, source: str) -> Trial:
    """What each network answers to `inputs`, which are in the order of its arguments.

    Raises ValueError when an answer is no tensor, or not finite: no file could be compared with it.
    """
    given = {name: _answers(network, inputs) for name, network in networks.items()}
    answers = {name: tuple(outputs.values()) for name, outputs in given.items()}
    for name, outputs in answers.items():
        for position, output in enumerate(outputs):
            if not np.isfinite(output).all():
                raise ValueError(
                    f"the {name} network itself gives NaN or infinite values in output {position} for {source}; "
                    "give it clips like those it was trained on, and its trained weights"
                )
    names = tuple(next(iter(given.values())))
    return Trial(inputs=inputs, source=source, answers=answers, output_names=names)


def first_trial(model: nn.Module, samples: Samples) -> Trial:
    """What a user's network answers to `samples`.

    Raises ValueError when it does not take them, and what `ask` raises.
    """
    try:
        return ask({FLOAT: model}, samples.arrays, source=samples.source)
    except ValueError:
        raise
    except Exception as error:  # the user's own code
        shapes = ", ".join(f"{name} {list(array.shape[1:])}" for name, array in samples.arrays.items())
        raise ValueError(
            f"the network does not take the inputs {shapes}, in this order: {in_a_sentence(error)}; --shape has to "
            "be given once for every argument of its forward"
        ) from error


def _run(network: Network, inputs: list[torch.Tensor]) -> Any:
    """What a network answers, which may be a user's."""
    with user_code(f"forward of {type(network).__name__}"):
        return network(*inputs)


def _answers(network: Network, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    rows: dict[str, list[np.ndarray]] = {}
    with torch.no_grad():
        for k in range(len(next(iter(inputs.values())))):
            given = _run(network, [torch.from_numpy(np.array(array[k])) for array in inputs.values()])
            for name, output in named_outputs(given).items():
                rows.setdefault(name, []).append(output.float().numpy())
    return {name: np.stack(row) for name, row in rows.items()}
