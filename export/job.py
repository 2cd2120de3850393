"""The job of one writer, and running it, in a separate process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from export.capture.stepping import Stepper, step_path
from export.choice import STEP, Choice, Stopwatch
from export.layout.select import Candidates, select
from export.lower import NOTES, ROUNDED_ANEW
from export.manifest import FileSpec, WrittenFile
from export.quantize.grid import group_notes
from export.quantize.weight_only import store_weights, weight_grids
from export.targets import BATCHED
from export.trial import REFERENCE, run_networks


@dataclass(frozen=True, kw_only=True)
class StepJob:
    """The step program, as `Job` has the clip program."""

    program: Path
    spec: FileSpec


@dataclass(frozen=True, kw_only=True)
class FormsJob:
    """A choice among the forms of a network."""

    module: str
    """Module that holds `forms_of`."""
    runner: str
    """Module that holds `open_file`."""
    file: str
    """Name of the file in pins, such as `onnx.fp32`."""
    clip: Choice
    step: Choice
    """How the forms of the clip program and of the step program are chosen."""

    def in_form(self, name: str) -> FormsJob:
        """The choice of this form, for parts of a network that may not have it."""
        order = tuple(dict.fromkeys((name, BATCHED)))
        choice = Choice(by="rule", source="the whole network", order=order)
        return replace(self, clip=choice, step=choice)


@dataclass(frozen=True, kw_only=True)
class Undecided:
    """Files between whose forms a device decides."""

    clip: WrittenFile | Candidates
    step: WrittenFile | Candidates | None

    def decided(self, stopwatch: Stopwatch, *, format: str, scheme: str) -> WrittenFile:
        """The file in the form that is fastest on the device.

        Raises ValueError if the device runs none, and RuntimeError if it is lost.
        """

        def timed(one: WrittenFile | Candidates) -> WrittenFile:
            if isinstance(one, WrittenFile):
                return one
            times = stopwatch.times(list(one.files.values()), format=format, scheme=scheme)
            return one.decided(times, on=stopwatch.name)

        return replace(timed(self.clip), step=None if self.step is None else timed(self.step))


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
    forms: FormsJob | None = None
    """The forms of the network, in place of `lowering`; `None` if there is one."""
    stored: bool = False
    """Whether the weights are rounded to the precision of the scheme before they reach the writer."""
    group_size: int | None = None
    """Largest number of int4 weights of an output channel that share a scale; None for all of them."""
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


def write(job: Job) -> WrittenFile | Undecided:
    """Lowers the program and writes the file, or the files of all its forms for a measurement on a device.

    Raises the errors of lowering and of the writer, and ValueError for a pinned form that does not fit.
    """
    if job.forms is not None:
        return _in_a_form(job, job.forms)
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


def _in_a_form(job: Job, forms: FormsJob) -> WrittenFile | Undecided:
    """The clip program and the step program, each in a form of its own."""
    clip = _form_of(job.program, job.path, forms.clip, spec=job.spec, name=forms.file, job=job)
    step = None
    if job.step is not None:
        step = _form_of(
            job.step.program,
            step_path(job.path),
            forms.step,
            spec=job.step.spec,
            name=f"{forms.file}.{STEP}",
            job=job,
        )
    if isinstance(clip, Candidates) or isinstance(step, Candidates):
        return Undecided(clip=clip, step=step)
    return replace(clip, step=step)


def _form_of(
    program_file: Path, path: Path, choice: Choice, *, spec: FileSpec, name: str, job: Job
) -> WrittenFile | Candidates:
    """A program in its chosen form."""
    assert job.forms is not None
    program = load_program(program_file, scheme=job.scheme)
    assert program.example_inputs is not None
    example = program.example_inputs[0]
    writer, runner = import_module(job.module), import_module(job.forms.runner)

    def write_form(network: GraphModule, place: Path) -> WrittenFile:
        exported = torch.export.export(network, example)
        written: WrittenFile = writer.write(exported, place, spec=spec, scheme=job.scheme)
        return written

    def opened(written: WrittenFile) -> Callable[[], Sequence[np.ndarray]]:
        names = [info.name for info in written.outputs]
        file = runner.open_file(written.path, entry=written.entry, outputs=names)
        feeds = {info.name: value.numpy() for info, value in zip(written.inputs, example, strict=True)}
        return lambda: file.run(feeds)

    return select(
        import_module(job.forms.module).forms_of(program),
        choice,
        path=path,
        file=name,
        write=write_form,
        opened=opened,
    )


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
        notes, grids = lowered.meta.get(NOTES, ()), None
        if job.group_size is not None:
            grids = weight_grids(lowered, scheme=job.scheme, group_size=job.group_size)
            notes += group_notes(grids, dict(lowered.named_parameters()), group_size=job.group_size)
        lowered = store_weights(lowered, scheme=job.scheme, grids=grids)
        lowered.meta[NOTES] = notes
    return torch.export.export(lowered, program.example_inputs[0]), lowered


def _reference_outputs(network: GraphModule, job: Job) -> tuple[np.ndarray, ...]:
    assert job.samples is not None
    if job.scheme == "w8a8":
        from export.quantize.int8_reference import for_evaluation

        network = for_evaluation(network)
    inputs = {info.name: np.load(job.samples / f"{info.name}.npy") for info in job.spec.inputs}
    return run_networks({REFERENCE: network}, inputs, source="the inputs").outputs[REFERENCE]
