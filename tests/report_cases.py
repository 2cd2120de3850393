"""Reports of unlike runs: devices that die, failed formats, many label columns and classes, hostile names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.top1 import accuracy_of
from compress.report.predictions import STUDENT, Column, changes, compare_predictions
from compress.report_shape import CoverageReport, FileReport, Report
from tests.reports import ON_A_MAC, realistic_report

DEAD = "the connection was lost after 12 of 30 rounds; check the cable and run pocketreel run again"
HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted\" & 'single'",
    "\u202eright to left",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "n" * 300,
    "a|b`c\nd",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f3ac",
    "![x](http://example.org)",
    "",
)
RUNTIMES = {"onnx": "ONNX Runtime 1.31.1", "tflite": "LiteRT 2.3.0", "executorch": "ExecuTorch 1.4.1"}


def several_devices() -> Report:
    """Three devices, the last of which died."""
    return report_of(devices=("host", "board", "phone"), dead="phone")


def five_columns() -> Report:
    """Five label columns."""
    names = ("word", "speaker", "lighting_conditions", "position", "sex")
    return report_of({name: [f"{name} {k}" for k in range(4 + 3 * at)] for at, name in enumerate(names)})


def many_classes(columns: int = 1) -> Report:
    """200 classes in each column."""
    names = [f"action number {k}" for k in range(200)]
    return report_of({f"column {at}": names for at in range(columns)}, clips=1000)


def hostile_names() -> Report:
    """Markup, quotes, control characters, text from right to left, and 300 characters as names."""
    report = report_of({label: list(HOSTILE) for label in ("label", HOSTILE[0], HOSTILE[2], HOSTILE[4])})
    for stage in report["stages"]:
        stage["after"]["tasks"] = {HOSTILE[4]: {"top1": 0.5}}
    report["models"]["student_float"]["tasks"] = {HOSTILE[4]: {"top1": 0.5}}  # type: ignore[index]
    return report


def failed_format() -> Report:
    """A file that could not be written, one that is wrong, and one outside the fast kernels."""
    report = report_of()
    by_name = {(one["format"], one["scheme"]): one for one in report["files"]}
    unmeasured = {"accuracy": _missing(DEAD)[0], "parity": _missing(DEAD)[1], "latency": [], "coverage": None}
    failed, wrong = by_name["tflite", "w8a8"], by_name["onnx", "w8a8"]
    failed.update(unmeasured, status="failed", path=None, size_bytes=None)  # type: ignore[arg-type]
    failed["reason"] = "the converter died: SIGSEGV in tfl.conv_2d (blocks.3.expand, net.py:41)"
    wrong.update(unmeasured, status="wrong")  # type: ignore[arg-type]
    wrong["reason"] = "SQNR of 3.1 dB against float; at least 10 dB is needed"
    by_name["executorch", "w8a8"]["coverage"] = _coverage(0.62)
    return report


def streaming() -> Report:
    """A streaming student, whose files have step programs."""
    report = report_of()
    for one in report["files"]:
        one["step"] = {
            "size_bytes": 91_000 if one["format"] == "onnx" else None,
            "coverage": _coverage(1.0),
            "p50_ms": 0.31,
            "speedup": 5.9,
            "speedup_ci95": (5.7, 6.2),
        }
    return report


def report_of(
    labels: Mapping[str, Sequence[str]] | None = None,
    *,
    devices: Sequence[str] = ("host",),
    dead: str | None = None,
    clips: int = 480,
) -> Report:
    """A report whose figures follow from simulated logits of the float student and its files."""
    labels = labels or {"class": ["left", "right", "up", "down", "near", "far", "turn", "still"]}
    report = realistic_report()
    names = [f"{form}.{scheme}" for form in RUNTIMES for scheme in ("fp32", "w8a8")]
    alive = [device for device in devices if device != dead]
    columns = {
        label: simulated(classes, names, alive, clips=clips, seed=at)
        for at, (label, classes) in enumerate(labels.items())
    }
    report["files"] = [_file(name, at, columns, devices=devices, dead=dead) for at, name in enumerate(names)]
    report["files"].append(_core_ml(devices))
    report["predictions"] = {label: compare_predictions(column) for label, column in columns.items()}
    report["data"] = {
        "source": "folder",
        "train": 960,
        "validation": 240,
        "test": clips,
        "classes": {label: list(classes) for label, classes in labels.items()},
    }
    _set_top1(report, columns)
    report["environment"] |= {
        "device": _description(devices[0], load=7.98),
        "further_devices": {one: None if one == dead else _description(one, load=0.2) for one in devices[1:]},
    }
    report["reproduce"] = "pocketreel run recipes/mobilenet3d_int8.yaml --out out/first"
    return report


def simulated(
    classes: Sequence[str], names: Sequence[str], devices: Sequence[str], *, clips: int, seed: int = 0
) -> Column:
    """Logits of a student that is usually right, and of files that add noise to them; ten clips of each video."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, len(classes), clips)
    logits = 4.0 * np.eye(len(classes))[truth] + random.normal(size=(clips, len(classes)))
    files: dict[str, np.ndarray] = {}
    for name in names:
        noise = 0.5 if name.endswith("w8a8") else 0.0
        noisy = logits + noise * random.normal(size=logits.shape)
        for at, device in enumerate(devices):
            moved = 0.1 * at * noise * random.normal(size=logits.shape)
            files[name if at == 0 else f"{name}.{device}"] = noisy + moved
    videos = [f"videos/{at // 10:03d}.mp4" for at in range(clips)]
    return Column(
        classes=classes,
        truth=truth,
        clips=[f"{video}, {at % 10} to {at % 10 + 1} s" for at, video in enumerate(videos)],
        videos=videos,
        networks={"teacher": 2 * logits, STUDENT: logits},
        files=files,
    )


