"""Selects the form in which ONNX Runtime runs a float network fastest, by measurement on this machine.

Three exact forms are tried if a network has temporal operators: frames in the batch axis (`export.lower`), one
tensor per frame (`export.layout.per_frame`), and the original network, 3D operators included. They run in
interleaved rounds, on one thread; the one with the smallest median is written, and the note of the file has the
measurements. A form that cannot be written or run is left out, and the note has the reason; if the form with
batched frames fails, there is no file.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from compress.command.sentence import in_a_sentence
from export import require
from export.layout.per_frame import to_per_frame
from export.lower import NOTES
from export.lower import lower as lower_batched
from export.lower.source import operator_name
from export.private.torch import needless_decompositions_skipped

BATCHED, PER_FRAME, ORIGINAL = "batched frames", "per-frame", "original network"

MOST_NODES = 10_000
"""Nodes above which the per-frame form is not tried: files of so many nodes take long to load."""

ROUNDS, TIME_LIMIT_S = 15, 20.0
"""Rounds of measurement, and the time after which no further round begins."""

TOLERANCE = 1e-4
"""Largest difference between the outputs of the forms, relative to the largest output."""


def lower(program: ExportedProgram) -> fx.GraphModule:
    """The fastest form of `program`; `meta[NOTES]` has the reasons.

    Raises the errors of `export.lower.lower`.
    """
    batched = lower_batched(program)
    batched.meta[NOTES] = ()
    if not _mixes_frames(program):
        return batched
    assert program.example_inputs is not None
    trials, left_out = _trials(
        {
            BATCHED: lambda: batched,
            PER_FRAME: lambda: to_per_frame(batched),
            ORIGINAL: lambda: program.module(check_guards=False),  # type: ignore[dict-item, return-value]
        },
        program.example_inputs[0],
    )
    seconds, wrong = _measured(trials)
    left_out += [f"{form} differs from the others" for form in wrong]
    chosen = min(seconds, key=seconds.__getitem__)
    relative = ", ".join(
        f"{form} {seconds[form] / seconds[chosen]:.2f}x" for form in seconds if form != chosen
    )
    compared = (
        f"the fastest on this machine in one thread ({relative} its time)" if relative else "the only one"
    )
    result = trials[chosen].module
    result.meta[NOTES] = (
        f"form: {chosen}, {compared}",
        *(f"form not taken: {reason}" for reason in left_out),
    )
    return result


def _mixes_frames(program: ExportedProgram) -> bool:
    """Whether an operator on clips depends on several frames."""
    return any(
        node.op == "call_function"
        and operator_name(node) == "conv3d"
        and node.args[1].meta["val"].shape[2] > 1  # type: ignore[union-attr]
        for node in program.graph.nodes
    )


class _Trial:
    """A form as a file in its runtime, run once."""

    def __init__(self, module: fx.GraphModule, example: tuple[torch.Tensor, ...]) -> None:
        require("onnx", "onnxruntime")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        with tempfile.TemporaryDirectory(prefix="pocketreel-forms-") as folder:
            path = Path(folder, "form.onnx")
            with needless_decompositions_skipped():
                torch.onnx.export(module, example, path, dynamo=True, verbose=False)
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [info.name for info in self._session.get_inputs()]
        self._feeds = {name: value.numpy() for name, value in zip(names, example, strict=True)}
        self.module = module
        self.outputs: list[Any] = self.run()

    def run(self) -> list[Any]:
        """The outputs for the example."""
        return self._session.run(None, self._feeds)  # type: ignore[no-any-return]


def _trials(
    forms: Mapping[str, Callable[[], fx.GraphModule]], example: tuple[torch.Tensor, ...]
) -> tuple[dict[str, _Trial], list[str]]:
    """The forms that run, and why the others do not. Only the form with batched frames must run."""
    trials: dict[str, _Trial] = {}
    left_out = []
    for form, make in forms.items():
        try:
            module = make()
            count = len(module.graph.nodes)
            if form == PER_FRAME and count > MOST_NODES:
                left_out.append(f"{form} would be {count} nodes")
            else:
                trials[form] = _Trial(module, example)
        except Exception as error:  # the exporter raises many types for unsupported operators
            if form == BATCHED:
                raise
            left_out.append(f"{form} fails: {in_a_sentence(error)}")
    return trials, left_out


def _measured(trials: Mapping[str, _Trial]) -> tuple[dict[str, float], list[str]]:
    """Median seconds per form, and the forms whose outputs differ from those with batched frames."""
    wrong = [form for form, trial in trials.items() if not _same(trial.outputs, trials[BATCHED].outputs)]
    times: dict[str, list[float]] = {form: [] for form in trials if form not in wrong}
    begun = time.monotonic()
    while len(times[BATCHED]) < ROUNDS and (not times[BATCHED] or time.monotonic() - begun < TIME_LIMIT_S):
        for form, taken in times.items():
            started = time.perf_counter()
            trials[form].run()
            taken.append(time.perf_counter() - started)
    return {form: statistics.median(taken) for form, taken in times.items()}, wrong


def _same(given: list[Any], expected: list[Any]) -> bool:
    return all(
        abs(a - b).max() <= TOLERANCE * max(abs(b).max(), 1e-30) for a, b in zip(given, expected, strict=True)
    )
