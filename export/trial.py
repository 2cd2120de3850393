"""The inputs on which every file of an export is run, and torch's outputs for them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.command.lines import line_of
from compress.command.sentence import in_a_sentence
from compress.command.user_code import user_code
from export.capture.graph import named_outputs
from export.capture.repeatable import check_first_call, check_repeatable
from export.samples import Samples

Network = Callable[..., Any]
"""A module, or a captured graph, run on one sample at a time."""

FLOAT, REFERENCE = "float", "reference"
"""Names of the networks: the float network, and the reference, which has the numbers of the files: the torch int8
reference, or the network with the stored weights."""

_FLOAT_TYPES = re.compile(r"\b(Half|BFloat16|Double|double|bfloat16|float16|float64|dtype|Input type)\b")
"""Type names in torch's messages about operands of different types."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Inputs and outputs."""

    inputs: Mapping[str, np.ndarray]
    """`N x shape` per input, in torch's layout."""
    source: str
    """Origin of the inputs, for messages."""
    outputs: Mapping[str, tuple[np.ndarray, ...]]
    """`FLOAT`, `REFERENCE` or both -> `N x shape` per output."""
    output_names: tuple[str, ...] = ()
    """Names of the outputs of the first network (`named_outputs`)."""
    output_dtypes: tuple[torch.dtype, ...] = ()
    """Types of those outputs; the arrays themselves are float32."""

    def first_outputs(self, network: str) -> dict[str, Tensor]:
        """Outputs of a network for the first input, by name and in the network's own types."""
        first = (torch.from_numpy(np.asarray(output[0])) for output in self.outputs[network])
        named = zip(self.output_names, first, self.output_dtypes, strict=True)
        return {name: output.to(dtype) for name, output, dtype in named}

    @property
    def count(self) -> int:
        """N, the number of inputs."""
        return len(next(iter(self.inputs.values())))

    def with_outputs(self, outputs: Mapping[str, tuple[np.ndarray, ...]]) -> Trial:
        """The same trial with the outputs of further networks."""
        return replace(self, outputs={**self.outputs, **outputs})

    def save(self, folder: Path) -> None:
        """Writes `<input>.npy` for every input, for other processes."""
        for name, array in self.inputs.items():
            np.save(folder / f"{name}.npy", array)


def run_networks(networks: Mapping[str, Network], inputs: Mapping[str, np.ndarray], *, source: str) -> Trial:
    """The outputs of each network for `inputs`, which are in the order of its arguments.

    Raises ValueError if an output is not a tensor, or not finite: no file could be compared with it.
    """
    dtypes: dict[str, torch.dtype] = {}
    named = {name: _outputs(network, inputs, dtypes) for name, network in networks.items()}
    outputs = {name: tuple(arrays.values()) for name, arrays in named.items()}
    for name, arrays in outputs.items():
        for position, output in enumerate(arrays):
            if not np.isfinite(output).all():
                raise ValueError(
                    f"the {name} network itself returns NaN or infinite values in output {position} for {source}; "
                    "give it clips like those it was trained on, and its trained weights"
                )
    names = tuple(next(iter(named.values())))
    kinds = tuple(dtypes[name] for name in names)
    return Trial(inputs=inputs, source=source, outputs=outputs, output_names=names, output_dtypes=kinds)


def first_trial(model: nn.Module, samples: Samples, *, fresh_copy: nn.Module) -> Trial:
    """The outputs of a user's network for `samples`; `fresh_copy` is a copy of it from before its first call.

    Raises ValueError if it does not accept them, if a second run on the first of them gives other outputs, or if
    the outputs for the last of them differ from the copy's (`export.capture.repeatable`), and the errors of
    `run_networks`.
    """
    first = {name: array[:1] for name, array in samples.arrays.items()}
    last = {name: array[-1:] for name, array in samples.arrays.items()}

    def once() -> tuple[np.ndarray, ...]:
        return tuple(_outputs(model, first, {}).values())

    def copy_last() -> tuple[np.ndarray, ...]:
        return tuple(_outputs(fresh_copy, last, {}).values())

    try:
        trial = run_networks({FLOAT: model}, samples.arrays, source=samples.source)
        check_repeatable(model, once, tuple(array[:1] for array in trial.outputs[FLOAT]))
        if samples.count > 1:
            expected = tuple(array[-1:] for array in trial.outputs[FLOAT])
            check_first_call(model, fresh_copy, copy_last, expected)
    except ValueError:
        raise
    except Exception as error:  # the user's own code
        raise ValueError(_input_error(model, samples, error)) from error
    return trial


def _input_error(model: nn.Module, samples: Samples, error: Exception) -> str:
    """Message for a network that fails on its inputs, with a remedy."""
    shapes = ", ".join(f"{name} {list(array.shape[1:])}" for name, array in samples.arrays.items())
    line = line_of(error)
    message = in_a_sentence(error) if line is None else f"{in_a_sentence(error)}, at {line}"
    if _FLOAT_TYPES.search(str(error)):
        return (
            f"the network fails on the inputs {shapes}: {message}; it mixes types: make all of it float32, "
            "as files compute: network.float(), and .float() on tensors that forward creates in another type"
        )
    return (
        f"the network does not accept the inputs {shapes}, in this order: {message}; give --shape once for "
        f"every argument of its forward{_signature(model)}, with sizes that it accepts"
    )


def _signature(model: nn.Module) -> str:
    try:
        return f" {inspect.signature(model.forward)}"
    except (TypeError, ValueError):
        return ""


def _run(network: Network, inputs: list[torch.Tensor]) -> Any:
    """Runs a network, which may be the user's."""
    with user_code(f"forward of {type(network).__name__}"):
        return network(*inputs)


def _outputs(
    network: Network, inputs: Mapping[str, np.ndarray], dtypes: dict[str, torch.dtype]
) -> dict[str, np.ndarray]:
    """Arrays by output; adds the types of outputs to `dtypes`."""
    rows: dict[str, list[np.ndarray]] = {}
    with torch.no_grad():
        for k in range(len(next(iter(inputs.values())))):
            given = _run(network, [torch.from_numpy(np.array(array[k])) for array in inputs.values()])
            for name, output in named_outputs(given).items():
                dtypes.setdefault(name, output.dtype)
                rows.setdefault(name, []).append(output.float().numpy())
    return {name: np.stack(row) for name, row in rows.items()}