def _per_column(columns: Mapping[str, Any], figure: Any) -> Any:
    found = {label: figure(column) for label, column in columns.items()}
    return found if len(found) > 1 else next(iter(found.values()))


def _set_top1(report: Report, columns: Mapping[str, Column]) -> None:
    models: Mapping[str, Any] = report["models"]
    for model in models.values():
        model["top1"] = _per_column(columns, lambda one: accuracy_of(one.networks[STUDENT], one.truth).top1)
        model["ci95"] = _per_column(
            columns, lambda one: accuracy_of(one.networks[STUDENT], one.truth).interval
        )
    for stage in report["stages"]:
        stage["after"]["top1"] = models["student_float"]["top1"]
        if "top1" in stage["before"]:
            stage["before"]["top1"] = models["student_float"]["top1"]
        stage["after"].pop("labels_only_top1", None)
    report["robustness"]["rows"] = [  # type: ignore[index]
        {**row, "label": label}
        for label in columns
        for row in report["robustness"]["rows"]  # type: ignore[index,typeddict-item]
    ]


def _file(
    name: str, place: int, columns: Mapping[str, Column], *, devices: Sequence[str], dead: str | None
) -> FileReport:
    form, scheme = name.split(".")
    paired = {label: changes(column) for label, column in columns.items()}
    measured: list[dict[str, Any]] = []
    for at, device in enumerate(devices):
        if device == dead:
            accuracy, parity = _missing(DEAD)
        else:
            stored = name if at == 0 else f"{name}.{device}"
            found = {label: accuracy_of(one.files[stored], one.truth) for label, one in columns.items()}
            accuracy = {
                "top1": _per_column(found, lambda one: one.top1),
                "ci95": _per_column(found, lambda one: one.interval),
                "clips": len(next(iter(columns.values())).truth),
                "runtime": RUNTIMES[form],
                "paired": {label: one[stored] for label, one in paired.items()},
            }
            parity = {
                "max_abs_error": 0.2,
                "sqnr_db": 31.0,
                "top1_agreement": _per_column(columns, lambda _: 0.99),
            }
        measured.append({"device": device, "accuracy": accuracy, "parity": parity})
    return {
        "format": form,
        "path": f"export/{form}/{scheme}/model.{form}",
        "scheme": scheme,
        "size_bytes": 600_000 - 80_000 * place,
        "status": "exported",
        "reason": None,
        "accuracy": measured[0]["accuracy"],
        "parity": measured[0]["parity"],
        "elsewhere": measured[1:],  # type: ignore[typeddict-item]
        "latency": [_latency(place, at, one, dead=dead, scheme=scheme) for at, one in enumerate(devices)],
        "coverage": _coverage(1.0),
        "step": None,
        "notes": ["form: batched frames, the fastest on this machine in one thread"] if place == 0 else [],
    }


