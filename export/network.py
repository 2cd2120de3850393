"""Exports a user's network to files for mobile devices in one call: `export_network(model, ["1x3x16x112x112"],
out=...)`.

Captures, quantizes if the scheme requires it, computes reference outputs in torch, writes every format, runs every
file. `pocketreel export` is this function on the command line.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from compress.command.user_code import user_code
from export import EXPORTERS, INT8_SCHEMES, QUANTIZED_BY_OTHERS
from export.capture.float32 import float32_by_default
from export.capture.graph import capture
from export.capture.inputs import cast_examples, describe_examples, describe_outputs, parse_inputs
from export.capture.prepare_network import copied, ready
from export.capture.repeatable import RandomOutputs
from export.capture.stepping import Stepper, check_stream, stepper
from export.choice import MEASURED_HERE, Forms
from export.description import describe_network
from export.export_file import Proof
from export.files import Progress, Variant, export_files, left_out, pairs
from export.lower import lower
from export.manifest import FileSpec, TensorInfo
from export.out_folder import check_folders, place_of
from export.outcome import ExportOutcome
from export.preflight import Finding, check
from export.quantize.grid import check_group_size
from export.samples import RANDOM, Samples, check_samples, random_samples, read_samples
from export.trial import FLOAT, REFERENCE, Trial, first_trial, run_networks

if TYPE_CHECKING:
    from export.quantize.layer_noise import LayerError

PARITY_INPUTS = 8
"""Number of calibration or random inputs for the parity check if no clips are given for it: torch and every file
run on each."""

RANKED_INPUTS = 4
"""Number of inputs that rank the layers."""

Source = Path | Mapping[str, np.ndarray] | Literal["random"]
"""Inputs: a `.npy` or `.npz` file, arrays by input name, or random ones."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Result of an export."""

    outcomes: tuple[ExportOutcome, ...]
    """One per file, by format, in the requested order."""
    left_out: tuple[str, ...]
    """A sentence for each format that does not support one of the schemes and is not written in it."""
    manifest: Path
    rank_layers: Callable[[], tuple[LayerError, ...]] | None
    """Ranks the layers of the int8 reference by their noise, worst first; `None` for a float export."""

    @property
    def correct(self) -> bool:
        """Whether every file was written and none is known to be wrong."""
        return all(outcome.status == "exported" for outcome in self.outcomes)


