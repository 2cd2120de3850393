"""Gates: limits in a recipe that decide whether a run has passed.

A gate names a figure of the report by its path, such as `artifacts.onnx.top1_drop_pp`, and one limit. A figure
that was not measured never passes silently: the gate fails unless it says `unmeasured: allow`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from compress.report.figures import drop_pp, is_measured
from compress.report.shape import GateReport

ARTIFACT_METRICS: dict[str, tuple[str, ...]] = {
    "top1": ("accuracy", "top1"),
    "top1_drop_pp": (),
    "size_bytes": ("size_bytes",),
    "p50_ms": ("latency", "p50_ms"),
    "p90_ms": ("latency", "p90_ms"),
    "p99_ms": ("latency", "p99_ms"),
    "peak_rss_bytes": ("latency", "peak_rss_bytes"),
    "top1_agreement": ("parity", "top1_agreement"),
    "sqnr_db": ("parity", "sqnr_db"),
    "max_abs_error": ("parity", "max_abs_error"),
}
"""Figures of one exported file, and where its entry in the report holds them; the drop is computed."""

MODEL_METRICS = ("top1", "parameters", "macs")
STAGE_METRICS = ("seconds", *(f"{when}.{what}" for when in ("before", "after") for what in MODEL_METRICS))
PER_LABEL_METRICS = ("top1", "top1_drop_pp", "top1_agreement")
"""Figures that may end in the name of one label column: `artifacts.onnx.top1.word`."""


Limit = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]


class GateConfig(BaseModel):
    """One limit on one figure of the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    metric: Annotated[str, Field(min_length=1, max_length=400)]
    """Path of the figure: `artifacts.<format>.<figure>` (`*` for every format), `models.<model>.<figure>` or
    `stages.<n>.<figure>`. With several label columns each is judged, unless the path ends in one's name."""
    min: Limit | None = None
    """The figure must be at least this. Give either `min` or `max`."""
    max: Limit | None = None
    """The figure must be at most this."""
    unmeasured: Literal["fail", "allow"] = "fail"
    """What a figure that could not be measured means, such as the accuracy of a Core ML file on Linux."""

    @model_validator(mode="after")
    def _one_limit(self) -> GateConfig:
        if (self.min is None) == (self.max is None):
            raise ValueError("a gate has exactly one limit: min or max")
        return self

    @property
    def limit(self) -> float:
        """The one limit, whichever it is."""
        limit = self.max if self.min is None else self.min
        assert limit is not None
        return limit

    @model_serializer
    def _without_the_other_limit(self) -> dict[str, Any]:
        limit = {"min": self.min} if self.min is not None else {"max": self.max}
        return {"metric": self.metric, **limit, "unmeasured": self.unmeasured}


class _Figure(NamedTuple):
    metric: Annotated[str, Field(min_length=1, max_length=400)]
    value: float | None
    reason: str = ""


def metric_names(
    *, formats: Sequence[str], models: Mapping[str, Sequence[str]], stages: int, labels: Sequence[str] = ()
) -> list[str]:
    """Every metric that a report with these formats, models and number of stages can hold.

    `models` has the label columns that each answers, `labels` are those of the student.
    """
    files = ("*", *formats) if formats else ()
    of_student = [f"artifacts.{name}.{figure}" for name in files for figure in ARTIFACT_METRICS]
    of_student += [f"stages.{index}.{figure}" for index in range(stages) for figure in STAGE_METRICS]
    columns = dict.fromkeys(of_student, labels)
    for model, answers in models.items():
        columns |= {f"models.{model}.{figure}": answers for figure in MODEL_METRICS}
    per_label = [name for name in columns if name.rpartition(".")[2] in PER_LABEL_METRICS]
    return [*columns, *(f"{name}.{label}" for name in per_label for label in columns[name])]


def evaluate_gates(gates: Iterable[GateConfig], report: Mapping[str, Any]) -> list[GateReport]:
    """The verdict on every figure that the gates name, in the gates' order.

    A gate with `*`, and a gate on a figure which several label columns have, gives one result per figure.
    """
    return [_judge(gate, figure) for gate in gates for figure in _figures(gate.metric, report)]


