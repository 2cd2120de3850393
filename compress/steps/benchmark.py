"""The benchmark step: measures exported files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import DEVICES
from benchmarks.accuracy import FileAccuracy
from benchmarks.exported import read_export
from benchmarks.files import FileId
from benchmarks.latency import FileLatency, ratio
from benchmarks.measure import measure
from benchmarks.predictions import FOLDER, TORCH, keep_predictions
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
    cores = DEVICES[settings.device].describe().cores
    if settings.threads > cores:
        raise ValueError(
            f"benchmark.threads is {settings.threads}: device {settings.device!r} has {cores} cores"
        )


@dataclass(frozen=True, kw_only=True)
class FileFigures:
    """Figures of one exported file on a device, in the format of the report."""

    accuracy: dict[str, Any]
    parity: dict[str, Any]
    latency: list[dict[str, Any]]
    notes: list[str]

    @property
    def failed(self) -> bool:
        """Whether the file should have run on this machine and did not."""
        return any(part.get("failed", False) for part in (self.accuracy, *self.latency))


def benchmark(
    run: Run, networks: Mapping[str, StageOutcome], exported: Exported
) -> dict[FileId, FileFigures]:
    """Accuracy, parity and latency of every exported file in its own runtime.

    `networks` has the torch network of each scheme; parity compares with its logits on the test split. Files that
    miss their pass criterion are not measured.

    Cached in `benchmark.json` for equal files, clips, settings, runtimes and processor; not cached if a file should
    have run on this machine and did not. Predictions for each clip are written to `predictions/`.
    """
    settings = run.recipe.benchmark
    key = content_key(
        code=[
            *imports_of(__name__, package="benchmarks"),
            DEVICES[settings.device].open.__module__,
            *("compress.chance", "export.verify.parity"),
        ],
        alone=[__name__],
        files={str(file_id(row)): row["sha256"] for row in exported.rows},
        clips=run.data.test.digest,
        settings=settings.model_dump(mode="json"),
        runtimes=installed(FILES),
        cpu=DEVICES[settings.device].describe().cpu,
    )
    if _predictions_are_complete(run, key):
        earlier = kept(run, BENCHMARK, key=key, title="benchmark")
        if earlier is not None:
            return {FileId(*name.split(".")): FileFigures(**figures) for name, figures in earlier.items()}
    written = [file_id(row) for row in exported.rows if row["status"] == "exported"]
    figures: dict[FileId, FileFigures] = {}
    if written:
        try:
            with bar(run.console, "benchmark") as report:
                measured = measure(
                    read_export(exported.folder).only(written),
                    device=settings.device,
                    clips=run.data.test.for_spec(run.student_spec),
                    threads=settings.threads,
                    rounds=settings.rounds,
                    seed=run.recipe.seed,
                    progress=report,
                )
        except (ValueError, RuntimeError, OSError) as error:
            raise StepFailed(f"benchmark: {error}") from error
        floats = {one.format: one for one in measured.latency if one.scheme == "fp32"}
        figures = {
            accuracy.id: _figures(
                run, accuracy, latency, network=networks[accuracy.scheme], beside=floats.get(accuracy.format)
            )
            for accuracy, latency in zip(measured.accuracy, measured.latency, strict=True)
        }
        _keep_predictions(run, key, measured.accuracy, networks)
    for name, one in figures.items():
        run.console.print(headed(f"benchmark.{name}", _summary(one)))
    if any(one.failed for one in figures.values()):
        forget(run, BENCHMARK)
    else:
        keep(run, BENCHMARK, {str(name): asdict(one) for name, one in figures.items()}, key=key)
    return figures


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
    run: Run, key: Key, measured: Sequence[FileAccuracy], networks: Mapping[str, StageOutcome]
) -> None:
    """Writes the predictions of every file and of the torch networks for each test clip."""
    spec = run.student_spec
    predictions = {
        f"{TORCH}.{scheme}": {
            name: column.numpy() for name, column in zip(spec.outputs, outcome.test_logits, strict=True)
        }
        for scheme, outcome in networks.items()
    }
    predictions |= {str(one.id): one.logits for one in measured if one.unavailable is None}
    keep_predictions(
        run.folder / FOLDER, predictions, run.data.test.for_spec(spec), key=key, notify=run.notify
    )


def _figures(
    run: Run,
    accuracy: FileAccuracy,
    latency: FileLatency,
    *,
    network: StageOutcome,
    beside: FileLatency | None,
) -> FileFigures:
    """`beside` is the float file of the same format, timed in the same rounds."""
    spec, data = network.artifact.spec, run.data.spec
    top1: dict[str, Any] = {"top1": None, "ci95": None, "clips": 0, "runtime": None}
    parity: dict[str, Any] = {"max_abs_error": None, "sqnr_db": None, "top1_agreement": None}
    if accuracy.unavailable is not None:
        top1["reason"] = parity["reason"] = accuracy.unavailable
        top1["failed"] = accuracy.failed
    else:
        columns = [accuracy.per_label[label.name] for label in spec.labels]
        top1 = {
            "top1": per_label([column.top1 for column in columns], spec, data=data),
            "ci95": per_label([column.interval for column in columns], spec, data=data),
            "clips": accuracy.clips,
            "runtime": accuracy.runtime,
            "classes_answered": predicted_classes([accuracy.logits[name] for name in spec.outputs], spec),
        }
        pairs = [
            compare(reference.numpy(), accuracy.logits[name])
            for name, reference in zip(spec.outputs, network.test_logits, strict=True)
        ]
        parity = {
            "max_abs_error": per_label([pair.max_abs_error for pair in pairs], spec, data=data),
            "sqnr_db": per_label([pair.sqnr_db for pair in pairs], spec, data=data),
            "top1_agreement": per_label([pair.top1_agreement for pair in pairs], spec, data=data),
        }
    time_row: dict[str, Any] = {
        "device": latency.device,
        "threads": latency.threads,
        "p50_ms": latency.p50_ms,
        "p90_ms": latency.p90_ms,
        "p99_ms": latency.p99_ms,
        "p50_ci95_ms": latency.p50_ci95_ms,
        "peak_rss_bytes": latency.peak_rss_bytes,
        "rounds": latency.rounds,
    }
    if beside is not None and beside is not latency:
        times = ratio(latency, beside)
        time_row["ratio_to_fp32"] = None if times is None else times.value
        time_row["ratio_to_fp32_ci95"] = None if times is None else times.ci95
    if latency.unavailable is not None:
        time_row["reason"] = latency.unavailable
        time_row["failed"] = latency.failed
    return FileFigures(
        accuracy=top1,
        parity=parity,
        latency=[time_row],
        notes=list(dict.fromkeys((*accuracy.notes, *latency.notes))),
    )


def _summary(figures: FileFigures) -> str:
    top1, latency = figures.accuracy["top1"], figures.latency[0]
    if top1 is None or latency["p50_ms"] is None:
        return figures.accuracy.get("reason") or latency.get("reason") or "not measured"
    return f"top-1 {shares(top1)}, {latency['p50_ms']:.2f} ms per clip"
