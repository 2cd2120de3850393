"""Measures latency and memory of one inference for each exported file.

Files are timed in interleaved rounds of random order, so that other load and a changing clock affect all of them
equally. The rounds are divided among several starts, in each of which every file is loaded in a new process: the
placement of code and data in memory differs between processes and changes the latency by up to a few percent, which
no number of inferences in one process averages out. Kalibera and Jones, Rigorous Benchmarking in Reasonable Time,
2013. `docs/measuring.md` explains the figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.conditions import Conditions, OtherLoad, Watched, judge
from benchmarks.device import MAX_SECONDS, ROUNDS, Device, Unavailable
from benchmarks.energy import Meter, Metered
from benchmarks.exported import Exported
from benchmarks.files import ExportedFile, FileId
from benchmarks.host import HOST
from benchmarks.intervals import FEWEST, median_interval
from benchmarks.rounds import Progress, shares, take_rounds
from benchmarks.runtimes import PEERS, RUNTIMES
from benchmarks.steady import LONGEST_S, TOLERANCE
from benchmarks.turns import TURN_S, Turns
from models.spec import ClipSpec

STARTS = 9
"""Number of starts: the exact interval of the median of 9 values has an error of 3.9 %, close to 5 %."""


@dataclass(frozen=True, kw_only=True)
class FileLatency:
    """Latency of one exported file on one device, batch 1; or the reason why it is missing.

    `p50_ms` is the median over starts of the median of each; the other percentiles are over all `inferences`. The
    interval of `p50_ms` is over starts, because the inferences of one process are correlated; None with too few.
    """

    format: str
    scheme: str
    device: str
    threads: int
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    p50_ci95_ms: tuple[float, float] | None = None
    rounds: int = 0
    starts: int = 0
    """Number of processes in which the file was measured."""
    inferences: int = 0
    timed_s: float = 0.0
    """Sum of the times of all inferences."""
    load_ms: float | None = None
    """Time to load the file in a new process, without the runtime's library: the median over starts. None if the
    device does not time it."""
    first_ms: float | None = None
    """Time of the first inference after loading, likewise."""
    energy_mj: float | None = None
    """Energy of the processor for one inference in millijoules, with all that runs beside it: the median over
    rounds. None if the device does not meter it."""
    energy_absent: str | None = None
    """Reason for missing energy."""
    peak_rss_bytes: int | None = None
    """Largest over starts."""
    model_rss_bytes: int | None = None
    """Increase of the peak by loading and running the file, without the runtime itself; largest over starts."""
    runtime: str | None = None
    """Name and version."""
    unavailable: str | None = None
    """Reason for missing figures."""
    failed: bool = False
    """The file should have run on this device but was refused, crashed or timed out."""
    notes: tuple[str, ...] = ()
    conditions: Conditions | None = None
    """Conditions of the whole measurement; None with too few starts to judge them."""
    round_p50_ms: tuple[float, ...] = field(default=(), repr=False)
    """Median of each round, in temporal order."""
    round_starts: tuple[int, ...] = field(default=(), repr=False)
    """Number of the start of each round, from 0."""
    positions: tuple[int, ...] = field(default=(), repr=False)
    """Position of the file in each round, from 0."""

    @property
    def id(self) -> FileId:
        """The file that was measured."""
        return FileId(self.format, self.scheme)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Latency of a file relative to another, with a 95 % interval (None with too few starts)."""

    value: float
    ci95: tuple[float, float] | None