def gates_hold(results: Iterable[GateReport]) -> bool:
    """Whether the run passes: nothing failed, and nothing is unmeasured that had to be measured."""
    return all(result["allowed"] for result in results)


def _judge(gate: GateConfig, figure: _Figure) -> GateReport:
    bound: Literal["min", "max"] = "max" if gate.min is None else "min"
    limit = gate.limit
    result = GateReport(
        metric=figure.metric,
        limit=limit,
        bound=bound,
        value=figure.value,
        verdict="unmeasured",
        allowed=False,
    )
    if figure.value is None:
        result["allowed"] = gate.unmeasured == "allow"
        result["reason"] = figure.reason
        return result
    holds = figure.value >= limit if bound == "min" else figure.value <= limit
    result["verdict"] = "passed" if holds else "failed"
    result["allowed"] = holds
    return result


def _figures(metric: str, report: Mapping[str, Any]) -> Iterator[_Figure]:
    section, name, figure, label = _split(metric)
    if section == "artifacts":
        artifacts = [one for one in report["artifacts"] if name in ("*", one["format"])]
        if not artifacts:
            yield _Figure(metric, None, f"the run wrote no {'file' if name == '*' else name + ' file'}")
        for artifact in artifacts:
            path = f"artifacts.{artifact['format']}.{figure}"
            yield from _per_label(
                path, label, _artifact_value(artifact, figure, report), _why(artifact, figure)
            )
    elif section == "models":
        model = report["models"].get(name)
        why = f"the run has no {name}" if model is None else f"{name} was not measured"
        yield from _per_label(f"models.{name}.{figure}", label, (model or {}).get(figure), why)
    else:
        value = _descend(_recipe_stage(report, int(name)), figure.split("."))
        why = f"stage {name} of the recipe did not measure it"
        yield from _per_label(f"stages.{name}.{figure}", label, value, why)


def _split(metric: str) -> tuple[str, str, str, str | None]:
    """`artifacts.onnx.top1.word` as section, name, figure and label column."""
    section, name, *rest = metric.split(".")
    size = 2 if section == "stages" and rest[0] in ("before", "after") else 1
    return section, name, ".".join(rest[:size]), ".".join(rest[size:]) or None


def _recipe_stage(report: Mapping[str, Any], index: int) -> Mapping[str, Any] | None:
    """The report's entry for `stages.<index>` of the recipe; the teacher's own stage is not counted."""
    prefix = f"stages.{index}."
    return next((stage for stage in report["stages"] if stage["path"].startswith(prefix)), None)


def _artifact_value(artifact: Mapping[str, Any], figure: str, report: Mapping[str, Any]) -> Any:
    if figure != "top1_drop_pp":
        return _descend(artifact, ARTIFACT_METRICS[figure])
    ours = _descend(artifact, ("accuracy", "top1"))
    floats = _descend(report, ("models", "student_float", "top1"))
    if isinstance(ours, Mapping) and isinstance(floats, Mapping):
        return {label: drop_pp(floats.get(label), top1) for label, top1 in ours.items()}
    return drop_pp(floats, ours)


def _descend(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if isinstance(value, list):
            value = value[0] if value else None
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _why(artifact: Mapping[str, Any], figure: str) -> str:
    """Why a figure of this file is missing: the reason nearest to it."""
    section = ARTIFACT_METRICS[figure][0] if ARTIFACT_METRICS[figure] else "accuracy"
    near = artifact.get(section)
    if isinstance(near, list):
        near = near[0] if near else None
    reason = near.get("reason") if isinstance(near, Mapping) else None
    return reason or artifact.get("reason") or f"{section} of the {artifact['format']} file was not measured"


def _per_label(metric: str, label: str | None, value: Any, why: str) -> Iterator[_Figure]:
    if isinstance(value, Mapping):
        if label is not None and label not in value:
            columns = ", ".join(value)
            yield _Figure(f"{metric}.{label}", None, f"no label column {label!r}; there are {columns}")
            return
        for name in value if label is None else (label,):
            yield from _per_label(f"{metric}.{name}", None, value[name], why)
        return
    path = metric if label is None else f"{metric}.{label}"
    yield _Figure(path, float(value)) if is_measured(value) else _Figure(path, None, why)
