"""The benchmark step: measures exported files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.accuracy import FileAccuracy
from benchmarks.exported import read_export
from benchmarks.files import FileId
from benchmarks.latency import FileLatency, ratio
from benchmarks.measure import Effort, Measurement, check_threads, measure
from benchmarks.predictions import FOLDER, TORCH, keep_predictions, predictions_name
from benchmarks.streaming import measure_streaming
from compress.chance import predicted_classes
from compress.command.progress import bar
from compress.command.terminal import headed
from compress.folders.keys import Key
from compress.folders.ledger import Ledger
from compress.folders.results import reason_against
from compress.folders.source import imports_of
from compress.steps.export import Exported, file_id
from compress.steps.kept import forget, keep, kept
from compress.steps.pipeline import Run, StageOutcome, StepFailed, shares
from compress.store import content_key
from compress.training import per_label
from compress.versions import FILES, installed
from export.verify.parity import compare

BENCHMARK = "benchmark.json"


def check_settings(run: Run) -> None:
    """Raises `ValueError` for settings that this machine does not support."""
    settings = run.recipe.benchmark
    try:
        check_threads(settings.named_devices, settings.threads)
    except ValueError as error:
        raise ValueError(f"benchmark.{error}") from None


@dataclass(frozen=True, kw_only=True)
class FileFigures:
    """Figures of one exported file, in the format of the report."""

    accuracy: dict[str, Any]
    parity: dict[str, Any]
    elsewhere: list[dict[str, Any]]
    latency: list[dict[str, Any]]
    notes: list[str]
    step: dict[str, Any] | None = None
    """Latency of the step program of a streaming student."""

    @property
    def failed(self) -> bool:
        """Whether the file should have run on a device and did not."""
        others = (one["accuracy"] for one in self.elsewhere)
        return any(part.get("failed", False) for part in (self.accuracy, *others, *self.latency))

    @property
    def busy(self) -> list[str]:
        """By device, why the latency was measured on a busy machine."""
        return [f"{row['device']}: {reason}" for row in self.latency for reason in row.get("busy", ())]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Figures of all exported files."""

    files: dict[FileId, FileFigures]
    devices: dict[str, dict[str, Any] | None]
    """Description of every device by name; None for one that could not be used."""

    @property
    def busy(self) -> list[str]:
        """By device, why its latencies were measured on a busy machine."""
        return list(dict.fromkeys(reason for one in self.files.values() for reason in one.busy))

    @property
    def complete(self) -> bool:
        """Whether all devices could be used, no file failed, and no machine was busy."""
        failed = any(one.failed for one in self.files.values())
        return not (failed or self.busy or None in self.devices.values())


def benchmark(run: Run, networks: Mapping[str, StageOutcome], exported: Exported) -> Benchmark:
    """Accuracy, parity and latency of every exported file in its own runtime, on every device.

    `networks` has the torch network of each scheme; parity compares with its logits on the test split. Files that
    miss their pass criterion are not measured.

    Cached in `benchmark.json` for equal files, clips, settings, runtimes and processor; not cached if a file should
    have run and did not, a device could not be used, or a machine was busy. Predictions for each clip are written
    to `predictions/`.
    """
    settings = run.recipe.benchmark
    devices = settings.named_devices
    key = content_key(
        code=[
            *imports_of(__name__, package="benchmarks"),
            *(one.module for one in devices.values()),
            *("compress.chance", "export.verify.parity"),
        ],
        alone=[__name__],
        files={str(file_id(row)): row["sha256"] for row in exported.rows},
        clips=run.data.test.digest,
        settings=settings.model_dump(mode="json"),
        runtimes=installed(FILES),
        devices={name: one.identity() for name, one in devices.items()},
    )
    if _predictions_are_complete(run, key):
        earlier = kept(run, BENCHMARK, key=key, title="benchmark")
        if earlier is not None:
            files = {FileId(*name.split(".")): FileFigures(**one) for name, one in earlier["files"].items()}
            return Benchmark(files=files, devices=earlier["devices"])
    written = [file_id(row) for row in exported.rows if row["status"] == "exported"]
    measured: list[Measurement] = []
    if written:
        try:
            with bar(run.console, "benchmark") as report:
                measured = measure(
                    read_export(exported.folder).only(written),
                    devices=devices,
                    clips=run.data.test.for_spec(run.student_spec),
                    effort=Effort(threads=settings.threads, rounds=settings.rounds, seed=run.recipe.seed),
                    progress=report,
                )
        except (ValueError, RuntimeError, OSError) as error:
            raise StepFailed(f"benchmark: {error}") from error
        _keep_predictions(run, key, measured, networks)
    steps = _steps(run, exported, written)
    figures = {
        name: replace(_figures(run, name, measured, network=networks[name.scheme]), step=steps.get(name))
        for name in written
    }
    for name, figure in figures.items():
        run.console.print(headed(f"benchmark.{name}", _summary(figure)))
    found = Benchmark(
        files=figures,
        devices={one.name: None if one.device is None else asdict(one.device) for one in measured},
    )
    for reason in found.busy:
        run.console.print(headed("benchmark", f"the next run measures again: busy machine: {reason}"))
    if not found.complete:
        forget(run, BENCHMARK)
    else:
        kept_files = {str(name): asdict(one) for name, one in figures.items()}
        keep(run, BENCHMARK, {"files": kept_files, "devices": found.devices}, key=key)
    return found


