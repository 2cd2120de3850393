"""Renders the comparison as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from compress.studies.comparison.acceptance import Figures, Line, file_of, geometric_mean, judge, speedups
from compress.studies.comparison.files import CALIBRATION, COREML_CLIPS, FLOAT_CLIPS, MEASURED
from compress.studies.comparison.measure import Effort
from compress.studies.comparison.networks import Row
from compress.studies.published_formats import PUBLISHED_FORMATS
from export import EXPORTERS

_NETWORKS_TEXT = """Weights are random, and BatchNorms have the statistics of their inputs. A network with
`steps` was first trained for this number of steps of 8 clips, on clips of half and then of full size. Its
classifier was then fitted by ridge regression on {fitted} clips of eight generated scenes, or kept from
training (`head`). The clips are easy on purpose: predictions are confident, so that a prediction changed by
int8 is an error. `accuracy` is that of the float network on unseen clips, `margin` the median difference of the
two largest logits relative to the largest magnitude. {calibration} of the fitted clips calibrate int8. `code`
is the start of a hash of the code that exported and measured the files.
"""
_TIME_TEXT = """Latency of the first relative to the second: more than 1 means that the second is faster. In the
columns with a peer, less is better. One thread, batch 1, median over {rounds} interleaved rounds, 95 %
interval.
"""
_AGREEMENT_TEXT = """Float files: largest error relative to the largest logit, on {few} clips. Int8 files: top-1
agreement with the float network / with the torch int8 reference, on {clips} clips. Core ML: on Linux by
Pocketreel's reference interpreter of the saved program, not by Apple's runtime; int8 on {coreml} clips.
"""
_COVERAGE_TEXT = """Share of the multiply-adds in accelerated kernels, and number of partitions; float / int8.
The last column counts convolutions that compute in float in the int8 ONNX file.
"""

HEADING = "# Comparison\n\nWritten by `python -m compress.studies.comparison"
"""First lines of a page of this command."""

_RATIOS = {
    "naive / float, onnx": "naive / float ONNX",
    "float / int8, onnx": "float / int8 ONNX Runtime",
    "float / int8, tflite": "float / int8 LiteRT",
    "float / int8, executorch": "float / int8 ExecuTorch",
    "best int8 / peer float": "best int8 / OpenVINO float",
    "best int8 / peer int8": "best int8 / OpenVINO int8",
}
_VERDICTS = {True: "holds", False: "**does not hold**", None: "not measured"}


def page(
    figures: Figures, *, failed: Mapping[str, str], effort: Effort, machine: str, versions: str, command: str
) -> str:
    """Markdown with the acceptance lines, the ratios of time, the agreement, the coverage and what failed."""
    return "\n".join(
        [
            f"# Comparison\n\nWritten by `{command}`; all figures are in `benchmarks/results/comparison.json`.\n",
            f"Machine: {machine}. {versions}. Seed {effort.seed}.\n",
            "## Acceptance\n",
            *_table(("line", "verdict", "found"), map(_line, judge(figures))),
            *_means(figures),
            f"## Networks\n\n{_NETWORKS_TEXT.format(fitted=effort.fitted, calibration=CALIBRATION)}",
            *_table(_NETWORK, (_network(*one) for one in figures.items())),
            f"## Time\n\n{_TIME_TEXT.format(rounds=effort.rounds)}",
            *_table(("network", *_RATIOS.values()), (_times(*one) for one in figures.items())),
            "Milliseconds (p50) of the same runs on this machine, comparable only within a row:\n",
            *_table(_MILLISECONDS, (_milliseconds(*one) for one in figures.items())),
            f"## Agreement\n\n{_AGREEMENT_TEXT.format(few=FLOAT_CLIPS, clips=effort.clips, coreml=COREML_CLIPS)}",
            *_table(_AGREEMENT, (_agreement(*one) for one in figures.items())),
            f"## Coverage\n\n{_COVERAGE_TEXT}",
            *_table(_COVERAGE, (_coverage(*one) for one in figures.items())),
            *_failures(figures, failed),
        ]
    )


def _means(figures: Figures) -> list[str]:
    rows = []
    for kind in ("dense", "depthwise", "factorised", "other"):
        found = speedups(figures, "naive / float, onnx", partial(_is, kind))
        if found:
            slowest = min(found, key=lambda name: found[name])
            mean = f"{geometric_mean(found.values()):.2f}x"
            rows.append((kind, str(len(found)), mean, f"{slowest}, {found[slowest]:.2f}x"))
    title = "Float ONNX relative to the naive export, by type of temporal convolution:"
    return [title, "", *_table(("kind", "networks", "geometric mean", "slowest"), rows)]


def _is(kind: str, row: Row) -> bool:
    return row.kind == kind


def _line(line: Line) -> tuple[str, ...]:
    return line.text, _VERDICTS[line.holds], line.found


def _times(name: str, network: Mapping[str, Any]) -> tuple[str, ...]:
    return name, *(_ratio(network["ratios"].get(ratio)) for ratio in _RATIOS)


def _ratio(ratio: Mapping[str, Any] | None) -> str:
    if ratio is None:
        return ""
    interval = "" if ratio["ci95"] is None else " [{:.2f}, {:.2f}]".format(*ratio["ci95"])
    return f"{ratio['value']:.2f}{interval}"


_ARMS = (
    ("naive", "onnx"),
    *(("float", format) for format in MEASURED),
    *(("int8", format) for format in MEASURED),
    ("peer float", "openvino"),
    ("peer int8", "openvino"),
)
_MILLISECONDS = ("network", *(f"{origin} {format}" for origin, format in _ARMS))


def _milliseconds(name: str, network: Mapping[str, Any]) -> tuple[str, ...]:
    cells = []
    for origin, format in _ARMS:
        file = file_of(network, origin, format)
        latency = file and file["latency"]
        cells.append(f"{latency['p50_ms']:.2f}" if latency and latency["p50_ms"] else "")
    return name, *cells


_FLOAT_HEADS = tuple(f"float {EXPORTERS[format].runtime}" for format in PUBLISHED_FORMATS)
_INT8_HEADS = tuple(f"int8 {EXPORTERS[format].runtime}" for format in PUBLISHED_FORMATS)
_NETWORK = ("network", "frames x side", "width", "parameters", "steps", "head", "accuracy", "margin", "code")


def _network(name: str, network: Mapping[str, Any]) -> tuple[str, ...]:
    row, classifier = network["row"], network["classifier"]
    return (
        name,
        f"{row['frames']} x {row['size']}",
        f"{row['width']:g}",
        f"{network['parameters'] / 1e6:.2f} M",
        f"{row['small_steps']} + {row['steps']}" if row["small_steps"] else str(row["steps"]),
        "ridge" if row["ridge"] else "trained",
        f"{classifier['accuracy']:.1%}",
        f"{classifier['margin']:.2f}",
        network["code"],
    )


_AGREEMENT = ("network", *_FLOAT_HEADS, *_INT8_HEADS)


def _agreement(name: str, network: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        name,
        *(_float_error(file_of(network, "float", format)) for format in PUBLISHED_FORMATS),
        *(_int8_agreement(file_of(network, "int8", format)) for format in PUBLISHED_FORMATS),
    )


def _float_error(file: Mapping[str, Any] | None) -> str:
    parity = file and file["parity"]
    if not parity or "float" not in parity or parity["float"]["relative_error"] is None:
        return "failed" if file is None or file["status"] == "failed" else "unknown"
    return f"{parity['float']['relative_error']:.0e}"


def _int8_agreement(file: Mapping[str, Any] | None) -> str:
    parity = file and file["parity"]
    if not parity or "float" not in parity:
        return "failed" if file is None or file["status"] == "failed" else "unknown"
    shares = [parity[name]["top1_agreement"] for name in ("float", "reference") if name in parity]
    return " / ".join(f"{share:.1%}" for share in shares)


_COVERAGE = (
    "network",
    *(EXPORTERS[format].runtime for format in MEASURED),
    "float convolutions",
)


def _coverage(name: str, network: Mapping[str, Any]) -> tuple[str, ...]:
    cells = []
    for format in MEASURED:
        files = [file_of(network, origin, format) for origin in ("float", "int8")]
        cells.append(" / ".join(_share(file and file["coverage"]) for file in files))
    int8 = file_of(network, "int8", "onnx")
    convolutions = str(int8["coverage"]["float_convolutions"]) if int8 and int8["coverage"] else "unknown"
    return name, *cells, convolutions


def _share(coverage: Mapping[str, Any] | None) -> str:
    if not coverage:
        return "unknown"
    parts = "" if coverage["partitions"] is None else f" ({coverage['partitions']})"
    return f"{100 * coverage['share']:.4g} %{parts}"


def _failures(figures: Figures, failed: Mapping[str, str]) -> list[str]:
    rows = [(name, "all", "failed", reason) for name, reason in failed.items()]
    for name, network in figures.items():
        for file in network["files"]:
            if file["status"] != "exported":
                what = f"{file['origin']} {file['format']}"
                rows.append((name, what, file["status"], file["reason"] or ""))
            latency = file["latency"]
            if file["status"] == "exported" and latency and latency["unavailable"]:
                what = f"{file['origin']} {file['format']}"
                rows.append((name, what, "not measured", latency["unavailable"]))
    if not rows:
        return []
    return ["## Failures", "", *_table(("network", "file", "outcome", "reason"), rows)]


def _table(heads: Sequence[str], rows: Any) -> list[str]:
    lines = [tuple(heads), ("---",) * len(heads), *rows]
    return [*(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines), ""]
