"""Runs a written file on inputs in its own runtime, in a separate process.

This computes outputs and measures no time: one thread, one sample after another. Core ML runs on Apple systems
only; elsewhere Pocketreel's interpreter of the saved program (`export.emit.coreml`) runs it, which the result
states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.command.sentence import in_a_sentence
from export import EXPORTERS
from export.opened_file import OpenedFile
from export.process.child import run_in_child

if TYPE_CHECKING:
    from export.manifest import FileSpec

TIME_LIMIT_S = 1800.0
"""A runtime that takes longer for all samples counts as hung."""


@dataclass(frozen=True, kw_only=True)
class Executed:
    """Result of running one file."""

    outputs: tuple[np.ndarray, ...] | None
    """One array `N x shape` per output of the file; `None` if it did not run."""
    runner: str | None
    """Program and version that ran it."""
    reason: str | None
    """Why it did not run."""
    available: bool = True
    """False if this machine has no program that runs it: then the file is not checked."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """One input of a file: converts an array from torch's layout to the file's."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    axes: tuple[int, ...]
    """For each axis of the file, the axis of torch's tensor."""

    def arrange(self, array: np.ndarray) -> np.ndarray:
        """One sample in the file's axis order and dtype, contiguous."""
        return np.ascontiguousarray(np.transpose(array, self.axes), dtype=self.dtype)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The job of the child process."""

    runner: str
    """Module that holds `open_file`."""
    path: Path
    samples: Path
    """Folder with one `<input>.npy` per input, `N x shape` in torch's layout."""
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    entry: str | None = None
    """The program to run, if the file has several."""
    clip: str | None = None
    """For a step program: the name of the samples whose frames, `N C T H W`, it gets one by one."""
    states: Mapping[str, str] = field(default_factory=dict)
    """For a step program: as `FileSpec.states`."""


def execute(
    path: Path,
    *,
    format: str,
    network: FileSpec,
    file: FileSpec,
    samples: Path,
    log: Path,
    entry: str | None = None,
    clip: str | None = None,
) -> Executed:
    """Runs the file at `path` on every sample in the folder `samples` (`<input>.npy`, `N x shape` in torch's
    layout).

    `network` is the spec in torch's layout, `file` that of this file. A step program gets the frames of the samples
    `clip` one after the other, and its output for the last one counts. A crash of the runtime, its refusal to load
    the file and outputs that do not match the spec are reasons, not exceptions.
    """
    execution = Execution(
        runner=EXPORTERS[format].runner,
        path=path,
        samples=samples,
        inputs=tuple(
            Port(
                name=there.name,
                shape=there.shape,
                dtype=there.dtype,
                axes=tuple(here.layout.index(axis) for axis in there.layout),
            )
            for here, there in zip(network.inputs, file.inputs, strict=True)
        ),
        outputs=tuple(info.name for info in file.outputs),
        entry=entry,
        clip=clip,
        states=file.states,
    )
    ended = run_in_child(
        run_samples,
        execution,
        who="the runtime",
        log=log,
        time_limit_s=TIME_LIMIT_S,
        writer=EXPORTERS[format].module,
        only_at_hand=True,
    )
    if ended.value is None:
        return Executed(outputs=None, runner=None, reason=ended.reason)
    executed: Executed = ended.value
    return (
        executed
        if executed.outputs is None
        else replace(executed, outputs=_as_torch(executed, network, file))
    )


def _as_torch(executed: Executed, network: FileSpec, file: FileSpec) -> tuple[np.ndarray, ...]:
    """The outputs with their axes in torch's order: files may return clips in the layout of their inputs."""
    assert executed.outputs is not None
    restored = []
    for array, there, here in zip(
        executed.outputs, network.network_outputs, file.network_outputs, strict=True
    ):
        if here.layout != there.layout and array.shape[1:] == here.shape:
            array = array.transpose(0, *(1 + here.layout.index(axis) for axis in there.layout))
        if not there.shape and array.shape[1:] == (1,):  # formats that return no scalars
            array = array.reshape(-1)
        restored.append(array)
    return tuple(restored)


def run_samples(execution: Execution) -> Executed:
    """Runs the file on all samples, in this process."""
    try:
        opened = import_module(execution.runner).open_file(
            execution.path, entry=execution.entry, outputs=execution.outputs
        )
    except (
        ImportError,
        NotImplementedError,
    ) as error:  # the latter: an operator that Pocketreel's interpreter does not support
        return Executed(outputs=None, runner=None, reason=in_a_sentence(error), available=False)
    run_sample = _run_once if execution.clip is None else _run_frames
    names = [port.name for port in execution.inputs] if execution.clip is None else [execution.clip]
    samples = {name: np.load(execution.samples / f"{name}.npy", mmap_mode="r") for name in names}
    rows = []
    for k in range(len(next(iter(samples.values())))):
        outputs = run_sample(execution, opened, {name: array[k] for name, array in samples.items()})
        rows.append([np.array(output, dtype=np.float32) for output in outputs])
    return Executed(outputs=tuple(map(np.stack, zip(*rows, strict=True))), runner=opened.runner, reason=None)


def _run_once(execution: Execution, opened: OpenedFile, sample: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return opened.run({port.name: port.arrange(sample[port.name]) for port in execution.inputs})


def _run_frames(
    execution: Execution, opened: OpenedFile, sample: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """Outputs of a step program for the last frame of a clip; its state begins with zeros."""
    (clip,) = sample.values()
    frame, *states = execution.inputs
    feeds = {port.name: np.zeros(port.shape, port.dtype) for port in states}
    named: dict[str, np.ndarray] = {}
    for index in range(clip.shape[2]):
        feeds = {frame.name: frame.arrange(clip[:, :, index]), **feeds}
        # Copied: a runtime may return its own memory, which the next frame overwrites.
        given = [np.array(output) for output in opened.run(feeds)]
        named = {**feeds, **dict(zip(execution.outputs, given, strict=True))}
        feeds = {port.name: named[execution.states[port.name]].reshape(port.shape) for port in states}
    return [named[name] for name in execution.outputs if name not in execution.states.values()]
