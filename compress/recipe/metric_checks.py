"""Step 4b: checks of the metrics of the gates of a recipe."""

from __future__ import annotations

from compress.artifact import Form
from compress.gates import metric_names, renamed
from compress.quantized_models import LAST, quantized_names
from compress.recipe.faults import listed, nearest
from compress.recipe.parts import Found, Parts
from compress.recipe.sections import (
    BenchmarkConfig,
    ExportConfig,
    TeacherStudent,
    output_scheme,
    schemes_of,
)
from compress.recipe.teacher_checks import (
    teachers_in,
)
from compress.stages import STAGES
from export import EXPORTERS


def metrics(parts: Parts) -> Found:
    """The metric of every gate will be in the report."""
    data, student = (parts.sections.get(key) for key in ("data", "student"))
    export = parts.sections.get("export") or ExportConfig()
    measured = parts.sections.get("benchmark") or BenchmarkConfig()
    columns = tuple(getattr(data, "labels", ()))
    learned = tuple(getattr(student, "labels", None) or columns)
    if isinstance(student, TeacherStudent):
        only = parts.sections.get("teacher")
        learned = tuple(name for name in columns if name in (getattr(only, "tasks", None) or columns))
    models = {"student_float": learned}
    if "teacher" not in parts.sections:  # it has faults
        models["teacher"] = columns
    for key, teacher in teachers_in(parts.sections):
        tasks = getattr(teacher, "tasks", None) or getattr(teacher, "outputs", None) or columns
        models["_".join(map(str, key)).replace("teachers", "teacher")] = tuple(
            name for name in columns if name in tasks
        )
    if any(entry is None or getattr(entry.config, "baseline", False) for entry in parts.stages):
        models["student_labels_only"] = learned
    if any(verb in STAGES and STAGES[verb].gives is Form.QUANTIZED for verb in parts.verbs if verb):
        models[LAST] = learned
        quantized = [scheme for entry in parts.stages if entry and (scheme := output_scheme(entry))]
        models |= dict.fromkeys(quantized_names(quantized), learned)
    schemes = schemes_of(export, [entry for entry in parts.stages if entry])
    names = metric_names(
        files=[
            (name, scheme)
            for name in export.formats
            for scheme in schemes
            if scheme in EXPORTERS[name].schemes
        ],
        devices=list(measured.named_devices),
        models=models,
        stages=len(parts.verbs),
        labels=learned,
    )
    for index, gate in enumerate(parts.gates):
        if gate is None or gate.metric in names:
            continue
        new = renamed(gate.metric, scheme=schemes[-1], device=next(iter(measured.named_devices)))
        close = nearest(gate.metric, names) if new is None else new
        problem = "the report will have no such figure"
        if new is not None:
            problem = "figures of files need format and scheme, time and memory also the device"
        more = {"given": gate.metric, "allowed": _siblings(gate.metric, names), "nearest": close}
        yield ("gates", index, "metric"), problem, more


def _siblings(metric: str, names: list[str]) -> str:
    """The valid metrics with the longest common path."""
    parts = metric.split(".")
    for depth in range(len(parts) - 1, -1, -1):
        prefix = ".".join((*parts[:depth], ""))[: -1 if not depth else None]
        close = [name for name in names if name.startswith(prefix)]
        if close:
            words = list(dict.fromkeys(name.removeprefix(prefix).split(".")[0] for name in close))
            return f"{prefix}{{{listed(words)}}}" if depth else listed(words)
    return listed(names)
