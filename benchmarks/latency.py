"""Measures latency and memory of one inference for each exported file.

All files are loaded first, each in its own process. They are then timed in interleaved rounds of random order, so
that other load and a changing clock affect all of them equally; two files are compared round by round.
`docs/measuring.md` explains the figures.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.device import (
    MAX_SECONDS,
    ROUNDS,
    Device,
    Session,
    SessionFailed,
    Unavailable,
)
from benchmarks.exported import Exported
from benchmarks.files import ExportedFile, FileId
from benchmarks.host import HOST
from benchmarks.runtimes import PEERS, RUNTIMES

_WARM_UP_S = 0.3
_TURN_S = 0.1
_SETTLE_S = 0.05
"""Pause before each turn with several threads: those of ONNX Runtime spin for about 30 ms after an inference and
would slow down the next file."""
_MOST_INFERENCES = 200
_RESAMPLES = 2000
_FEWEST_ROUNDS = 6
"""Fewest rounds for a 95 % interval: all of n medians lie on one side of the true median with probability 2 *
0.5^n."""

Progress = Callable[[str, int, int], None]
"""`progress(what, done, total)`, called after each step."""


@dataclass(frozen=True, kw_only=True)
class FileLatency:
    """Latency of one exported file on one device, batch 1; or the reason why it is missing.

    Percentiles are over all `inferences` of all rounds. The interval of p50 is a bootstrap over whole rounds,
    because the inferences of one round are correlated.
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
    inferences: int = 0
    peak_rss_bytes: int | None = None
    model_rss_bytes: int | None = None
    """Increase of the peak by loading and running the file, without the runtime itself."""
    runtime: str | None = None
    """Name and version."""
    unavailable: str | None = None
    """Reason for missing figures."""
    failed: bool = False
    """The file should have run on this device but was refused, crashed or timed out."""
    notes: tuple[str, ...] = ()
    round_p50_ms: tuple[float, ...] = field(default=(), repr=False)
    """Median of each round, in temporal order."""
    positions: tuple[int, ...] = field(default=(), repr=False)
    """Position of the file in each round, from 0."""

    @property
    def id(self) -> FileId:
        """The file that was measured."""
        return FileId(self.format, self.scheme)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Latency of a file relative to another, with a 95 % interval (None with too few rounds)."""

    value: float
    ci95: tuple[float, float] | None


def measure_latency(
    exported: Exported,
    *,
    device: Device = HOST,
    threads: int = 1,
    rounds: int = ROUNDS,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[FileLatency]:
    """Latency of every exported file on a device, in the order of the files.

    Inputs are random values in the range given by the manifest. `seed` determines them and the order within rounds.
    In each round, every file runs for about a tenth of a second, at least once. Stops at the end of the round in
    which `max_seconds` is exceeded, and notes it. A file that cannot run reports the reason and does not stop the
    others. Raises ValueError for invalid `threads` or `rounds`.
    """
    return measure_files(
        exported.files,
        _random_inputs(exported, seed=seed),
        device=device,
        threads=threads,
        rounds=rounds,
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
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[FileLatency]:
    """Latency of any files on the `inputs` of one clip (`1 ...`, by name), as `measure_latency`.

    Raises ValueError for invalid `threads` or `rounds`.
    """
    _check(device=device, threads=threads, rounds=rounds)
    runners = [_Runner(file, device=device, threads=threads) for file in files]
    with ExitStack() as sessions:
        for done, runner in enumerate(runners, start=1):
            runner.prepare(inputs, sessions=sessions)
            _report(progress, "load", done=done, total=len(runners))
        note = _take_turns(runners, rounds=rounds, max_seconds=max_seconds, seed=seed, progress=progress)
        for runner in runners:
            if runner.runs:
                runner.finish(note)
    return [runner.latency for runner in runners]


def _random_inputs(exported: Exported, *, seed: int) -> dict[str, np.ndarray]:
    """Canonical inputs of one clip by name; without a spec, from the shapes of the first file."""
    if exported.spec is not None:
        example = exported.spec.example(seed=seed)
        return {name: tensor.numpy() for name, tensor in zip(exported.spec.inputs, example, strict=True)}
    generator = np.random.default_rng(seed)
    first = next((file for file in exported.files if file.missing is None), None)
    inputs = {}
    for tensor in () if first is None else first.inputs:
        low, high = tensor.value_range or (0, 1)
        values = generator.uniform(low, high, tensor.canonical_shape)
        inputs[tensor.name] = values.round() if "int" in tensor.dtype else values.astype("float32")
    return inputs


def ratio(file: FileLatency, baseline: FileLatency) -> Ratio | None:
    """Latency of `file` relative to `baseline`: the median over rounds of the ratio within a round.

    Both must come from the same `measure_latency` call. None if either has no figures or they share no rounds. The
    interval is a bootstrap over rounds.
    """
    shared = min(len(file.round_p50_ms), len(baseline.round_p50_ms))
    if shared == 0 or file.unavailable or baseline.unavailable:
        return None
    ratios = np.array(file.round_p50_ms[:shared]) / np.array(baseline.round_p50_ms[:shared])
    return Ratio(value=float(np.median(ratios)), ci95=median_interval(ratios[:, None]))


class _Runner:
    """The session of one file and its measurements so far."""

    _session: Session

    def __init__(self, file: ExportedFile, *, device: Device, threads: int) -> None:
        self.latency = FileLatency(
            format=file.format,
            scheme=file.scheme,
            device=device.name,
            threads=threads,
            unavailable=file.missing,
        )
        self._device = device
        self._file = file
        self._rounds_ns: list[np.ndarray] = []
        self._positions: list[int] = []

    @property
    def runs(self) -> bool:
        """Whether the file can still be measured."""
        return self.latency.unavailable is None

    def prepare(self, inputs: Mapping[str, np.ndarray], *, sessions: ExitStack) -> None:
        """Loads the file, warms it up and determines the number of inferences per turn."""
        if not self.runs:
            return
        try:
            self._session = sessions.enter_context(self._device.open(self._file))
            runtime = self._session.load(threads=self.latency.threads)
            self._session.hold(inputs)
            first_s = float(self._session.time_runs(1)[0]) / 1e9
            warm_up = min(_MOST_INFERENCES, math.ceil(_WARM_UP_S / first_s))
            one_s = float(np.median(self._session.time_runs(warm_up))) / 1e9
            notes = self._device.describe().notes
        except (Unavailable, SessionFailed) as error:
            self._give_up(error)
            return
        self._inferences = min(_MOST_INFERENCES, math.ceil(_TURN_S / one_s))
        self.latency = replace(
            self.latency, runtime=runtime, notes=(RUNTIMES | PEERS)[self._file.format].notes + notes
        )

    def turn(self, position: int) -> None:
        """Runs one turn at position `position` of its round."""
        if self.latency.threads > 1:
            time.sleep(_SETTLE_S)
        try:
            self._rounds_ns.append(self._session.time_runs(self._inferences))
            self._positions.append(position)
        except (Unavailable, SessionFailed) as error:
            self._give_up(error)

    def finish(self, note: str | None) -> None:
        """Computes the figures; reads the peak memory, after all inferences."""
        try:
            memory = self._session.memory()
        except (Unavailable, SessionFailed) as error:
            self._give_up(error)
            return
        rounds_ms = np.stack(self._rounds_ns) / 1e6
        p50_ms, p90_ms, p99_ms = (float(value) for value in np.percentile(rounds_ms, (50, 90, 99)))
        self.latency = replace(
            self.latency,
            p50_ms=p50_ms,
            p90_ms=p90_ms,
            p99_ms=p99_ms,
            p50_ci95_ms=median_interval(rounds_ms),
            rounds=len(rounds_ms),
            inferences=rounds_ms.size,
            peak_rss_bytes=memory.peak_rss_bytes,
            model_rss_bytes=memory.model_rss_bytes,
            notes=self.latency.notes + self._session.notes + ((note,) if note else ()),
            round_p50_ms=tuple(np.median(rounds_ms, axis=1).tolist()),
            positions=tuple(self._positions),
        )

    def _give_up(self, error: Unavailable | SessionFailed) -> None:
        self.latency = replace(self.latency, unavailable=str(error), failed=isinstance(error, SessionFailed))


def _take_turns(
    runners: list[_Runner], *, rounds: int, max_seconds: float, seed: int, progress: Progress | None
) -> str | None:
    """Runs the rounds; returns a note if they were stopped early."""
    order = random.Random(seed)
    begin_s = time.monotonic()
    for done in range(1, rounds + 1):
        turns = [runner for runner in runners if runner.runs]
        order.shuffle(turns)
        for position, runner in enumerate(turns):
            runner.turn(position)
        _report(progress, "latency", done=done, total=rounds)
        if done < rounds and time.monotonic() - begin_s > max_seconds:
            return f"stopped after {done} of {rounds} rounds: the limit of {max_seconds:g} s was exceeded"
    return None


def median_interval(rounds: np.ndarray, *, seed: int = 0) -> tuple[float, float] | None:
    """95 % percentile-bootstrap interval of the median of all values of `rounds` (one row per round).

    Rows are drawn as a whole, because the values of one round are correlated. None with fewer rounds than can
    support a 95 % interval. Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    if len(rounds) < _FEWEST_ROUNDS:
        return None
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(rounds), size=(_RESAMPLES, len(rounds)))
    low, high = np.percentile([np.median(rounds[rows]) for rows in drawn], (2.5, 97.5))
    return float(low), float(high)


def _check(*, device: Device, threads: int, rounds: int) -> None:
    cores = device.describe().cores
    if not 1 <= threads <= cores:
        raise ValueError(f"threads is {threads}: device {device.name!r} has {cores} cores")
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}: at least 1 is needed, and {_FEWEST_ROUNDS} for an interval")


def _report(progress: Progress | None, what: str, *, done: int, total: int) -> None:
    if progress is not None:
        progress(what, done, total)
