"""Runs a step program on a stream of frames and keeps the state between frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.files import ExportedFile

FRAME = "frame"
"""Name of the input for one frame, canonical `1 3 H W`, RGB in 0..1."""


class Stream:
    """A stream of frames through a loaded file; the initial state is zeros."""

    def __init__(self, file: ExportedFile, run: Callable[[Sequence[np.ndarray]], list[np.ndarray]]) -> None:
        self._file, self._run = file, run
        self.reset()

    def reset(self) -> None:
        """Resets the state, as at a cut to another scene."""
        self._state = {
            tensor.name: np.zeros(tensor.shape, tensor.dtype)
            for tensor in self._file.inputs
            if tensor.name in self._file.states
        }

    def predict(self, frame: np.ndarray) -> list[np.ndarray]:
        """Logits `1 K` of each label column after one more frame."""
        arrays = [
            tensor.arrange(frame) if tensor.name == FRAME else self._state[tensor.name]
            for tensor in self._file.inputs
        ]
        # Copied: a runtime may return its own buffer, which the next frame overwrites.
        given = [np.array(output) for output in self._run(arrays)]
        outputs = dict(zip((tensor.name for tensor in self._file.outputs), given, strict=True))
        known = {**self._state, **outputs}
        self._state = {
            name: known[self._file.states[name]].reshape(before.shape) for name, before in self._state.items()
        }
        return [output for name, output in outputs.items() if name not in self._file.states.values()]


def step_of(file: ExportedFile) -> ExportedFile:
    """The step program of the file; raises ValueError if the network was exported without one."""
    if file.step is None:
        raise ValueError(
            f"{file.title} has no step program; export its network with `student: {{stream: true}}` in "
            "the recipe, or --stream"
        )
    return file.step


def first_inputs(step: ExportedFile, *, seed: int = 0) -> dict[str, np.ndarray]:
    """A random frame and a zero state, canonical, by name: the inputs of `measure_files` for a step program."""
    generator = np.random.default_rng(seed)
    return {
        tensor.name: generator.random(tensor.canonical_shape, dtype=np.float32)
        if tensor.name == FRAME
        else np.zeros(tensor.canonical_shape, tensor.dtype)
        for tensor in step.inputs
    }