def _steps(run: Run, exported: Exported, written: Sequence[FileId]) -> dict[FileId, dict[str, Any]]:
    """Latency of the step programs of a streaming student, by file: on the first device, if it is this machine."""
    streams = [file_id(row) for row in exported.rows if row["step"] is not None and file_id(row) in written]
    if not streams:
        return {}
    nothing = {"p50_ms": None, "speedup": None, "speedup_ci95": None}
    first = next(iter(run.recipe.benchmark.named_devices.values()))
    if first.kind != "host":
        reason = f"step programs are measured on host only, and the first device is of the kind {first.kind}"
        return {name: {**nothing, "reason": reason} for name in streams}
    try:
        with bar(run.console, "benchmark: new frame") as report:
            costs = measure_streaming(
                exported.folder,
                formats=list(dict.fromkeys(one.format for one in streams)),
                schemes=list(dict.fromkeys(one.scheme for one in streams)),
                threads=run.recipe.benchmark.threads,
                rounds=run.recipe.benchmark.rounds,
                seed=run.recipe.seed,
                progress=report,
            )
    except (ValueError, RuntimeError, OSError) as error:
        raise StepFailed(f"benchmark: new frame: {error}") from error
    return {
        FileId(cost.format, cost.scheme): {
            "p50_ms": cost.frame_ms,
            "speedup": None if cost.cheaper is None else cost.cheaper.value,
            "speedup_ci95": None if cost.cheaper is None else cost.cheaper.ci95,
            **({} if cost.unavailable is None else {"reason": cost.unavailable}),
        }
        for cost in costs
    }


def _predictions_are_complete(run: Run, key: Key) -> bool:
    """Whether the predictions of this key exist and are intact."""
    own = Ledger.read(run.folder / FOLDER)
    for place in (run.folder, *run.finished):
        ledger = Ledger.read(place / FOLDER)
        if ledger is None:
            continue
        reason = reason_against(ledger, key, notify=run.notify)
        if reason is None:
            if own is not None and place != run.folder:
                own.remove()
            return True
        run.notify(f"benchmark: measured again, because {reason}")
        return False
    return False


def _keep_predictions(
    run: Run, key: Key, measured: Sequence[Measurement], networks: Mapping[str, StageOutcome]
) -> None:
    """Writes the predictions of every file on every device, and of the torch networks, for each test clip."""
    spec = run.student_spec
    predictions = {
        f"{TORCH}.{scheme}": {
            name: column.numpy() for name, column in zip(spec.outputs, outcome.test_logits, strict=True)
        }
        for scheme, outcome in networks.items()
    }
    predictions |= {
        predictions_name(one.id, device=None if place == 0 else device.name): one.logits
        for place, device in enumerate(measured)
        for one in device.accuracy
        if one.unavailable is None
    }
    keep_predictions(
        run.folder / FOLDER, predictions, run.data.test.for_spec(spec), key=key, notify=run.notify
    )


