"""The form in which ONNX Runtime runs a float network fastest, found by measuring on this machine.

Three exact forms are tried where a network mixes frames: frames together in the batch axis (`export.lower`), frames
apart (`export.apart`), and the network as it was given, 3D operators included. Each is run in rounds, one after the
other, on one thread; the fastest in the median is written, and the note of the file says what was measured.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from export import require
from export.apart import frames_apart
from export.lower import NOTES
from export.lower import lower as lower_together
from export.lower.source import operator_name

TOGETHER, APART, GIVEN = "frames together", "frames apart", "as given"

MOST_NODES = 10_000
"""Above that frames stay together: files of so many nodes take long to load."""

ROUNDS, TIME_LIMIT_S = 15, 20.0
"""Rounds of measurement, and the time after which no further round begins."""

TOLERANCE = 1e-4
"""Largest difference between the forms' outputs, as a part of the largest output."""


def lower(program: ExportedProgram) -> fx.GraphModule:
    """The fastest form of `program`; why it was chosen is in its `meta[NOTES]`.

    Raises what `export.lower.lower` raises.
    """
    together = lower_together(program)
    together.meta[NOTES] = ()
    if not _mixes_frames(program):
        return together
    forms: dict[str, fx.GraphModule] = {TOGETHER: together, APART: frames_apart(together)}
    forms[GIVEN] = program.module(check_guards=False)  # type: ignore[assignment]
    left_out = []
    if len(forms[APART].graph.nodes) > MOST_NODES:
        left_out.append(f"{APART} would be {len(forms.pop(APART).graph.nodes)} nodes")
    assert program.example_inputs is not None
    seconds, wrong = _measured(forms, program.example_inputs[0])
    left_out += [f"{form} differs from the others" for form in wrong]
    chosen = min(seconds, key=seconds.__getitem__)
    relative = ", ".join(
        f"{form} {seconds[form] / seconds[chosen]:.2f}x" for form in seconds if form != chosen
    )
    note = f"form: {chosen}, the fastest on this machine in one thread ({relative} its time)"
    result = forms[chosen]
    result.meta[NOTES] = (note, *(f"form not taken: {reason}" for reason in left_out))
    return result


def _mixes_frames(program: ExportedProgram) -> bool:
    """Whether an operator on clips sees several frames at once."""
    return any(
        node.op == "call_function"
        and operator_name(node) == "conv3d"
        and node.args[1].meta["val"].shape[2] > 1  # type: ignore[union-attr]
        for node in program.graph.nodes
    )


def _measured(
    forms: Mapping[str, fx.GraphModule], example: tuple[torch.Tensor, ...]
) -> tuple[dict[str, float], list[str]]:
    """Median seconds per form, and the forms whose outputs are not those of frames together."""
    require("onnx", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    sessions: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="pocketreel-forms-") as folder:
        for number, (form, module) in enumerate(forms.items()):
            path = Path(folder, f"{number}.onnx")
            torch.onnx.export(module, example, path, dynamo=True, verbose=False)
            sessions[form] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {
        form: {info.name: value.numpy() for info, value in zip(session.get_inputs(), example, strict=True)}
        for form, session in sessions.items()
    }
    outputs = {form: session.run(None, feeds[form]) for form, session in sessions.items()}
    wrong = [form for form in sessions if not _same(outputs[form], outputs[TOGETHER])]
    times: dict[str, list[float]] = {form: [] for form in sessions if form not in wrong}
    begun = time.monotonic()
    while len(times[TOGETHER]) < ROUNDS and (not times[TOGETHER] or time.monotonic() - begun < TIME_LIMIT_S):
        for form, taken in times.items():
            started = time.perf_counter()
            sessions[form].run(None, feeds[form])
            taken.append(time.perf_counter() - started)
    return {form: statistics.median(taken) for form, taken in times.items()}, wrong


def _same(given: list[Any], expected: list[Any]) -> bool:
    return all(
        abs(a - b).max() <= TOLERANCE * max(abs(b).max(), 1e-30) for a, b in zip(given, expected, strict=True)
    )
