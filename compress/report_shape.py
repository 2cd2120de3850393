"""The shape of `report.json`, version 1. Its JSON Schema, `docs/report.schema.json`, is made from these types.

Within version 1 keys are only ever added. Shares such as `top1` are 0..1. A figure that is `null` was not
measured, and a `reason` beside it says why. With several label columns a per-label figure is a mapping from
column to figure.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config

# Pydantic takes TypedDict from typing_extensions only, before Python 3.12.
from typing_extensions import TypedDict

from compress.record import StageRecord

SCHEMA_VERSION = 2

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(gt=0)]
Interval = tuple[Share, Share]
SharePerLabel = Share | dict[str, Share]
IntervalPerLabel = Interval | dict[str, Interval]

_documented = with_config(ConfigDict(use_attribute_docstrings=True, extra="allow"))


@_documented
class ModelReport(TypedDict):
    """One network of the run, measured in torch on the whole test split."""

    top1: SharePerLabel | None
    ci95: NotRequired[IntervalPerLabel | None]
    """95 % interval of `top1`."""
    tasks: NotRequired[dict[str, dict[str, Share]]]
    """Figures of every task, by its name: `top1`, `top5`, `macro_f1` of a label column, `map` of tags, and of
    `retrieval` the `caption_recall_at_<k>` and `clip_recall_at_<k>`."""
    parameters: Count | None
    macs: Count | None
    """Multiply-accumulate operations of one clip."""
    network: NotRequired[str]
    inputs: NotRequired[list[str]]
    notes: NotRequired[list[str]]
    reason: NotRequired[str]


@_documented
class ModelReports(TypedDict):
    """Every network of the run; `null` for those that the recipe does not make."""

    teacher: ModelReport | None
    student_labels_only: NotRequired[ModelReport | None]
    """The same student trained on the labels alone: what distillation is compared with."""
    student_float: ModelReport | None
    """The student as it was before quantization."""
    student_quantized: ModelReport | None
    """The torch int8 reference."""


@_documented
class AccuracyReport(TypedDict):
    """Top-1 of one file through its own runtime."""

    top1: SharePerLabel | None
    ci95: IntervalPerLabel | None
    clips: Count
    runtime: str | None
    reason: NotRequired[str]
    failed: NotRequired[bool]
    """The file should have run here and did not."""
    classes_answered: NotRequired[dict[str, list[Count]]]
    """The different classes among its answers, by label column."""


@_documented
class ParityReport(TypedDict):
    """How close one file's logits are to those of the torch network it was written from."""

    max_abs_error: float | dict[str, float] | None
    sqnr_db: float | dict[str, float] | None
    """Signal to quantization noise, from -160 to 160; 160 also for outputs that are equal, -160 where some are not
    finite."""
    top1_agreement: SharePerLabel | None
    reason: NotRequired[str]


@_documented
class LatencyReport(TypedDict):
    """Time for one clip, on one device."""

    device: str
    threads: Count
    p50_ms: Milliseconds | None
    p90_ms: Milliseconds | None
    p99_ms: Milliseconds | None
    p50_ci95_ms: NotRequired[tuple[Milliseconds, Milliseconds] | None]
    """95 % interval of `p50_ms`, by a bootstrap over the rounds; `null` also with fewer than 6 rounds."""
    ratio_to_fp32: NotRequired[float | None]
    """Times as long as the fp32 file of the same format takes, over rounds that both were in; below 1 is faster."""
    ratio_to_fp32_ci95: NotRequired[tuple[float, float] | None]
    """95 % interval of `ratio_to_fp32`, as that of `p50_ms`."""
    peak_rss_bytes: Count | None
    """Most memory that the runtime's process held."""
    rounds: NotRequired[Count]
    reason: NotRequired[str]
    failed: NotRequired[bool]
    """The file should have run here and did not."""


@_documented
class FileReport(TypedDict):
    """One exported file."""

    format: str
    path: str | None
    """Relative to the report's folder; null when no file was written."""
    scheme: str
    size_bytes: Count | None
    status: NotRequired[Literal["exported", "wrong", "failed"]]
    """wrong: the file is there, but its answers are not those of torch; it is not measured."""
    reason: NotRequired[str | None]
    """Why there is no file, or what is wrong with it."""
    accuracy: AccuracyReport
    parity: ParityReport
    latency: list[LatencyReport]
    seconds: NotRequired[float]
    """Time that the conversion took."""
    notes: NotRequired[list[str]]


@_documented
class RobustnessRow(TypedDict):
    """Top-1 of one network or file in one label column, on clean and on corrupted clips."""

    name: str
    """`teacher`, `student_float`, or a file as `<format>.<scheme>`."""
    label: str
    clean: Share | None
    corrupted: NotRequired[dict[str, list[Share]]]
    """By corruption, one share for each of the severities; the clean one where it is `unaffected`."""
    mean: Share | None
    """Over all corruptions and severities."""
    unaffected: NotRequired[list[str]]
    """Corruptions of inputs that it does not take."""
    reason: NotRequired[str]
    failed: NotRequired[bool]
    """The file should have run here and did not."""


@_documented
class RobustnessReport(TypedDict):
    """Top-1 on corrupted clips; all rows see the same clips, corrupted in the same way."""

    clips: Count
    corruptions: list[str]
    severities: list[Count]
    rows: list[RobustnessRow]


@_documented
class GateReport(TypedDict):
    """The verdict on one figure."""

    metric: str
    limit: float
    value: float | None
    verdict: Literal["passed", "failed", "unmeasured"]
    bound: NotRequired[Literal["min", "max"]]
    allowed: NotRequired[bool]
    """Whether the run may pass with this verdict."""
    reason: NotRequired[str]


@_documented
class WarningReport(TypedDict):
    """A network or a file that is no better than chance in a label column, or gives one answer to every clip."""

    path: str
    """`models.<model>`, `stages.<n>.<verb>` or `files.<format>.<scheme>`."""
    label: str
    """The label column."""
    message: str


@_documented
class SkippedReport(TypedDict):
    """A video that could not be read and was left out because the recipe says so."""

    path: str
    reason: str


@_documented
class DataReport(TypedDict):
    """Number of clips in each split, and the label columns with their classes."""

    source: str
    train: Count
    validation: Count
    test: Count
    classes: dict[str, list[str]]


@_documented
class Report(TypedDict):
    """A whole run."""

    schema_version: Literal[2]
    recipe: dict[str, Any]
    """The recipe as resolved: defaults and overrides filled in."""
    environment: dict[str, Any]
    data: NotRequired[DataReport]
    models: ModelReports
    stages: list[StageRecord]
    files: list[FileReport]
    robustness: NotRequired[RobustnessReport | None]
    """`null` when the recipe does not ask for it."""
    gates: list[GateReport]
    skipped: NotRequired[list[SkippedReport]]
    warnings: NotRequired[list[WarningReport]]
    """What is to be known before any figure: networks and files that have learned nothing."""
    notes: NotRequired[list[str]]