def _figures(
    run: Run, file: FileId, measured: Sequence[Measurement], *, network: StageOutcome
) -> FileFigures:
    """The figures of one file on all devices."""
    latencies = [next(one for one in device.latency if one.id == file) for device in measured]
    accuracies = [next(one for one in device.accuracy if one.id == file) for device in measured]
    # The float file of the same format, timed in the same rounds.
    floats = [
        next((one for one in device.latency if one.id == FileId(file.format, "fp32")), None)
        for device in measured
    ]
    of_each = (one for figures in (accuracies, latencies) for one in figures)
    notes = [f"{one.device}: {note}" if len(measured) > 1 else note for one in of_each for note in one.notes]
    (top1, parity), *others = (_accuracy(run, one, network=network) for one in accuracies)
    return FileFigures(
        accuracy=top1,
        parity=parity,
        elsewhere=[
            {"device": device.name, "accuracy": one[0], "parity": one[1]}
            for device, one in zip(measured[1:], others, strict=True)
        ],
        latency=[_latency(one, beside=beside) for one, beside in zip(latencies, floats, strict=True)],
        notes=list(dict.fromkeys(notes)),
    )


def _accuracy(
    run: Run, accuracy: FileAccuracy, *, network: StageOutcome
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Accuracy of a file, and its parity with the network."""
    spec, data = network.artifact.spec, run.data.spec
    if accuracy.unavailable is not None:
        reason = accuracy.unavailable
        missing = {"top1": None, "ci95": None, "clips": 0, "runtime": None, "failed": accuracy.failed}
        return (
            {**missing, "reason": reason},
            {"max_abs_error": None, "sqnr_db": None, "top1_agreement": None, "reason": reason},
        )
    columns = [accuracy.per_label[label.name] for label in spec.labels]
    pairs = [
        compare(reference.numpy(), accuracy.logits[name])
        for name, reference in zip(spec.outputs, network.test_logits, strict=True)
    ]
    return {
        "top1": per_label([column.top1 for column in columns], spec, data=data),
        "ci95": per_label([column.interval for column in columns], spec, data=data),
        "clips": accuracy.clips,
        "runtime": accuracy.runtime,
        "classes_answered": predicted_classes([accuracy.logits[name] for name in spec.outputs], spec),
    }, {
        "max_abs_error": per_label([pair.max_abs_error for pair in pairs], spec, data=data),
        "sqnr_db": per_label([pair.sqnr_db for pair in pairs], spec, data=data),
        "top1_agreement": per_label([pair.top1_agreement for pair in pairs], spec, data=data),
    }


def _latency(latency: FileLatency, *, beside: FileLatency | None) -> dict[str, Any]:
    """Latency of a file on a device, also relative to the file `beside`."""
    row: dict[str, Any] = {
        "device": latency.device,
        "threads": latency.threads,
        "p50_ms": latency.p50_ms,
        "p90_ms": latency.p90_ms,
        "p99_ms": latency.p99_ms,
        "p50_ci95_ms": latency.p50_ci95_ms,
        "peak_rss_bytes": latency.peak_rss_bytes,
        "rounds": latency.rounds,
        "starts": latency.starts,
        "load_ms": latency.load_ms,
        "first_ms": latency.first_ms,
        "round_p50_ms": list(latency.round_p50_ms),
    }
    if latency.conditions is not None:
        row["busy"] = list(latency.conditions.busy)
    if beside is not None and beside is not latency:
        times = ratio(latency, beside)
        row["ratio_to_fp32"] = None if times is None else times.value
        row["ratio_to_fp32_ci95"] = None if times is None else times.ci95
    if latency.unavailable is not None:
        row["reason"] = latency.unavailable
        row["failed"] = latency.failed
    return row


def _summary(figures: FileFigures) -> str:
    top1, latency = figures.accuracy["top1"], figures.latency[0]
    if top1 is None or latency["p50_ms"] is None:
        return figures.accuracy.get("reason") or latency.get("reason") or "not measured"
    return f"top-1 {shares(top1)}, {latency['p50_ms']:.2f} ms per clip"
