"""Gates: limits in a recipe that decide whether a run passes.

A gate sets one limit on a figure of the report, given by its path, such as `files.onnx.w8a8.top1_drop_pp`. If the
figure was not measured, the gate fails unless it has `unmeasured: allow`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from compress.figures import drop_pp, is_measured, name_of
from compress.report_shape import GateReport

FILE_METRICS: dict[str, tuple[str, ...]] = {
    "top1": ("accuracy", "top1"),
    "top1_drop_pp": (),
    "size_bytes": ("size_bytes",),
    "top1_agreement": ("parity", "top1_agreement"),
    "sqnr_db": ("parity", "sqnr_db"),
    "max_abs_error": ("parity", "max_abs_error"),
}
"""Figures of one exported file, and their keys in its entry of the report; the drop is computed."""

LATENCY_METRICS = ("p50_ms", "p90_ms", "p99_ms", "ratio_to_fp32", "peak_rss_bytes")
"""Figures of one exported file on one device, from its `latency`."""

DEVICE_METRICS = (*LATENCY_METRICS, *(name for name in FILE_METRICS if name != "size_bytes"))
"""Figures of one exported file that may be given for a device; without one, those of `FILE_METRICS` are of the
first."""

MODEL_METRICS = ("top1", "parameters", "macs")
STAGE_METRICS = ("seconds", *(f"{when}.{what}" for when in ("before", "after") for what in MODEL_METRICS))
PER_LABEL_METRICS = ("top1", "top1_drop_pp", "top1_agreement")
"""Figures that may end in the name of one label column: `files.onnx.w8a8.top1.word`."""


Limit = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]


class GateConfig(BaseModel):
    """One limit on one figure of the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    metric: Annotated[str, Field(min_length=1, max_length=400)]
    """Path of the figure: `files.<format>.<scheme>.<figure>` on the first device,
    `files.<format>.<scheme>.<device>.<figure>` on any, always for time and memory, `models.<model>.<figure>` or
    `stages.<n>.<figure>`. `*` stands for every format, scheme or device.
    With several label columns, the gate applies to each, unless the path ends in the name of one."""
    min: Limit | None = None
    """The figure must be at least this. Give either `min` or `max`."""
    max: Limit | None = None
    """The figure must be at most this."""
    unmeasured: Literal["fail", "allow"] = "fail"
    """Verdict for a figure that could not be measured, such as the accuracy of a Core ML file on Linux."""

    @model_validator(mode="after")
    def _one_limit(self) -> GateConfig:
        if (self.min is None) == (self.max is None):
            raise ValueError("a gate has exactly one limit: min or max")
        return self

    @property
    def limit(self) -> float:
        """The limit, `min` or `max`."""
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
    *,
    files: Sequence[tuple[str, str]],
    devices: Sequence[str],
    models: Mapping[str, Sequence[str]],
    stages: int,
    labels: Sequence[str] = (),
) -> list[str]:
    """All metrics of a report with these files, devices, models and number of stages.

    `files` are formats with schemes; `models` maps each model to its label columns, `labels` are those of the
    student.
    """
    places = dict.fromkeys(
        f"files.{shown_format}.{shown_scheme}"
        for name, scheme in files
        for shown_format in ("*", name)
        for shown_scheme in ("*", scheme)
    )
    of_student = [f"{place}.{figure}" for place in places for figure in FILE_METRICS]
    of_student += [
        f"{place}.{device}.{figure}"
        for place in places
        for device in ("*", *devices)
        for figure in DEVICE_METRICS
    ]
    of_student += [f"stages.{index}.{figure}" for index in range(stages) for figure in STAGE_METRICS]
    columns = dict.fromkeys(of_student, labels)
    for model, answers in models.items():
        columns |= {f"models.{model}.{figure}": answers for figure in MODEL_METRICS}
    per_label = [name for name in columns if name.rpartition(".")[2] in PER_LABEL_METRICS]
    return [*columns, *(f"{name}.{label}" for name in per_label for label in columns[name])]


def renamed(metric: str, *, scheme: str, device: str) -> str | None:
    """The current name of a metric of schema 1, such as `artifacts.onnx.p50_ms`; None for any other."""
    section, _, rest = metric.partition(".")
    name, _, figure = rest.partition(".")
    if section != "artifacts" or not figure:
        return None
    where = f"{device}." if figure in LATENCY_METRICS else ""
    return f"files.{name}.{scheme}.{where}{figure}"


def evaluate_gates(gates: Iterable[GateConfig], report: Mapping[str, Any]) -> list[GateReport]:
    """The verdicts on the figures of all gates, in order.

    A gate with `*`, or on a figure of several label columns, gives one result per figure.
    """
    return [_judge(gate, figure) for gate in gates for figure in _figures(gate.metric, report)]


