"""The order of a measurement: starts, in each start rounds, in each round a turn of every file."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from benchmarks.turns import Turns

FEWEST_INFERENCES = 1024
"""Number of inferences of a measurement with a duration. With a duration of 60 s it is the minimum of MLPerf Mobile
for a single stream: 1024 queries and 60 seconds (https://mlcommons.org/en/inference-mobile-30/)."""

Progress = Callable[[str, int, int], None]
"""`progress(what, done, total)`, called after each step."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What the rounds gave beside the turns of the files."""

    reference: tuple[Turns, Turns] | None
    """A file that ran, and its second measurement in the same rounds."""
    note: str | None
    """Message if the rounds were stopped early."""


def shares(rounds: int, starts: int) -> list[int]:
    """Number of rounds of each start; as many starts as rounds if there are fewer rounds."""
    starts = min(starts, rounds)
    return [(start + 1) * rounds // starts - start * rounds // starts for start in range(starts)]


def take_rounds(
    files: Sequence[Turns],
    inputs: Mapping[str, np.ndarray],
    *,
    with_reference: bool,
    rounds_of_starts: Sequence[int],
    duration_s: float | None,
    max_seconds: float,
    seed: int,
    progress: Progress | None,
) -> Taken:
    """Takes the given number of rounds in each start, in an order within rounds that `seed` determines.

    With a reference, the first file that runs also gets a second measurement. With a duration, the last start
    continues until every file was timed long enough. Stops at the end of the round in which `max_seconds` since
    the first one are exceeded.
    """
    order = random.Random(seed)
    reference: tuple[Turns, Turns] | None = None
    done, rounds, end_s = 0, sum(rounds_of_starts), 0.0
    for start in range(len(rounds_of_starts)):
        planned = sum(rounds_of_starts[: start + 1])
        with ExitStack() as sessions:
            for number, one in enumerate(files, start=1):
                one.begin(inputs, sessions=sessions)
                if start == 0:
                    _report(progress, "load", done=number, total=len(files))
            if start == 0:
                first = next((one for one in files if one.runs), None)
                if with_reference and first is not None:
                    reference = (first, first.again())
                end_s = time.monotonic() + max_seconds
            every = [*files] if reference is None else [*files, reference[1]]
            if reference is not None:
                reference[1].begin(inputs, sessions=sessions)
            while done < planned:
                turns = [one for one in every if one.runs]
                order.shuffle(turns)
                for position, one in enumerate(turns):
                    one.turn(position)
                done += 1
                if done == rounds and not _long_enough(turns, duration_s):
                    planned, rounds = planned + 1, rounds + 1
                _report(progress, "latency", done=done, total=rounds)
                if done < rounds and time.monotonic() > end_s:
                    break
            for one in every:
                one.end()
        if not any(one.runs for one in every):
            break
        if done < rounds and time.monotonic() > end_s:
            note = f"stopped after {done} of {rounds} rounds: the limit of {max_seconds:g} s was exceeded"
            return Taken(reference=reference, note=note)
    return Taken(reference=reference, note=None)


def _long_enough(turns: Sequence[Turns], duration_s: float | None) -> bool:
    """Whether every file that runs was timed for the duration, and for `FEWEST_INFERENCES`."""
    if duration_s is None:
        return True
    running = [one for one in turns if one.runs]
    return all(one.timed_s >= duration_s and one.inferences >= FEWEST_INFERENCES for one in running)


def _report(progress: Progress | None, what: str, *, done: int, total: int) -> None:
    if progress is not None:
        progress(what, done, total)
