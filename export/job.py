"""One writer's job: what it is asked to do, and doing it, which happens in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
from torch.fx import GraphModule

from export.lower import NOTES
from export.manifest import FileSpec, WrittenFile
from export.trial import REFERENCE, ask
from export.weights import store_weights


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one writer is asked to do."""

    module: str
    """Module that holds `write`."""
    program: Path
    """File that `torch.export.save` wrote: a captured float network, or the int8 reference."""
    path: Path
    spec: FileSpec
    scheme: str
    lowering: str | None
    """Module that lowers the program before it is written; `None` for a program that is lowered already."""
    stored: bool = False
    """Whether the weights are rounded to what the scheme's files hold before they reach the writer."""
    samples: Path | None = None
    """Folder with one `<input>.npy` per input, on which torch answers with these weights; `None` for no answers."""


def write(job: Job) -> WrittenFile:
    """Lowers the program and writes the file. Raises what lowering and the writer raise."""
    import torch
    import torch.ao.quantization.fx._decomposed  # registers the operators of int8 graphs, which loading needs

    program = torch.export.load(job.program)
    answers, notes = None, ()
    if job.lowering is not None:
        assert program.example_inputs is not None
        lowered = import_module(job.lowering).lower(program)
        notes = lowered.meta.get(NOTES, ())
        if job.stored:
            lowered = store_weights(lowered, scheme=job.scheme)
            answers = None if job.samples is None else _answers(lowered, job)
        program = torch.export.export(lowered, program.example_inputs[0])
    written: WrittenFile = import_module(job.module).write(
        program, job.path, spec=job.spec, scheme=job.scheme
    )
    return replace(written, answers=answers, notes=(*notes, *written.notes))


def _answers(network: GraphModule, job: Job) -> tuple[np.ndarray, ...]:
    assert job.samples is not None
    inputs = {info.name: np.load(job.samples / f"{info.name}.npy") for info in job.spec.inputs}
    return ask({REFERENCE: network}, inputs, source="the inputs").answers[REFERENCE]
