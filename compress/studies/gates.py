"""`python -m compress.studies.gates`: how often gates are wrong, by simulation.

Draws answers and latencies with known differences, and counts the verdicts of the gates. Writes the figures to
`benchmarks/results/gates.json`, from which `docs/gates.md` has its tables. Seeds are fixed, so the figures repeat.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output
from compress.folders.output import check_output_file, write_output_file

if not only_reads_arguments(__name__):
    import numpy as np

    from benchmarks.exported import read_export
    from benchmarks.host import Host
    from benchmarks.latency import inputs_of_spec
    from compress.gating.evidence import decide, tested_drop
    from compress.gating.latency import decide_files, decide_ratio
    from compress.gating.pairs import cross_entropy
    from compress.gating.settings import LatencyGate
    from compress.paired import by_file, excess_p

RESULTS = Path("benchmarks/results/gates.json")
ALPHA, POWER = 0.05, 0.8
DRAWS = 2000
_ROUNDS, _LOOKS = 8, 4

Row = dict[str, Any]


def main(
    out: Annotated[Path, typer.Option(help="Output file (JSON).")] = RESULTS,
    draws: Annotated[int, typer.Option(min=100, metavar="N", help="Draws for each row.")] = DRAWS,
    export_dir: Annotated[
        Path | None,
        typer.Option("--export", help="Only compare every file of this export with itself, in its runtime."),
    ] = None,
    pairs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Comparisons of each file of --export.")
    ] = 20,
) -> None:
    """Simulates gates on differences that are known, and writes how often each verdict is given.

    With --export, compares real files with themselves, which has no difference, and adds that to the figures.

    Exit codes: 0 done, 2 an argument is invalid.
    """
    console = output()
    with exit_codes():
        check_output_file(out, is_ours=lambda content: not {"draws", "real_latency"}.isdisjoint(content))
        found = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
        todo: dict[str, Callable[[], Iterator[Row]]]
        if export_dir is not None:
            measured = export_dir
            todo = {"real_latency": lambda: real_latency(measured, pairs)}
        else:
            found["draws"] = draws
            todo = {name: partial(simulate, draws) for name, simulate in SIMULATIONS.items()}
        for name, simulate in todo.items():
            found[name] = []
            for row in simulate():
                found[name].append(row)
                console.print(f"{name}: {row}")
            write_output_file(out, json.dumps(found, indent=1) + "\n")


def no_regression(draws: int) -> Iterator[Row]:
    """`accuracy: {}`: no drop, and a drop of 2 points, for numbers of clips and shares of flips."""
    for clips, flips in ((400, 0.0275), (400, 0.05), (800, 0.05), (800, 0.1), (1600, 0.1)):
        for drop in (0.0, 0.02):
            changes = _changes(clips, flips=flips, drop=drop, draws=draws)
            verdicts = _counted(
                _of_counts(change, allowed=0.0, excluded=0.02, level=0.2) for change in changes
            )
            yield {"clips": clips, "flips": flips, "drop_pp": 100 * drop, **verdicts}


def within_limit(draws: int) -> Iterator[Row]:
    """`accuracy: {max_drop_pp: 2}`: no drop, one of exactly the limit, and twice that."""
    for clips, flips in ((400, 0.05), (800, 0.05)):
        for drop in (0.0, 0.02, 0.04):
            changes = _changes(clips, flips=flips, drop=drop, draws=draws // 4)
            verdicts = _counted(
                _of_counts(change, allowed=0.02, excluded=0.02, level=ALPHA) for change in changes
            )
            yield {"clips": clips, "flips": flips, "drop_pp": 100 * drop, **verdicts}


def correlated(draws: int) -> Iterator[Row]:
    """False alarms of `accuracy: {}`, where eight clips of each file change together: by file, and by clip."""
    random = np.random.default_rng(3)
    files, each = 100, 8
    names = np.repeat(np.arange(files), each).tolist()
    alarms = Counter[str]()
    for _ in range(draws):
        change = np.repeat(random.choice([-1, 0, 1], size=files, p=(0.05, 0.9, 0.05)), each)
        alarms["file"] += excess_p(by_file(change, names).values) <= ALPHA
        alarms["clip"] += excess_p(change) <= ALPHA
    for unit in ("file", "clip"):
        yield {"unit": unit, "files": files, "clips": files * each, "fail": alarms[unit] / draws}


def sensitivity(draws: int) -> Iterator[Row]:
    """Cross-entropy against right and wrong, where every logit loses a little: 400 clips, two classes."""
    random = np.random.default_rng(4)
    clips = 400
    files = list(map(str, range(clips)))
    truth = np.zeros(clips, dtype=int)
    for shift in (0.0, 0.1, 0.2):
        found = {"top-1": Counter[str](), "cross-entropy": Counter[str]()}
        for _ in range(draws // 5):
            margins = random.normal(2.0, 1.5, clips)
            noise = random.normal(0.0, 0.15, (2, clips))
            before, after = margins + noise[0], margins + noise[1] - shift
            change = (before > 0).astype(int) - (after > 0).astype(int)
            found["top-1"]["fail" if excess_p(by_file(change, files).values) <= ALPHA else "other"] += 1
            was, now = (cross_entropy(np.stack([side, 0 * side], 1), truth) for side in (before, after))
            worse = by_file(now - was, files).values
            found["cross-entropy"]["fail" if excess_p(worse) <= ALPHA else "other"] += 1
        for figure, counted in found.items():
            yield {"figure": figure, "shift": shift, "fail": counted["fail"] / counted.total()}


def latency(draws: int) -> Iterator[Row]:
    """`latency: {}`: four looks of eight rounds, with noise of 3 % of heavy tails (t, 3 degrees of freedom)."""
    for ratio in (1.0, 1.05, 1.1):
        random = np.random.default_rng(5)
        counted, rounds = Counter[str](), 0
        for _ in range(draws):
            noise = 0.03 / np.sqrt(3) * random.standard_t(3, _ROUNDS * _LOOKS)
            logs = (np.log(ratio) + noise).tolist()
            for look in range(1, _LOOKS + 1):
                found = decide_ratio(logs[: look * _ROUNDS], limit=1.05, look=look, looks=_LOOKS, alpha=ALPHA)
                if found.verdict != "inconclusive":
                    break
            counted[found.verdict] += 1
            rounds += look * _ROUNDS
        yield {"ratio": ratio, **_shares(counted), "rounds": rounds / draws}


def real_latency(export_dir: Path, pairs: int) -> Iterator[Row]:
    """`latency: {}` on this machine: every file that runs here against itself, in two processes."""
    exported = read_export(export_dir)
    inputs = inputs_of_spec(exported.clip_spec())
    for file in exported.files:
        ratios: list[float] = []
        counted = Counter[str]()
        with Host() as device:
            for _ in range(pairs):
                found = decide_files(
                    LatencyGate(), file, file, inputs, device=device, alpha=ALPHA, progress=None
                )
                if isinstance(found, str) or found.ratio is None:
                    break
                counted[found.verdict] += 1
                ratios.append(found.ratio)
        if ratios:
            ends = {"lowest ratio": min(ratios), "highest ratio": max(ratios)}
            yield {"file": str(file.id), "comparisons": len(ratios), **ends, **_shares(counted)}


SIMULATIONS: Mapping[str, Callable[[int], Iterator[Row]]] = {
    "no_regression": no_regression,
    "within_limit": within_limit,
    "correlated": correlated,
    "sensitivity": sensitivity,
    "latency": latency,
}


def tables(stored: Mapping[str, Any]) -> Iterator[str]:
    """The tables of `docs/gates.md` from the stored figures."""
    verdicts = ("fail", "inconclusive", "pass")
    yield "No regression, `accuracy: {}`, error rate 5 %, power 0.8 at 2 points:\n"
    yield from _table(stored["no_regression"], ("clips", "flips", "drop_pp", *verdicts))
    yield "Within a limit, `accuracy: {max_drop_pp: 2}`:\n"
    yield from _table(stored["within_limit"], ("clips", "flips", "drop_pp", *verdicts))
    yield "No drop, and eight clips of each file that change together; the gate counts files:\n"
    yield from _table(stored["correlated"], ("unit", "files", "clips", "fail"))
    yield "Every logit of 400 clips loses `shift` (two classes), shares of draws in which a loss is found:\n"
    yield from _table(stored["sensitivity"], ("figure", "shift", "fail"))
    yield "Latency, `latency: {}`, at most four looks of eight rounds, noise of 3 % with heavy tails:\n"
    yield from _table(stored["latency"], ("ratio", *verdicts, "rounds"))
    if stored.get("real_latency"):
        yield "Real files in their runtimes, each against itself, on a machine with other work:\n"
        columns = ("file", "comparisons", "lowest ratio", "highest ratio", *verdicts)
        yield from _table(stored["real_latency"], columns)
    yield f"Each simulated row is over {stored['draws']:,} draws or a part of them (`compress/studies/gates.py`).\n"


def _table(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[str]:
    names = {"drop_pp": "true drop", "rounds": "mean rounds", "ratio": "true ratio"}
    yield "| " + " | ".join(names.get(column, column) for column in columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(_cell(column, row[column]) for column in columns) + " |"
    yield ""


def _cell(column: str, value: Any) -> str:
    if column in ("fail", "inconclusive", "pass"):
        return f"{100 * value:.1f} %"
    if column in ("lowest ratio", "highest ratio"):
        return f"{value:.3f}"
    if column == "flips":
        return f"{100 * value:g} %"
    if column == "drop_pp":
        return f"{value:g} points"
    return f"{value:.3g}" if column == "rounds" else str(value)


def _changes(clips: int, *, flips: float, drop: float, draws: int) -> np.ndarray:
    """Losses, gains and unchanged clips of each draw: `draws 3`."""
    random = np.random.default_rng([clips, round(1e4 * flips), round(1e4 * drop)])
    loss, gain = (flips + drop) / 2, (flips - drop) / 2
    counts = random.multinomial(clips, (loss, gain, 1 - loss - gain), size=draws)
    return counts


def _of_counts(counts: np.ndarray, *, allowed: float, excluded: float, level: float) -> str:
    losses, gains, rest = map(int, counts)
    return _verdict(losses, gains, losses + gains + rest, allowed, excluded, level)


@cache
def _verdict(losses: int, gains: int, clips: int, allowed: float, excluded: float, level: float) -> str:
    change = np.repeat([1, -1, 0], (losses, gains, clips - losses - gains))
    found = tested_drop(change, list(map(str, range(clips))), allowed=allowed, excluded=excluded)
    return decide(found.worse_p, found.within_p, alpha=ALPHA, level=level)


def _counted(verdicts: Iterator[str]) -> dict[str, float]:
    return _shares(Counter(verdicts))


def _shares(counted: Counter[str]) -> dict[str, float]:
    return {word: counted[word] / counted.total() for word in ("fail", "inconclusive", "pass")}


if __name__ == "__main__":
    run_command(main)
