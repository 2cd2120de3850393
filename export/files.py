"""Writes a network as files of several formats and schemes, each in a separate process, and their manifest."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch.export import ExportedProgram

from compress.folders.ledger import Ledger
from export import EXPORTERS, INT8_SCHEMES, SCHEMES
from export.capture.stepping import Stepper
from export.choice import MEASURED_HERE, Forms
from export.export_file import (
    CALIBRATION_FOLDER,
    PROGRAM_FILE,
    STEP_FILE,
    Proof,
    Work,
    export_format,
    write_json,
)
from export.manifest import FileSpec
from export.out_folder import (
    LOG_FILE,
    MANIFEST_FILE,
    begin,
    check_folders,
    export_folder,
    place_of,
    put_in_place,
)
from export.outcome import ExportOutcome
from export.process.child import in_a_sentence
from export.process.side_by_side import side_by_side, workers_for
from export.quantize.weight_only import WEIGHT_SCHEMES

Progress = Callable[[str, int, int], None]
"""`progress(what, done, total)`, called before each file is written, with the files that are being written; also
from other threads, but by one at a time."""

CONVERTER_BYTES, COPIES = 2**30, 4
"""Memory of a writer: its libraries and graphs, and copies of the program. Files of 18 networks took up to 0.7 GB
(`benchmarks/results/comparison.json`)."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The network in one scheme, the same for every format."""

    scheme: str
    program: ExportedProgram | Exception
    """For the float schemes the captured network (`export.capture.graph`), which every format lowers for its own
    runtime; for `w8a8` the captured int8 reference (`quantized_decomposed` operators), which is lowered already, as
    is a network of `w8` or `w4` whose weights are rounded already. An exception if there is none; every file of the
    scheme then fails with it."""
    proof: Proof | None = None
    """Reference for the checks of its files. None skips the checks."""
    step: Stepper | None = None
    """The step program of a streaming network, written in addition in every format."""
    group_size: int | None = None
    """Of `w4`: largest number of weights of an output channel that share a scale; None for all of them. Without
    effect on a network whose weights are rounded already."""
    notes: tuple[str, ...] = ()
    """Notes on every file."""
    calibration: Mapping[str, np.ndarray] | None = None
    """Inputs for schemes that another tool quantizes (`export.QUANTIZED_BY_OTHERS`): name -> one array for all
    calls."""


def export_files(
    variants: Sequence[Variant],
    spec: FileSpec,
    *,
    formats: Sequence[str],
    out: Path,
    forms: Forms = MEASURED_HERE,
    progress: Progress | None = None,
    workers: int | None = None,
) -> list[ExportOutcome]:
    """Writes every variant in every format that supports its scheme, runs each file, and writes
    `out/manifest.json`.

    Files are `out/<format>/<scheme>/model.<extension>`; `spec` describes inputs and outputs. Earlier files of
    Pocketreel in each folder are replaced: the file, `model.json` (its description, which can be shipped with it)
    and `convert.log`; others stay. A network that cannot be lowered for a format, a writer that fails or crashes
    its process, costs its own file only: its outcome has the reason. With a `proof`, so does the outcome of a file
    that does not run, or whose outputs differ from torch.

    `forms` chooses among the forms of a network, in formats that have several. Formats are written side by side,
    the schemes of a format one after the other. `workers` limits the number of formats at a time; by default there
    is one per processor, as far as memory allows.

    A program that cannot be saved fails in every format. Raises RuntimeError if the device that measures forms is
    lost; there is no manifest then. Raises the errors of `check_formats` and `check_folders`,
    and ValueError for a graph that does not fit its scheme.
    """
    wanted = pairs(formats, [variant.scheme for variant in variants])
    for variant in variants:
        _check_graph(variant)
    places = [place_of(*one) for one in wanted]
    check_folders(out, places)
    with (
        tempfile.TemporaryDirectory(prefix="pocketreel-export-") as scratch,
        export_folder(out, places) as ledger,
    ):
        works = {one.scheme: _work(one, spec, Path(scratch, one.scheme), ledger, forms) for one in variants}
        begun = _Begun(progress, total=len(wanted))

        def format_files(name: str) -> list[ExportOutcome]:
            outcomes = []
            for scheme in (scheme for one, scheme in wanted if one == name):
                with begun.file(f"{name} {scheme}"):
                    work = works[scheme]
                    if isinstance(work, Work):
                        outcomes.append(export_format(name, work))
                    else:
                        outcomes.append(_failed(name, scheme, work, ledger))
            return outcomes

        if workers is None:
            workers = workers_for(CONVERTER_BYTES + COPIES * _largest(Path(scratch)))
        # The format that takes longest begins first, so that no processor waits for it at the end.
        names = sorted(formats, key=lambda name: -EXPORTERS[name].cost)
        written = side_by_side([partial(format_files, name) for name in names], workers=workers)
        by_format = dict(zip(names, written, strict=True))
        outcomes = [outcome for name in formats for outcome in by_format[name]]
        write_json(
            out / MANIFEST_FILE, {**spec.description, "files": [outcome.to_dict() for outcome in outcomes]}
        )
    return outcomes


