"""The job of one writer, and running it, in a separate process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from export.capture.stepping import Stepper
from export.lower import NOTES, ROUNDED_ANEW
from export.manifest import FileSpec, WrittenFile
from export.quantize.weight_only import store_weights
from export.trial import REFERENCE, run_networks


@dataclass(frozen=True, kw_only=True)
class StepJob:
    """The step program, as `Job` has the clip program."""

    program: Path
    spec: FileSpec


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job of one writer."""

    module: str
    """Module that holds `write`."""
    program: Path
    """File that `torch.export.save` wrote: a captured float network, or the int8 reference."""
    path: Path
    spec: FileSpec
    scheme: str
    lowering: str | None
    """Module that lowers the program before it is written; `None` if it is written unchanged."""
    stored: bool = False
    """Whether the weights are rounded to the precision of the scheme before they reach the writer."""
    step: StepJob | None = None
    """The step program of a streaming network."""
    samples: Path | None = None
    """Folder with one `<input>.npy` per input, for reference outputs with these weights; `None` for no outputs."""
    quantizer: str | None = None
    """Module whose `quantize_file` makes the file from the float file; None if the writer writes it."""
    calibration: Path | None = None
    """Folder of the inputs for `quantizer`, as `samples`."""


def prepare(module: str) -> None:
    """Imports the libraries of the writer `module`, of the runtime of its files, and of `torch.export`."""
    torch.export.export(torch.nn.Identity(), (torch.zeros(1),))
    import_module(module).load_backend()


def load_program(path: Path, *, scheme: str) -> ExportedProgram:
    """The program that `torch.export.save` wrote to `path`, for a file of `scheme`."""
    if scheme != "fp32":  # a program with integers has operators of torchao
        import torchao.quantization.pt2e  # noqa: F401  registers torch.ops.quantized_decomposed

    return torch.export.load(path)


def write(job: Job) -> WrittenFile:
    """Lowers the program and writes the file. Raises the errors of lowering and of the writer."""
    program, lowered = _lowered(load_program(job.program, scheme=job.scheme), job)
    outputs, notes = None, ()
    if lowered is not None:
        notes = lowered.meta.get(NOTES, ())
        changed = job.stored or lowered.meta.get(ROUNDED_ANEW, False)
        outputs = _reference_outputs(lowered, job) if changed and job.samples is not None else None
    step = None
    if job.step is not None:
        stepping = load_program(job.step.program, scheme=job.scheme)
        step = Stepper(program=_lowered(stepping, job)[0], spec=job.step.spec)
    written: WrittenFile
    if job.quantizer is None:
        written = import_module(job.module).write(
            program, job.path, spec=job.spec, scheme=job.scheme, step=step
        )
    else:
        written = _quantized_by_another(program, job)
    return replace(written, reference_outputs=outputs, notes=(*notes, *written.notes))


def _quantized_by_another(program: ExportedProgram, job: Job) -> WrittenFile:
    """The file that the tool of the scheme makes from the float file and the calibration inputs."""
    assert job.quantizer is not None and job.calibration is not None
    if job.step is not None:
        raise ValueError(
            f"{job.scheme} files have no step program; export the network without it, or use w8a8"
        )
    arrays = {path.stem: np.load(path) for path in sorted(job.calibration.glob("*.npy"))}
    if not arrays:
        raise ValueError(f"{job.scheme} needs calibration inputs; give some")
    floats = job.path.with_name(f"float{job.path.suffix}")
    written = import_module(job.module).write(program, floats, spec=job.spec, scheme="fp32")
    result: WrittenFile = import_module(job.quantizer).quantize_file(written, job.path, calibration=arrays)
    floats.unlink()
    return result


def _lowered(program: ExportedProgram, job: Job) -> tuple[ExportedProgram, GraphModule | None]:
    """The program for the writer, and the lowered network; `None` if it was lowered before."""
    if job.lowering is None:
        return program, None
    assert program.example_inputs is not None
    lowered: GraphModule = import_module(job.lowering).lower(program)
    if job.stored:
        notes = lowered.meta.get(NOTES, ())
        lowered = store_weights(lowered, scheme=job.scheme)
        lowered.meta[NOTES] = notes
    return torch.export.export(lowered, program.example_inputs[0]), lowered


def _reference_outputs(network: GraphModule, job: Job) -> tuple[np.ndarray, ...]:
    assert job.samples is not None
    if job.scheme == "w8a8":
        from export.quantize.int8_reference import for_evaluation

        network = for_evaluation(network)
    inputs = {info.name: np.load(job.samples / f"{info.name}.npy") for info in job.spec.inputs}
    return run_networks({REFERENCE: network}, inputs, source="the inputs").outputs[REFERENCE]
