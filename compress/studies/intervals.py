"""False alarms and widths of intervals of a median, in simulated measurements.

Writes `benchmarks/results/intervals.json` and a table of `docs/measuring.md`:

    python -m compress.studies.intervals
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.folders.output import check_output_file, write_output_file
from compress.studies.generated_blocks import check_page, with_block

if not only_reads_arguments(__name__):
    import numpy as np

    from compress.studies.interval_methods import METHODS, NOISES, drift, medians_of_resamples

COUNTS = (6, 9, 10, 15, 30)
"""Numbers of starts."""
SLOWDOWN = 1.03
_BLOCK = "intervals"
_SAMPLES_OF_MEDIAN = 200_000


def main(
    comparisons: Annotated[
        int, typer.Option(min=100, metavar="N", help="Simulated comparisons of each kind.")
    ] = 1000,
    page: Annotated[Path, typer.Option(help="Page for the table.")] = Path("docs/measuring.md"),
    results: Annotated[Path, typer.Option(help="Output path of the figures.")] = Path(
        "benchmarks/results/intervals.json"
    ),
) -> None:
    """Simulates comparisons and writes the share of false alarms, widths and found slowdowns of every method."""
    with exit_codes():
        check_page(page, _BLOCK)
        check_output_file(results, is_ours=lambda content: "rows" in content, option="--results")
    command = f"python -m compress.studies.intervals --comparisons {comparisons}"
    figures = {"command": command, "comparisons": comparisons, "rows": simulated(comparisons)}
    write_output_file(results, json.dumps(figures, indent=1) + "\n", option="--results")
    text = page.read_text(encoding="utf-8")
    write_output_file(page, with_block(text, _BLOCK, table(figures)), option="--page")


def simulated(comparisons: int) -> list[dict[str, Any]]:
    """One row for every figure, noise, number of starts and method.

    Of the figure `ratio`, both files have the same latency; in the rows whose noise ends in "unequal", one is three
    times as sensitive to it. Of the figure `p50`, there is one file, without drift: under drift it has no median.
    """
    rows = []
    for noise, drawn in NOISES.items():
        for count in COUNTS:
            random = np.random.default_rng(count)
            shape = (comparisons, count)
            one, other = drawn(random, shape), drawn(random, shape)
            middle = np.median(drawn(random, (1, _SAMPLES_OF_MEDIAN)))
            unequal = np.median(
                3 * drawn(random, (1, _SAMPLES_OF_MEDIAN)) - drawn(random, (1, _SAMPLES_OF_MEDIAN))
            )
            drifts = drift(random, shape)
            kinds = (
                ("p50", noise, one, middle),
                ("ratio", noise, other - one, 0.0),
                ("ratio", f"{noise}, drift", other + drifts[1] - one - drifts[0], 0.0),
                ("ratio", f"{noise}, unequal", 3 * other - one, unequal),
            )
            for figure, name, values, truth in kinds:
                medians = medians_of_resamples(values)
                for method, interval in METHODS.items():
                    low, high = interval(values, medians)
                    rows.append(
                        {
                            "figure": figure,
                            "noise": name,
                            "starts": count,
                            "method": method,
                            "false_alarms": round(float(np.mean((low > truth) | (high < truth))), 4),
                            "width": round(float(np.median(high - low)), 5),
                            "found": round(float(np.mean(low + np.log(SLOWDOWN) > truth)), 4),
                        }
                    )
    return rows


def table(figures: dict[str, Any]) -> str:
    """For each method and number of starts: mean and largest false alarms over all kinds of noise, and the mean
    width relative to the order statistics."""
    rows = figures["rows"]
    lines = [
        "| method | " + " | ".join(f"{count} starts" for count in COUNTS) + " |",
        "|---" * (len(COUNTS) + 1) + "|",
    ]
    for method in METHODS:
        cells = []
        for count in COUNTS:
            ours = [row for row in rows if row["method"] == method and row["starts"] == count]
            beside = [row for row in rows if row["method"] == "order statistics" and row["starts"] == count]
            alarms = [100 * row["false_alarms"] for row in ours]
            widths = [one["width"] / two["width"] for one, two in zip(ours, beside, strict=True)]
            cells.append(f"{np.mean(alarms):.1f} ({max(alarms):.1f}), {np.exp(np.mean(np.log(widths))):.2f}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_command(main)