def gates_hold(results: Iterable[GateReport]) -> bool:
    """Whether the run passes: no gate failed, and unmeasured figures are allowed."""
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
    if metric.startswith("files."):
        yield from _file_figures(metric, report)
        return
    section, name, figure, label = _split(metric)
    if section == "models":
        model = report["models"].get(name)
        why = f"the run has no {name}" if model is None else f"{name} was not measured"
        yield from _per_label(f"models.{name}.{figure}", label, (model or {}).get(figure), why)
    else:
        value = _descend(_recipe_stage(report, int(name)), figure.split("."))
        why = f"stage {name} of the recipe did not measure it"
        yield from _per_label(f"stages.{name}.{figure}", label, value, why)


def _file_figures(metric: str, report: Mapping[str, Any]) -> Iterator[_Figure]:
    """The figures of a metric of files: one per file, and per device if it depends on the device."""
    _, name, scheme, *rest = metric.split(".")
    files = [
        one for one in report["files"] if name in ("*", one["format"]) and scheme in ("*", one["scheme"])
    ]
    if not files:
        kind = " ".join(part for part in (name, scheme) if part != "*")
        yield _Figure(metric, None, f"the run wrote no {kind} file".replace("  ", " "))
    for file in files:
        place = f"files.{name_of(file)}"
        if rest[0] in FILE_METRICS:
            figure, label = rest[0], ".".join(rest[1:]) or None
            yield from _per_label(
                f"{place}.{figure}", label, _file_value(file, figure, report), _why(file, figure)
            )
            continue
        device, figure, *column = rest
        if figure not in LATENCY_METRICS:
            yield from _accuracy_figures(file, device, figure, ".".join(column) or None, report)
            continue
        rows = [row for row in file["latency"] if device in ("*", row["device"])]
        for row in rows:
            why = row.get("reason") or file.get("reason") or _NOT_RELATED.get(figure, "it was not measured")
            yield from _per_label(f"{place}.{row['device']}.{figure}", None, row.get(figure), why)
        if not rows:
            why = file.get("reason") or f"the {name_of(file)} file was not measured on {device}"
            yield _Figure(f"{place}.{device}.{figure}", None, why)


def _accuracy_figures(
    file: Mapping[str, Any], device: str, figure: str, label: str | None, report: Mapping[str, Any]
) -> Iterator[_Figure]:
    """A figure of the accuracy of a file, per device."""
    names = [row["device"] for row in file["latency"] if device in ("*", row["device"])]
    others = {one["device"]: {**file, **one} for one in file.get("elsewhere", ())}
    for name in names:
        one = others.get(name, file)
        place = f"files.{name_of(file)}.{name}.{figure}"
        yield from _per_label(place, label, _file_value(one, figure, report), _why(one, figure))
    if not names:
        why = file.get("reason") or f"the {name_of(file)} file was not measured on {device}"
        yield _Figure(f"files.{name_of(file)}.{device}.{figure}", None, why)


_NOT_RELATED = {
    "ratio_to_fp32": "this is the fp32 file, or no fp32 file was measured",
}
"""Reasons for missing figures of a measured file."""


def _split(metric: str) -> tuple[str, str, str, str | None]:
    """`models.teacher.top1.word` as section, name, figure and label column."""
    section, name, *rest = metric.split(".")
    size = 2 if section == "stages" and rest[0] in ("before", "after") else 1
    return section, name, ".".join(rest[:size]), ".".join(rest[size:]) or None


def _recipe_stage(report: Mapping[str, Any], index: int) -> Mapping[str, Any] | None:
    """The entry of the report for `stages.<index>` of the recipe, without the teacher stage."""
    prefix = f"stages.{index}."
    return next((stage for stage in report["stages"] if stage["path"].startswith(prefix)), None)


def _file_value(file: Mapping[str, Any], figure: str, report: Mapping[str, Any]) -> Any:
    if figure != "top1_drop_pp":
        return _descend(file, FILE_METRICS[figure])
    ours = _descend(file, ("accuracy", "top1"))
    floats = _descend(report, ("models", "student_float", "top1"))
    if isinstance(ours, Mapping) and isinstance(floats, Mapping):
        return {label: drop_pp(floats.get(label), top1) for label, top1 in ours.items()}
    return drop_pp(floats, ours)


def _descend(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _why(file: Mapping[str, Any], figure: str) -> str:
    """The most specific reason for a missing figure of this file."""
    section = FILE_METRICS[figure][0] if FILE_METRICS[figure] else "accuracy"
    near = file.get(section)
    reason = near.get("reason") if isinstance(near, Mapping) else None
    return reason or file.get("reason") or f"{section} of the {name_of(file)} file was not measured"


def _per_label(metric: str, label: str | None, value: Any, why: str) -> Iterator[_Figure]:
    if isinstance(value, Mapping):
        if label is not None and label not in value:
            columns = ", ".join(value)
            yield _Figure(f"{metric}.{label}", None, f"no label column {label!r}; available: {columns}")
            return
        for name in value if label is None else (label,):
            yield from _per_label(f"{metric}.{name}", None, value[name], why)
        return
    path = metric if label is None else f"{metric}.{label}"
    yield _Figure(path, float(value)) if is_measured(value) else _Figure(path, None, why)
