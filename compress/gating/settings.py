"""The settings of regression gates, `gates.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from benchmarks.devices import DeviceSettings, HostSettings, device_of
from compress.recipe.faults import RecipeError
from compress.recipe.source import read_source
from compress.recipe.translate import faults_of

Pattern = Annotated[str, Field(min_length=1, max_length=200)]
Points = Annotated[float, Field(ge=0, lt=100, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Percent = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})? ?%$")]

MAX_GATES = 100


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class _PairedGate(_Settings):
    files: Pattern = "*"
    """Files, as `<format>.<scheme>`, or `<format>.<scheme>.<device>` on further devices; `*` stands for any text.
    `torch.<scheme>` are the torch networks, which are compared only where a pattern begins with `torch`."""
    labels: Pattern = "*"
    """Label columns; `*` stands for any."""


class AccuracyGate(_PairedGate):
    """Top-1 on the same clips: paired, exact."""

    max_drop_pp: Points = 0.0
    """Fails if top-1 has dropped by more than this, in points, with error rate `alpha`. 0: any regression, by the
    mid-p McNemar test. More: by an exact test of the paired difference."""
    detect_pp: Points | None = None
    """Passes if a drop of this many points is excluded. By default `max_drop_pp`, with error rate `alpha`; for
    `max_drop_pp: 0`, 2 points, with error rate `1 - power`."""

    @model_validator(mode="after")
    def _ordered(self) -> AccuracyGate:
        if self.detect_pp is not None and (self.detect_pp == 0 or self.detect_pp < self.max_drop_pp):
            raise ValueError("detect_pp must be above 0, and at least max_drop_pp")
        return self

    @property
    def excluded_pp(self) -> float:
        """The drop that must be excluded to pass."""
        return self.detect_pp or self.max_drop_pp or 2.0


class CrossEntropyGate(_PairedGate):
    """Cross-entropy with the labels, in nats, on the same clips: sees more than right or wrong."""

    max_increase: Amount = 0.01
    """Fails if its mean has increased by more than this, with error rate `alpha`."""
    detect: Amount = 0.05
    """Passes if an increase of this much is excluded, with error rate `1 - power`."""

    @model_validator(mode="after")
    def _ordered(self) -> CrossEntropyGate:
        if self.detect < self.max_increase:
            raise ValueError("detect must be at least max_increase")
        return self


class MarginGate(_PairedGate):
    """Probability of the label minus the largest of another class, -1..1, on the same clips."""

    max_decrease: Annotated[float, Field(ge=0, le=2)] = 0.005
    """Fails if its mean has decreased by more than this, with error rate `alpha`."""
    detect: Annotated[float, Field(ge=0, le=2)] = 0.02
    """Passes if a decrease of this much is excluded, with error rate `1 - power`."""

    @model_validator(mode="after")
    def _ordered(self) -> MarginGate:
        if self.detect < self.max_decrease:
            raise ValueError("detect must be at least max_decrease")
        return self


class LatencyGate(_Settings):
    """Latency relative to the file of the baseline, both measured in this session in interleaved rounds."""

    files: Pattern = "*"
    """Files, as `<format>.<scheme>`; `*` stands for any."""
    max_increase: Percent = "5 %"
    """Fails if the file is slower by more than this, passes if that is excluded, both with error rate `alpha` over
    all looks. Two processes of one file may differ by a few percent: do not go below `3 %`."""
    rounds: Annotated[int, Field(ge=3, le=1000)] = 8
    """Rounds for each look, divided among up to nine new processes of both files; the values of one process are
    pooled."""
    looks: Annotated[int, Field(ge=1, le=4)] = 4
    """Times that the verdict is looked for; each look loads both files again."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of the runtime."""
    device: Annotated[DeviceSettings, BeforeValidator(device_of)] = HostSettings()
    """Where both files are measured, as in `benchmark.devices` of a recipe."""


class FigureGate(_Settings):
    """A plain limit of any figure of `report.json` relative to the baseline."""

    path: Pattern
    """Path of the figure, such as `files.onnx.w8a8.size_bytes`; `*` stands for any part."""
    max_increase: Percent | Amount | None = None
    """Largest increase: a share of the figure of the baseline, such as `2 %`, or a number in its unit."""
    max_decrease: Percent | Amount | None = None
    """Largest decrease. Give either this or `max_increase`, or both."""

    @model_validator(mode="after")
    def _limited(self) -> FigureGate:
        if self.max_increase is None and self.max_decrease is None:
            raise ValueError("a figure needs a limit: max_increase or max_decrease")
        return self


class Gate(_Settings):
    """One gate: a mapping with one key, its kind."""

    accuracy: AccuracyGate | None = None
    cross_entropy: CrossEntropyGate | None = None
    margin: MarginGate | None = None
    latency: LatencyGate | None = None
    figure: FigureGate | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Gate:
        if len(self.model_fields_set) != 1 or self.kind is None:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"a gate is a mapping with one kind and its settings; kinds are {kinds}")
        return self

    @property
    def kind(self) -> str | None:
        """Its key."""
        return next((name for name in type(self).model_fields if getattr(self, name) is not None), None)


DEFAULT_GATES = (
    Gate(accuracy=AccuracyGate()),
    Gate(latency=LatencyGate()),
    Gate(figure=FigureGate(path="files.*.*.size_bytes", max_increase="2 %")),
    Gate(figure=FigureGate(path="files.*.*.coverage", max_decrease=0.01)),
)


class GateSettings(_Settings):
    """All gates, with their error rates."""

    alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.05
    """Probability that a gate fails although nothing is worse than allowed, over all figures of the gate."""
    power: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    """Probability with which a drop of `detect_pp` is to be found."""
    inconclusive: Literal["fail", "pass"] = "fail"
    """What the command does with gates that can neither pass nor fail with these clips and rounds."""
    gates: tuple[Gate, ...] = Field(default_factory=lambda: DEFAULT_GATES, min_length=1, max_length=MAX_GATES)
    """The gates; by default those above."""


def read_settings(path: Path | None) -> GateSettings:
    """Reads `gates.yaml`; the defaults without a path. Raises `RecipeError` with all faults."""
    if path is None:
        return GateSettings()
    source = read_source(path)
    try:
        return GateSettings.model_validate(source.data)
    except ValidationError as error:
        faults = faults_of(error, model=GateSettings, place=(), raw=source.data, source=source)
        raise RecipeError(faults, source=str(path)) from error


def fraction(percent: str) -> float:
    """`5 %` as 0.05."""
    return float(percent.rstrip("% ")) / 100