class _Begun:
    """The files that are being written, for a progress display."""

    def __init__(self, progress: Progress | None, *, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self._names: list[str] = []
        self._lock = Lock()

    @contextmanager
    def file(self, name: str) -> Iterator[None]:
        """Within the context, the file `name` is being written."""
        with self._lock:
            self._names.append(name)
            if self._progress is not None:
                self._progress(", ".join(self._names), self._done, self._total)
        yield
        with self._lock:
            self._names.remove(name)
            self._done += 1


def _largest(scratch: Path) -> int:
    """Bytes of the largest program that was saved."""
    return max((path.stat().st_size for path in scratch.glob(f"*/{PROGRAM_FILE}")), default=0)


def _work(variant: Variant, spec: FileSpec, scratch: Path, ledger: Ledger, forms: Forms) -> Work | Exception:
    """Data shared by the formats of a scheme, with its programs saved; or the error."""
    if isinstance(variant.program, Exception):
        return variant.program
    scratch.mkdir()
    try:
        torch.export.save(variant.program, scratch / PROGRAM_FILE)
        if variant.step is not None:
            torch.export.save(variant.step.program, scratch / STEP_FILE)
        for name, array in (variant.calibration or {}).items():
            (scratch / CALIBRATION_FOLDER).mkdir(exist_ok=True)
            np.save(scratch / CALIBRATION_FOLDER / f"{name}.npy", array)
    except Exception as error:  # of many types, most of them torch's
        return error
    if variant.proof is not None:
        variant.proof.trial.save(scratch)
    in_float = _float_layers(variant.program) if variant.scheme in INT8_SCHEMES else ()
    return Work(
        spec=spec,
        step=None if variant.step is None else variant.step.spec,
        scheme=variant.scheme,
        scratch=scratch,
        rounded=_is_rounded(variant.program),
        ledger=ledger,
        forms=forms,
        proof=variant.proof,
        group_size=variant.group_size,
        notes=(*variant.notes, *_mixed_precision(in_float)),
        float_layers=in_float,
    )


def _float_layers(program: ExportedProgram) -> tuple[str, ...]:
    # Imports torchao.
    from export.quantize.mixed_precision import float_layers

    return float_layers(program)


def _mixed_precision(names: Sequence[str]) -> list[str]:
    return [f"mixed precision: {len(names)} layers in float: {', '.join(names)}"] if names else []


def _failed(name: str, scheme: str, error: Exception, ledger: Ledger) -> ExportOutcome:
    """The outcome of a file whose network cannot be captured, quantized or saved."""
    place = place_of(name, scheme)
    partial = begin(place, ledger)
    (partial / LOG_FILE).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    put_in_place(partial, place, ledger)
    return ExportOutcome(
        format=name,
        scheme=scheme,
        runtime=EXPORTERS[name].runtime,
        path=None,
        failure=in_a_sentence(error),
        log=Path(place, LOG_FILE),
        seconds=0.0,
        peak_rss_bytes=None,
    )


def pairs(formats: Sequence[str], schemes: Sequence[str]) -> list[tuple[str, str]]:
    """The files to write, as format and scheme, by format; raises the errors of `check_formats`."""
    check_formats(formats, schemes)
    return [(name, scheme) for name in formats for scheme in schemes if scheme in EXPORTERS[name].schemes]


def left_out(formats: Sequence[str], schemes: Sequence[str]) -> list[str]:
    """A sentence for each format that does not support one of the schemes and is not written in it."""
    return [
        f"{name} does not support {scheme}: no file is written"
        for name in formats
        for scheme in schemes
        if scheme not in EXPORTERS[name].schemes
    ]


def check_formats(formats: Sequence[str], schemes: Sequence[str]) -> None:
    """Raises ValueError for an unknown or repeated format or scheme, and for one that matches no other."""
    if not formats:
        raise ValueError(f"no format is given; allowed: {', '.join(EXPORTERS)}")
    if not schemes:
        raise ValueError(f"no scheme is given; allowed: {', '.join(SCHEMES)}")
    for what, names, known in (("format", formats, tuple(EXPORTERS)), ("scheme", schemes, SCHEMES)):
        for name in names:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"{what} {name!r} is unknown; allowed: {', '.join(known)}{hint}")
            if list(names).count(name) > 1:
                raise ValueError(f"{what} {name!r} is given twice")
    for name in formats:
        if not set(schemes) & set(EXPORTERS[name].schemes):
            takes = ", ".join(EXPORTERS[name].schemes)
            raise ValueError(
                f"format {name!r} does not support {_either('scheme', schemes)}; it supports {takes}"
            )
    for scheme in schemes:
        able = [name for name, row in EXPORTERS.items() if scheme in row.schemes]
        if not set(formats) & set(able):
            raise ValueError(
                f"{_either('format', formats)} does not support scheme {scheme!r}; formats with {scheme!r}: "
                f"{', '.join(able)}"
            )


def _either(what: str, names: Sequence[str]) -> str:
    return f"{what} {' or '.join(map(repr, names))}"


def _is_rounded(program: ExportedProgram) -> bool:
    """Whether the program has integer weights already."""
    return any("quantized_decomposed" in str(node.target) for node in program.graph.nodes)


def _check_graph(variant: Variant) -> None:
    if isinstance(variant.program, Exception):
        return
    rounded = _is_rounded(variant.program)
    if rounded and variant.scheme in WEIGHT_SCHEMES:
        return
    if rounded != (variant.scheme in INT8_SCHEMES):
        graph, wanted = ("an int8", "w8a8") if rounded else ("a float", "fp32 or fp16")
        raise ValueError(
            f"scheme {variant.scheme!r} was given {graph} graph; such a graph is written as {wanted}"
        )