def _core_ml(devices: Sequence[str]) -> FileReport:
    accuracy, parity = _missing(ON_A_MAC)
    dead = [_latency(0, at, one, dead=one, scheme="w8a8") for at, one in enumerate(devices)]
    return {
        "format": "coreml",
        "path": "export/coreml/w8a8/model.mlpackage",
        "scheme": "w8a8",
        "size_bytes": 566_075,
        "status": "exported",
        "reason": None,
        "accuracy": accuracy,
        "parity": parity,
        "elsewhere": [{"device": one, "accuracy": accuracy, "parity": parity} for one in devices[1:]],
        "latency": [{**row, "reason": ON_A_MAC} for row in dead],  # type: ignore[typeddict-item]
        "coverage": None,
        "step": None,
    }


def _latency(place: int, at: int, device: str, *, dead: str | None, scheme: str) -> Any:
    row: dict[str, Any] = {"device": device, "threads": 1, "peak_rss_bytes": None}
    if device == dead:
        return {**row, "p50_ms": None, "p90_ms": None, "p99_ms": None, "reason": DEAD}
    p50_ms = (3.1 - 0.4 * place) * (1 + 2.5 * at)
    row |= {"p50_ms": p50_ms, "p90_ms": 1.1 * p50_ms, "p99_ms": (4 if place == 1 else 1.4) * p50_ms}
    row |= {"p50_ci95_ms": (0.98 * p50_ms, 1.03 * p50_ms), "peak_rss_bytes": 61_000_000, "rounds": 30}
    row["round_p50_ms"] = [p50_ms * (1 + 0.004 * (k % 9)) for k in range(30)]
    if scheme != "fp32":
        row |= {"ratio_to_fp32": 0.8, "ratio_to_fp32_ci95": (0.78, 0.83)}
    return row


def _missing(reason: str) -> tuple[Any, Any]:
    return (
        {"top1": None, "ci95": None, "clips": 0, "runtime": None, "reason": reason},
        {"max_abs_error": None, "sqnr_db": None, "top1_agreement": None, "reason": reason},
    )


def _coverage(share: float) -> CoverageReport:
    left = [
        {
            "node": f"conv_{k}",
            "operator": "aten.convolution",
            "macs": 1_000_000,
            "place": "net.py:41: self.conv(x)",
        }
        | {"reason": "a kernel of 3 x 3 x 3 has no fast form"}
        for k in range(8)
    ]
    left.append({"node": "cat", "operator": "aten.cat", "macs": 0, "reason": "moves data", "place": None})
    accelerated = round(33_400_000 * share)
    return {
        "share": share,
        "macs": 33_400_000,
        "accelerated_macs": accelerated,
        "partitions": 1 if share == 1 else 9,
        "left": left if share < 1 else [],  # type: ignore[typeddict-item]
        "source": "the partitioner",
    }


def _description(name: str, *, load: float) -> dict[str, Any]:
    return {
        "name": name,
        "cpu": "Cortex-A76" if name != "host" else "Xeon",
        "cores": 4,
        "memory_bytes": 8_000_000_000,
        "system": "Linux 6.1",
        "governor": None,
        "int8_instructions": ["asimddp"],
        "load_1min": load,
    }