def measure_latency(
    exported: Exported,
    *,
    device: Device = HOST,
    threads: int = 1,
    rounds: int = ROUNDS,
    starts: int = STARTS,
    duration_s: float | None = None,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[FileLatency]:
    """Latency of every exported file on a device, in the order of the files.

    Inputs are random values in the range given by the manifest. `seed` determines them and the order within rounds.
    In each round, every file runs for about a tenth of a second, at least once. The rounds are divided among
    `starts`, or among as many starts as there are rounds. With enough starts for an interval, the first file that
    runs is measured a second time as a reference (`conditions.py`). With `duration_s`, there are further rounds
    until every file was timed for this many seconds and 1,024 inferences.

    Stops at the end of the round in which `max_seconds` is exceeded, and notes it. A file that cannot run reports
    the reason and does not stop the others. Raises ValueError for invalid `threads`, `rounds` or `starts`.
    """
    return measure_files(
        exported.files,
        random_inputs(exported, seed=seed),
        device=device,
        threads=threads,
        rounds=rounds,
        starts=starts,
        duration_s=duration_s,
        max_seconds=max_seconds,
        seed=seed,
        progress=progress,
    )


def measure_files(
    files: Sequence[ExportedFile],
    inputs: Mapping[str, np.ndarray],
    *,
    device: Device = HOST,
    threads: int = 1,
    rounds: int = ROUNDS,
    starts: int = STARTS,
    duration_s: float | None = None,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[FileLatency]:
    """Latency of any files on the `inputs` of one clip (`1 ...`, by name), as `measure_latency`.

    Raises ValueError for invalid `threads`, `rounds` or `starts`.
    """
    _check(device=device, threads=threads, rounds=rounds, starts=starts)
    if duration_s is not None:
        rounds = max(rounds, math.ceil(duration_s / TURN_S))
    rounds_of_starts = shares(rounds, starts)
    meter, unmetered = _meter(device)
    turns = [Turns(file, device=device, threads=threads, meter=meter) for file in files]
    watch = device.watch() if isinstance(device, Watched) else None
    taken = take_rounds(
        turns,
        inputs,
        with_reference=len(rounds_of_starts) >= FEWEST,
        rounds_of_starts=rounds_of_starts,
        duration_s=duration_s,
        max_seconds=max_seconds,
        seed=seed,
        progress=progress,
    )
    load = None if watch is None else watch.end()
    conditions, notes = None, [] if taken.note is None else [taken.note]
    if taken.reference is not None:
        first, second = taken.reference
        conditions = _conditions(first, second, load=load)
        if first.runs and not second.runs:
            notes.append(
                f"conditions unknown: {first.file.id} failed when measured twice: {second.unavailable}"
            )
    found = [_figures(one, conditions=conditions, notes=notes) for one in turns]
    return [one if one.unavailable else replace(one, energy_absent=unmetered) for one in found]


def random_inputs(exported: Exported, *, seed: int) -> dict[str, np.ndarray]:
    """Random canonical inputs of one clip by name; without a spec, from the shapes of the first file."""
    if exported.spec is not None:
        return inputs_of_spec(exported.spec, seed=seed)
    generator = np.random.default_rng(seed)
    first = next((file for file in exported.files if file.missing is None), None)
    inputs = {}
    for tensor in () if first is None else first.inputs:
        low, high = tensor.value_range or (0, 1)
        values = generator.uniform(low, high, tensor.canonical_shape)
        inputs[tensor.name] = values.round() if "int" in tensor.dtype else values.astype("float32")
    return inputs


def inputs_of_spec(spec: ClipSpec, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Random canonical inputs of one clip by name, in the range that the spec allows."""
    example = zip(spec.inputs, spec.example(seed=seed), strict=True)
    return {name: tensor.numpy() for name, tensor in example}


def _meter(device: Device) -> tuple[Meter | None, str | None]:
    """The energy meter of a device, or the reason why there is none."""
    if not isinstance(device, Metered):
        return None, f"energy: not metered on {device.name}"
    try:
        return device.meter(), None
    except Unavailable as error:
        return None, str(error)


def _conditions(first: Turns, second: Turns, *, load: OtherLoad | None) -> Conditions | None:
    """Conditions from the two measurements of one file; None if it stopped running."""
    once, twice = (_figures(one, conditions=None) for one in (first, second))
    compared = ratio(twice, once)
    if compared is None:
        return None
    return judge(
        str(twice.id),
        twice.round_p50_ms,
        twin_ratio=compared.value,
        twin_ratio_ci95=compared.ci95,
        load=load,
    )


def _figures(one: Turns, *, conditions: Conditions | None, notes: Sequence[str] = ()) -> FileLatency:
    """The figures of a file after its last turn, or the reason why there are none."""
    latency = FileLatency(
        format=one.file.format,
        scheme=one.file.scheme,
        device=one.device.name,
        threads=one.threads,
        unavailable=one.unavailable,
        failed=one.failed,
    )
    if not one.runs:
        return latency
    rounds_ms = np.stack(one.rounds_ns) / 1e6
    numbers = np.array(one.starts)
    start_p50_ms = [float(np.median(rounds_ms[numbers == start])) for start in np.unique(numbers)]
    p90_ms, p99_ms = (float(value) for value in np.percentile(rounds_ms, (90, 99)))
    cold = one.cold_starts
    own_notes = [*(RUNTIMES | PEERS)[one.file.format].notes, *one.notes]
    if one.unsteady:
        own_notes.append(
            f"not steady after {LONGEST_S:g} s in {one.unsteady} of {len(start_p50_ms)} starts: medians of "
            f"successive blocks differed by more than {TOLERANCE:.0%}"
        )
    busy = () if conditions is None else conditions.busy
    return replace(
        latency,
        p50_ms=float(np.median(start_p50_ms)),
        p90_ms=p90_ms,
        p99_ms=p99_ms,
        p50_ci95_ms=median_interval(start_p50_ms),
        rounds=len(rounds_ms),
        starts=len(start_p50_ms),
        inferences=rounds_ms.size,
        timed_s=one.timed_s,
        load_ms=float(np.median([start.load_ms for start in cold])) if cold else None,
        first_ms=float(np.median([start.first_ms for start in cold])) if cold else None,
        energy_mj=float(np.median(one.joules)) * 1e3 if one.joules else None,
        peak_rss_bytes=_largest(memory.peak_rss_bytes for memory in one.memories),
        model_rss_bytes=_largest(memory.model_rss_bytes for memory in one.memories),
        runtime=one.runtime,
        notes=(*own_notes, *notes, *(f"busy machine: {reason}" for reason in busy)),
        conditions=conditions,
        round_p50_ms=tuple(np.median(rounds_ms, axis=1).tolist()),
        round_starts=tuple(one.starts),
        positions=tuple(one.positions),
    )


def _largest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def ratio(file: FileLatency, baseline: FileLatency) -> Ratio | None:
    """Latency of `file` relative to `baseline`, with the interval over starts.

    Both must come from the same `measure_latency` call. None if either has no figures.
    """
    if file.unavailable or baseline.unavailable:
        return None
    logs = log_ratios(file, baseline)
    interval = median_interval(logs)
    return Ratio(
        value=float(np.exp(np.median(logs))),
        ci95=None if interval is None else (float(np.exp(interval[0])), float(np.exp(interval[1]))),
    )


def log_ratios(file: FileLatency, baseline: FileLatency) -> np.ndarray:
    """Natural logarithms of the latency of `file` relative to `baseline`: one independent value per start.

    Each is the median over the rounds of a start of the ratio within a round. The rounds of one start are not
    independent, because they share their processes. Raises ValueError for files of different measurements.
    """
    if file.round_starts != baseline.round_starts:
        raise ValueError(f"{file.id} and {baseline.id} were not measured in the same rounds")
    logs = np.log(file.round_p50_ms) - np.log(baseline.round_p50_ms)
    numbers = np.array(file.round_starts)
    return np.array([np.median(logs[numbers == start]) for start in np.unique(numbers)])


def _check(*, device: Device, threads: int, rounds: int, starts: int) -> None:
    cores = device.describe().cores
    if not 1 <= threads <= cores:
        raise ValueError(f"threads is {threads}: device {device.name!r} has {cores} cores")
    for name, given in (("rounds", rounds), ("starts", starts)):
        if given < 1:
            raise ValueError(f"{name} is {given}: at least 1 is needed, and {FEWEST} for an interval")
