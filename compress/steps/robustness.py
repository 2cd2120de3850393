"""The robustness step: accuracy of teacher, student and files on corrupted clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy import evaluate
from benchmarks.clips.cache import ClipSet
from benchmarks.clips.corruptions import CORRUPTIONS, Condition
from benchmarks.device import Unavailable
from benchmarks.devices import DeviceSettings
from benchmarks.exported import read_export
from benchmarks.measure import not_measured
from benchmarks.top1 import correct_predictions
from compress.artifact import Form
from compress.command.progress import bar
from compress.command.terminal import headed
from compress.folders.source import imports_of
from compress.predict import predict
from compress.report_shape import RobustnessReport, RobustnessRow
from compress.steps.export import Exported, file_id
from compress.steps.kept import forget, keep, kept
from compress.steps.pipeline import Run, StageOutcome, StepFailed
from compress.store import content_key
from compress.versions import FILES, installed
from models.spec import ClipSpec

ROBUSTNESS = "robustness.json"
_CLEAN: tuple[Condition | None, ...] = (None,)


def robustness(
    run: Run, *, teachers: Sequence[StageOutcome], stages: Sequence[StageOutcome], exported: Exported
) -> RobustnessReport | None:
    """Top-1 of the teachers, the float student and every exported file on clean and corrupted test clips.

    None if the recipe has no section `robustness`. Cached in `robustness.json` for equal networks, files, clips,
    settings and runtimes; not cached if a file should have run on this machine and did not.
    """
    settings = run.recipe.robustness
    if settings is None:
        return None
    floats = [outcome for outcome in stages if outcome.artifact.form is Form.FLOAT]
    networks = {one.path: one for one in teachers}
    networks |= {"student_float": floats[-1]} if floats else {}
    key = content_key(
        code=[
            *("compress.predict", _device(run).module),
            *imports_of(__name__, package="benchmarks"),
        ],
        alone=[__name__],
        networks={name: outcome.key for name, outcome in networks.items()},
        files={str(file_id(row)): row["sha256"] for row in exported.rows},
        clips=run.data.test.digest,
        seed=run.recipe.seed,
        settings=settings.model_dump(mode="json"),
        runtimes=installed(FILES),
    )
    earlier = kept(run, ROBUSTNESS, key=key, title="robustness")
    if earlier is not None:
        return cast(RobustnessReport, earlier)
    suite = _Suite.of(run)
    found: list[RobustnessRow] = []
    try:
        for name, outcome in networks.items():
            found += suite.rows(name, outcome.artifact.spec, _logits_of(run, name, outcome, suite))
        found += _file_rows(run, suite, exported)
    except (ValueError, RuntimeError, OSError) as error:
        raise StepFailed(f"robustness: {error}") from error
    for row in found:
        mean = "not measured" if row["mean"] is None else f"{100 * row['mean']:.1f} %"
        clean = "not measured" if row["clean"] is None else f"{100 * row['clean']:.1f} %"
        run.console.print(
            headed(f"robustness.{row['name']}", f"{row['label']}: clean {clean}, corrupted {mean}")
        )
    report: RobustnessReport = {
        "clips": len(suite.clips),
        "corruptions": list(suite.corruptions),
        "severities": list(suite.severities),
        "rows": found,
    }
    if any(row.get("failed", False) for row in found):
        forget(run, ROBUSTNESS)
    else:
        keep(run, ROBUSTNESS, report, key=key)
    return report


@dataclass(frozen=True, kw_only=True)
class _Suite:
    """The clips and their corruptions."""

    clips: ClipSet
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    seed: int

    @classmethod
    def of(cls, run: Run) -> _Suite:
        settings = run.recipe.robustness
        assert settings is not None
        test = run.data.test
        count = min(settings.clips or len(test), len(test))
        # Evenly spaced, because the split may be sorted by class.
        chosen = np.unique(np.linspace(0, len(test) - 1, count).round().astype(int)).tolist()
        fitting = tuple(name for name, row in CORRUPTIONS.items() if row.modality in test.spec.inputs)
        return cls(
            clips=test.subset(chosen),
            corruptions=settings.corruptions or fitting,
            severities=settings.severities,
            seed=run.recipe.seed,
        )

    def affecting(self, spec: ClipSpec) -> list[str]:
        """The corruptions of inputs of a network."""
        return [name for name in self.corruptions if CORRUPTIONS[name].modality in spec.inputs]

    def conditions(self, spec: ClipSpec) -> tuple[Condition | None, ...]:
        """Clean, then every corruption that affects the network at every severity."""
        return _CLEAN + tuple(
            Condition(name=name, severity=severity, seed=self.seed)
            for name in self.affecting(spec)
            for severity in self.severities
        )

    def corrupted(self, spec: ClipSpec) -> ClipSet:
        """The inputs of the network for all clips, under each of its conditions."""
        return self.clips.for_spec(spec).with_corruptions(self.conditions(spec))

    def rows(
        self, name: str, spec: ClipSpec, logits_of_columns: Sequence[np.ndarray]
    ) -> Iterator[RobustnessRow]:
        """One row per label column; `logits_of_columns` are the logits `N K` for `corrupted(spec)`."""
        labels = self.clips.for_spec(spec).labels.numpy()
        for column, label in enumerate(spec.labels):
            logits = logits_of_columns[column].reshape(-1, len(labels), len(label.classes))
            correct = correct_predictions(logits, labels[:, column])
            clean, *others = (float(share) for share in correct.mean(axis=1))
            of_severities = iter(np.reshape(others, (-1, len(self.severities))).tolist())
            affecting = self.affecting(spec)
            corrupted = {
                one: next(of_severities) if one in affecting else [clean] * len(self.severities)
                for one in self.corruptions
            }
            yield RobustnessRow(
                name=name,
                label=label.name,
                clean=clean,
                corrupted=corrupted,
                mean=float(np.mean(list(corrupted.values()))),
                unaffected=[one for one in self.corruptions if one not in affecting],
            )


def _logits_of(run: Run, name: str, outcome: StageOutcome, suite: _Suite) -> list[np.ndarray]:
    columns: tuple[Tensor, ...] = predict(
        outcome.artifact,
        suite.corrupted(outcome.artifact.spec),
        device=run.device,
        console=run.console,
        title=f"robustness of {name}",
    )
    return [column.to(torch.float32).numpy() for column in columns]


def _device(run: Run) -> DeviceSettings:
    """The first device."""
    return next(iter(run.recipe.benchmark.named_devices.values()))


def _file_rows(run: Run, suite: _Suite, exported: Exported) -> list[RobustnessRow]:
    written = [file_id(row) for row in exported.rows if row["status"] == "exported"]
    if not written:
        return []
    spec = run.student_spec
    files, clips = read_export(exported.folder).only(written), suite.corrupted(spec)
    name, threads = next(iter(run.recipe.benchmark.named_devices)), run.recipe.benchmark.threads
    try:
        with bar(run.console, "robustness of files") as report, _device(run).connect(name) as device:
            measured = evaluate(files, clips, device=device, threads=threads, progress=report)
    except Unavailable as error:
        measured = not_measured(name, files, reason=str(error), threads=threads, clips=clips).accuracy
    found: list[RobustnessRow] = []
    for file in measured:
        if file.unavailable is None:
            found += suite.rows(str(file.id), spec, [file.logits[name] for name in spec.outputs])
            continue
        found += [
            RobustnessRow(
                name=str(file.id),
                label=label.name,
                clean=None,
                mean=None,
                reason=file.unavailable,
                failed=file.failed,
            )
            for label in spec.labels
        ]
    return found