@float32_by_default()
@user_code("exporting the network", timed=False)
def export_network(
    model: nn.Module,
    inputs: Sequence[str] | Mapping[str, Tensor],
    *,
    out: Path,
    formats: Sequence[str] = tuple(EXPORTERS),
    schemes: Sequence[str] = ("fp32",),
    calibration: Source | None = None,
    clips: Source | None = None,
    stream: bool = False,
    group_size: int | None = None,
    forms: Forms = MEASURED_HERE,
    progress: Progress | None = None,
) -> Exported:
    """Writes `out/<format>/<scheme>/model.<extension>` for every format and scheme, and checks every file.

    `out/manifest.json` describes them. A format is not written in a scheme that it does not support.

    `inputs` are those of `model.forward`, in order: shapes in the syntax of `export.capture.inputs.parse_inputs`,
    or an example tensor by name. `calibration` sets the ranges of the schemes `w8a8` and `w8a8_nncf`; every file is
    run on `clips`, or else on up to 8 calibration inputs, or else on random ones. The manifest records which.

    With `stream` every format also gets a step program, for one frame: `export.capture.stepping` states the
    requirements on the network.

    `group_size` is the largest number of `w4` weights of an output channel that share a scale, by default all.

    `forms` chooses among the forms of a network (`export.choice`), in formats that have several.

    A network that cannot be captured or quantized, or a file that cannot be written, is not an exception but an
    outcome with its reason. Raises ValueError and FileNotFoundError for invalid arguments.
    """
    wanted = pairs(formats, schemes)
    check_group_size(group_size, schemes)
    check_folders(out, [place_of(*one) for one in wanted])
    described = describe_examples(inputs) if isinstance(inputs, Mapping) else parse_inputs(inputs)
    ranges = None if calibration is None else _samples(calibration, described, what="calibration")
    int8 = "w8a8" in schemes
    calibrated = [scheme for scheme in schemes if scheme in (*INT8_SCHEMES, *QUANTIZED_BY_OTHERS)]
    if calibrated and ranges is None:
        raise ValueError(
            f"scheme {calibrated[0]} needs inputs that set the ranges of its integers: give calibration clips "
            "(a .npy file), or 'random' to try it without (its accuracy is then meaningless)"
        )
    tried = None if clips is None else _samples(clips, described, what="clips")
    tried = tried or (
        ranges.some(PARITY_INPUTS) if ranges else random_samples(described, count=PARITY_INPUTS)
    )
    steps = _Steps(progress, total=2 + int8 + len(wanted))
    steps.begin("torch")
    given = ready(model, tried.tensors(0))
    model, notes = given.network, given.notes
    trial = first_trial(model, tried, fresh_copy=given.fresh_copy)
    del given  # frees a second copy of the network
    provenance = {
        "project": "pocketreel",
        "network": f"{type(model).__module__}.{type(model).__qualname__}",
        "torch": str(torch.__version__),
        "calibration": ranges.source if ranges and calibrated else None,
        "group_size": group_size,
    }
    spec = _spec(described, trial, provenance=provenance)
    if stream:
        check_stream(model, spec)
    step: Stepper | None = None
    try:
        steps.begin("capture")
        with user_code("capturing the network"):
            program = capture(model, tried.tensors(0))
        if stream:
            with user_code("capturing step() of the network"):
                step = stepper(model, tried.tensors(0)[0], spec)
    except Exception as error:  # torch raises many types for a user's network
        variants = [Variant(scheme=scheme, program=error) for scheme in schemes]
    else:
        if isinstance(inputs, Mapping):
            notes = (*notes, *cast_examples(inputs))
        captured = Variant(scheme="", program=program, proof=Proof(trial=trial), step=step, notes=notes)
        variants = [
            _quantized(
                captured,
                lambda: _equalized(model, captured, ranges, spec),
                ranges,
                trial=trial,
                steps=steps,
                weight_bits=forms.weight_bits,
            )
            if scheme == "w8a8" and ranges is not None
            else replace(
                captured,
                scheme=scheme,
                group_size=group_size if scheme == "w4" else None,
                calibration=ranges.arrays if ranges and scheme in QUANTIZED_BY_OTHERS else None,
            )
            for scheme in schemes
        ]
    outcomes = export_files(
        variants,
        spec,
        formats=formats,
        out=out,
        forms=forms,
        progress=lambda name, _, __: steps.begin(name),
    )
    proofs = [variant.proof for variant in variants if variant.proof is not None]
    return Exported(
        outcomes=tuple(outcomes),
        left_out=tuple(left_out(formats, schemes)),
        manifest=out / "manifest.json",
        rank_layers=next((proof.rank_layers for proof in proofs if proof.rank_layers is not None), None),
    )


@float32_by_default()
@user_code("checking the network", timed=False)
def check_network(
    model: nn.Module,
    inputs: Sequence[str],
    *,
    formats: Sequence[str] = tuple(EXPORTERS),
    scheme: str = "fp32",
    group_size: int | None = None,
) -> tuple[Finding, ...]:
    """Operators that each runtime would refuse, run slowly or run in float, from the graph; nothing is written.

    Arguments as in `export_network`. Raises ValueError for invalid arguments and for a network that cannot be
    captured.
    """
    check_group_size(group_size, [scheme])
    tried = random_samples(parse_inputs(inputs), count=2)
    given = ready(model, tried.tensors(0))
    model = given.network
    with suppress(
        RandomOutputs
    ):  # the operators that draw random numbers are found below, each with its line
        first_trial(model, tried, fresh_copy=given.fresh_copy)
    del given  # frees a second copy of the network
    try:
        with user_code("capturing the network"):
            program = capture(model, tried.tensors(0))
    except NotImplementedError as error:
        raise ValueError(str(error)) from error
    return check(program, formats=formats, scheme=scheme, group_size=group_size)


