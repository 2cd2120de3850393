"""Finds the operator that makes a runtime refuse a file, or crash on it: the shortest failing prefix of the
network.

The file of a prefix is written and run like the file itself, in separate processes: a crash costs one try.
Bisection takes about ten tries for a network of a thousand operators.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.fx.graph import CodeGen

from export import EXPORTERS
from export.capture.inputs import describe_outputs
from export.job import Job, load_program, write
from export.lower.source import operator_name, place
from export.manifest import FileSpec, WrittenFile
from export.process.child import run_in_child
from export.verify.execute import execute

SEARCH_S = 240.0
"""No further try begins after that."""

_ROUNDING = ("quantize", "choose_qparams")


def find_culprit(job: Job, *, format: str, network: FileSpec, log: Path) -> str:
    """The operator that makes the runtime of `format` refuse the file of `job`, as the end of a sentence.

    `job` is that of the writer, with samples; `network` is the spec in torch's layout.
    """
    program = load_program(job.program, scheme=job.scheme)
    candidates = [node for node in program.graph.nodes if _is_operator(node)]
    deadline = time.monotonic() + SEARCH_S
    with tempfile.TemporaryDirectory(prefix="pocketreel-culprit-") as name:

        def runs(node: fx.Node) -> bool | None:
            if time.monotonic() > deadline:
                return None
            ends = _ends(candidates[: candidates.index(node) + 1])
            return _runs(program, ends, job=job, folder=Path(name), format=format, network=network, log=log)

        low, high = _halve(candidates, runs)
    if high == len(candidates):
        return "each operator runs alone: the outputs together cause it, such as views of one another"
    node = candidates[high]
    if low == high - 1:
        return f"the operator is {operator_name(node)} at {place(node)}"
    first = candidates[low + 1]
    return f"the operator is between {place(first)} and {place(node)}"


def _halve(candidates: list[fx.Node], runs: Callable[[fx.Node], bool | None]) -> tuple[int, int]:
    """Index of the last operator up to which the network is known to run, and of the first known to fail.

    The search ends at prefixes that cannot be written.
    """
    low, high = -1, len(candidates)
    last = runs(candidates[-1]) if candidates else None
    if last is not False:
        return (high - 1, high) if last else (low, high)
    high -= 1
    while high - low > 1:
        middle = (low + high) // 2
        ran = runs(candidates[middle])
        if ran is None:
            break
        low, high = (middle, high) if ran else (low, middle)
    return low, high


def _is_operator(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return (
        node.op == "call_function"
        and isinstance(value, Tensor)
        and value.is_floating_point()
        and 1 <= value.dim() <= 5
        and not any(word in str(node.target) for word in _ROUNDING)
        and any(source.op != "get_attr" for source in node.all_input_nodes)
    )


def _ends(operators: list[fx.Node]) -> list[fx.Node]:
    """Operators on which none of the others depends: computing them computes all."""
    ends: list[fx.Node] = []
    needed: set[fx.Node] = set()
    for node in reversed(operators):
        if node in needed:
            continue
        ends.append(node)
        queue = [node]
        while queue:
            sources = [source for source in queue.pop().all_input_nodes if source not in needed]
            needed.update(sources)
            queue += sources
    return ends[::-1]


def _runs(
    program: ExportedProgram,
    ends: list[fx.Node],
    *,
    job: Job,
    folder: Path,
    format: str,
    network: FileSpec,
    log: Path,
) -> bool | None:
    """Whether the network up to `ends` runs; `None` if its file cannot be written."""
    exporter = EXPORTERS[format]
    outputs = describe_outputs({f"value_{index}": node.meta["val"] for index, node in enumerate(ends)})
    spec = replace(network, outputs=outputs, classes=((),) * len(outputs))
    file = spec.arranged(clip_layout=exporter.clip_layout, token_dtype=exporter.token_dtype)
    beginning = folder / "beginning.pt2"
    try:
        torch.export.save(_up_to(program, ends), beginning)
    except Exception:  # of many types, most of them torch's
        return None
    short = replace(
        job,
        program=beginning,
        path=folder / f"model{exporter.extension}",
        spec=file,
        samples=None,
        step=None,
    )
    ended = run_in_child(
        write, short, who="the converter", log=log, time_limit_s=SEARCH_S, writer=exporter.module
    )
    written: WrittenFile | None = ended.value
    if written is None or job.samples is None:
        return None
    executed = execute(
        written.path,
        format=format,
        network=spec,
        file=file,
        samples=job.samples,
        log=log,
        entry=written.entry,
    )
    return executed.outputs is not None if executed.available else None


def _up_to(program: ExportedProgram, ends: list[fx.Node]) -> ExportedProgram:
    """The program with the values of `ends` as its outputs."""
    graph: Any = program.module(check_guards=False)
    by_name = {node.name: node for node in graph.graph.nodes}
    graph.graph.erase_node(graph.graph.output_node())
    graph.graph.output(tuple(_rounded(by_name[node.name]) for node in ends))
    graph.graph.eliminate_dead_code()
    graph.graph.set_codegen(CodeGen())  # inputs and outputs of the captured graph, not of the user's forward
    graph.recompile()
    assert program.example_inputs is not None
    return torch.export.export(graph, program.example_inputs[0])


def _rounded(node: fx.Node) -> fx.Node:
    """The value of `node` for its users: the rounded one, if it is rounded."""
    reader = next((user for user in node.users if "quantize_per_tensor" in str(user.target)), None)
    return node if reader is None or not reader.users else next(iter(reader.users))