def _samples(source: Source, inputs: Sequence[TensorInfo], *, what: str) -> Samples:
    if isinstance(source, Path):
        return read_samples(source, inputs, what=what)
    if isinstance(source, Mapping):
        return check_samples(source, inputs, source="arrays", where=what)
    if source != RANDOM:
        raise ValueError(f"{what} is {source!r}; give a Path, arrays by input name, or {RANDOM!r}")
    return random_samples(inputs)


def _spec(inputs: tuple[TensorInfo, ...], trial: Trial, *, provenance: Mapping[str, Any]) -> FileSpec:
    outputs = describe_outputs(trial.first_outputs(FLOAT))
    for name in {info.name for info in inputs} & {info.name for info in outputs}:
        raise ValueError(f"an input is called {name!r}, as the output is; give it another name")
    description = describe_network(provenance=provenance)
    return FileSpec(inputs=inputs, outputs=outputs, classes=((),) * len(outputs), description=description)


def _equalized(model: nn.Module, captured: Variant, ranges: Samples, spec: FileSpec) -> Variant:
    """The network with equalized activations, captured again; as it is if no channel gains."""
    from export.quantize.activation_equalization import equalize_activations, note

    assert isinstance(captured.program, ExportedProgram)
    network = copied(model)
    pairs = equalize_activations(network, captured.program, _batches(ranges))
    if not pairs:
        return captured
    example = ranges.tensors(0)
    return replace(
        captured,
        program=capture(network, example),
        step=None if captured.step is None else stepper(network, example[0], spec),
        notes=(*captured.notes, note(pairs)),
    )


def _quantized(
    captured: Variant,
    equalized: Callable[[], Variant],
    ranges: Samples,
    *,
    trial: Trial,
    steps: _Steps,
    weight_bits: int,
) -> Variant:
    """The captured int8 references, for clips and for one frame, and the proof with their outputs."""
    from export.quantize.int8_reference import calibrate, convert, for_evaluation, prepare
    from export.quantize.layer_noise import rank_layers
    from export.quantize.observers import CALIBRATED, weight_bits_note
    from export.quantize.step_reference import step_reference

    try:
        found = equalized()
        assert isinstance(found.program, ExportedProgram)
        lowered = lower(found.program)
        prepared = prepare(lowered, ranges=CALIBRATED.with_weights_of(weight_bits))
        steps.begin("calibrate")
        calibrate(prepared, _batches(ranges, steps))
        reference = convert(prepared)
        step = found.step
        if step is not None:
            step = replace(step, program=step_reference(prepared, step.program))
        outputs = run_networks(
            {REFERENCE: for_evaluation(reference)}, trial.inputs, source=trial.source
        ).outputs
        exported = torch.export.export(reference, ranges.tensors(0))
    except Exception as error:  # torch raises many types for a user's network
        return replace(captured, scheme="w8a8", program=error)
    ranked = ranges.some(RANKED_INPUTS)
    proof = Proof(
        trial=trial.with_outputs(outputs),
        rank_layers=functools.cache(lambda: rank_layers(lowered, reference, _batches(ranked))),
    )
    notes = (*found.notes, *weight_bits_note(weight_bits))
    return replace(found, scheme="w8a8", program=exported, proof=proof, step=step, notes=notes)


def _batches(samples: Samples, steps: _Steps | None = None) -> Iterator[tuple[Tensor, ...]]:
    for index in range(samples.count):
        if steps is not None:
            steps.remark(f"input {index + 1} of {samples.count}")
        yield samples.tensors(index)


class _Steps:
    """Counts the steps of one export for a progress display."""

    def __init__(self, progress: Progress | None, *, total: int) -> None:
        self._progress, self._total, self._done, self._name = progress, total, -1, ""

    def begin(self, name: str) -> None:
        self._done, self._name = self._done + 1, name
        self.remark("")

    def remark(self, text: str) -> None:
        if self._progress is not None:
            self._progress(f"{self._name} {text}".strip(), self._done, self._total)
