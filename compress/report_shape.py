"""The schema of `report.json`. Its JSON Schema, `docs/report.schema.json`, is generated from these types.

Within a version, keys are only added. Shares such as `top1` are 0..1. A figure that is `null` was not measured, and
`reason` says why. With several label columns, a per-label figure is a mapping from column to figure.
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
    """Figures by task: `top1`, `top5`, `macro_f1` of a label column, `map` of tags, `caption_recall_at_<k>` and
    `clip_recall_at_<k>` of `retrieval`."""
    parameters: Count | None
    macs: Count | None
    """Multiply-accumulate operations of one clip."""
    network: NotRequired[str]
    inputs: NotRequired[list[str]]
    notes: NotRequired[list[str]]
    reason: NotRequired[str]


@_documented
class ModelReports(TypedDict):
    """All networks of the run; `null` for those that the recipe does not produce."""

    teacher: ModelReport | None
    student_labels_only: NotRequired[ModelReport | None]
    """The same student trained on the labels alone: the baseline of distillation."""
    student_float: ModelReport | None
    """The student before quantization."""
    student_quantized: ModelReport | None
    """The torch network of the last stage `quantize`: the int8 reference of `w8a8`. With several such stages, each
    also has a network of its own: `student_quantized_w8a8`, `student_quantized_w8`, `student_quantized_w4`."""


@_documented
class PairedReport(TypedDict):
    """Change of top-1 from the float student to a file, both on the same clips."""

    lost: Count
    """Clips that the float student alone classifies correctly."""
    won: Count
    """Clips that the file alone classifies correctly."""
    change_pp: float
    """Change of top-1 in percentage points; negative: the file is worse."""
    ci95_pp: tuple[float, float]
    """95 % interval of `change_pp`, from the clips that differ."""
    p: Share
    """Two-sided p-value of no change (mid-p McNemar test; clips of one video count together)."""


@_documented
class AccuracyReport(TypedDict):
    """Top-1 of one file in its own runtime."""

    top1: SharePerLabel | None
    ci95: IntervalPerLabel | None
    clips: Count
    runtime: str | None
    reason: NotRequired[str]
    failed: NotRequired[bool]
    """The file should have run on this machine and did not."""
    classes_answered: NotRequired[dict[str, list[Count]]]
    """The distinct predicted classes, by label column."""
    paired: NotRequired[dict[str, PairedReport]]
    """Change from the float student, by label column."""


@_documented
class ParityReport(TypedDict):
    """Parity of the logits of one file with the torch network that it was exported from."""

    max_abs_error: float | dict[str, float] | None
    sqnr_db: float | dict[str, float] | None
    """Signal-to-quantization-noise ratio, from -160 to 160; 160 also for equal outputs, -160 for non-finite
    ones."""
    top1_agreement: SharePerLabel | None
    reason: NotRequired[str]


@_documented
class LatencyReport(TypedDict):
    """Latency for one clip on one device."""

    device: str
    threads: Count
    p50_ms: Milliseconds | None
    p90_ms: Milliseconds | None
    p99_ms: Milliseconds | None
    p50_ci95_ms: NotRequired[tuple[Milliseconds, Milliseconds] | None]
    """95 % interval of `p50_ms`, over starts; `null` with fewer than 6 starts."""
    ratio_to_fp32: NotRequired[float | None]
    """Latency relative to the fp32 file of the same format, over common rounds; below 1 is faster."""
    ratio_to_fp32_ci95: NotRequired[tuple[float, float] | None]
    """95 % interval of `ratio_to_fp32`, computed as for `p50_ms`."""
    peak_rss_bytes: Count | None
    """Peak resident memory of the runtime process."""
    rounds: NotRequired[Count]
    starts: NotRequired[Count]
    """Number of processes in which the file was measured."""
    load_ms: NotRequired[Milliseconds | None]
    """Loading the file in a new process; `null` if the device does not time it."""
    first_ms: NotRequired[Milliseconds | None]
    """First inference after loading; `null` if the device does not time it."""
    busy: NotRequired[list[str]]
    """Reasons why the machine was busy; empty if it was not; absent with fewer than 6 starts."""
    round_p50_ms: NotRequired[list[Milliseconds]]
    """Median of every round, in temporal order."""
    reason: NotRequired[str]
    failed: NotRequired[bool]
    """The file should have run on this machine and did not."""


@_documented
class ElsewhereReport(TypedDict):
    """Accuracy and parity of one file on a device other than the first."""

    device: str
    accuracy: AccuracyReport
    parity: ParityReport


@_documented
class LeftReport(TypedDict):
    """One operator outside the fast kernels of a runtime."""

    node: str
    operator: str
    macs: Count
    """Its multiply-adds for one clip; 0 for data movement and elementwise operators."""
    reason: str
    place: NotRequired[str | None]
    """File, line and text of the source of the network."""


@_documented
class CoverageReport(TypedDict):
    """Share of the work of a file in the fast kernels of its runtime."""

    share: Share
    """Share of the multiply-adds."""
    macs: Count
    accelerated_macs: Count
    partitions: Count | None
    """Number of accelerated parts; `null` for a runtime that does not partition the graph."""
    left: list[LeftReport]
    """Operators outside the fast kernels, in the order of execution."""
    source: str


@_documented
class StepReport(TypedDict):
    """The step program of a streaming student, which processes one new frame."""

    size_bytes: Count | None
    """`null` if it is in the file of the clip program."""
    coverage: CoverageReport | None
    p50_ms: Milliseconds | None
    """Median latency of one frame on the first device."""
    speedup: float | None
    """Latency of the whole clip relative to that of one frame, over common rounds."""
    speedup_ci95: tuple[float, float] | None
    reason: NotRequired[str]


@_documented
class FileReport(TypedDict):
    """One exported file."""

    format: str
    path: str | None
    """Relative to the report's folder; null if no file was written."""
    scheme: str
    size_bytes: Count | None
    status: NotRequired[Literal["exported", "wrong", "failed"]]
    """wrong: the file misses its pass criterion and is not measured."""
    reason: NotRequired[str | None]
    """Reason why the file was not written or misses its pass criterion."""
    accuracy: AccuracyReport
    """On the first device."""
    parity: ParityReport
    """On the first device."""
    elsewhere: NotRequired[list[ElsewhereReport]]
    """Accuracy and parity on further devices."""
    latency: list[LatencyReport]
    """On every device."""
    seconds: NotRequired[float]
    """Time of the conversion."""
    float_layers: NotRequired[list[str]]
    """Layers of an int8 file that stay in float."""
    coverage: NotRequired[CoverageReport | None]
    """`null` if it was not determined."""
    step: NotRequired[StepReport | None]
    """The step program of a streaming student; `null` for others."""
    notes: NotRequired[list[str]]


@_documented
class RobustnessRow(TypedDict):
    """Top-1 of one network or file in one label column, on clean and on corrupted clips."""

    name: str
    """`teacher`, `student_float`, or a file as `<format>.<scheme>`."""
    label: str
    clean: Share | None
    corrupted: NotRequired[dict[str, list[Share]]]
    """By corruption, one share per severity; the clean share for `unaffected` corruptions."""
    mean: Share | None
    """Mean over all corruptions and severities."""
    unaffected: NotRequired[list[str]]
    """Corruptions of inputs that the network does not take."""
    reason: NotRequired[str]
    failed: NotRequired[bool]
    """The file should have run on this machine and did not."""


@_documented
class RobustnessReport(TypedDict):
    """Top-1 on corrupted clips; all rows use the same corrupted clips."""

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
    """A network or file at chance level in a label column, or with a constant prediction."""

    path: str
    """`models.<model>`, `stages.<n>.<verb>` or `files.<format>.<scheme>`."""
    label: str
    """The label column."""
    message: str


@_documented
class ChanceReport(TypedDict):
    """The constant prediction with the highest top-1."""

    share: Share
    prediction: str


@_documented
class AgreementReport(TypedDict):
    """Share of clips with the same prediction, for every two networks or files."""

    names: list[str]
    shares: list[list[Share]]


@_documented
class ClipReport(TypedDict):
    """Predictions of one test clip."""

    number: Count
    """Its place in the test split, from 0."""
    clip: str
    """Path relative to the common folder, and time span."""
    label: str
    predictions: dict[str, str | None]
    """By network or file; `null` for non-finite logits."""
    probability: NotRequired[Share]
    """Softmax of the wrong prediction, for `mistakes`."""


@_documented
class PredictionsReport(TypedDict):
    """Predictions of networks and files on the test split in one label column.

    Networks have their names in `models`, files those in `predictions/`: `onnx.w8a8`, and `onnx.w8a8.board` on a
    device other than the first.
    """

    clips_per_class: list[Count]
    """In the order of the classes of `data`."""
    chance: ChanceReport
    recall: dict[str, list[Share | None]]
    """Correctly classified share of the clips of each class, by network or file; `null` without clips."""
    examined: str | None
    """Network or file of `confusions` and `mistakes`: the first int8 file that was measured, else the first file,
    else the student."""
    confusions: list[tuple[Count, Count, Count]]
    """Class, wrongly predicted class (indices) and number of clips, most frequent first; at most 400."""
    agreement: AgreementReport
    flipped: Count
    """Number of clips that the float student or at least one file classifies correctly, and another does not."""
    flips: list[ClipReport]
    """Those of them that most files change; at most 50."""
    mistakes: list[ClipReport]
    """Wrong predictions of highest probability; at most 20."""


@_documented
class SkippedReport(TypedDict):
    """An unreadable video that was excluded, as set in the recipe."""

    path: str
    reason: str


@_documented
class DataReport(TypedDict):
    """Number of clips in each split, and the label columns with their classes."""

    source: str
    train: Count
    validation: Count
    test: Count
    unlabeled: NotRequired[Count]
    """Training clips without labels, which the student learns from its teacher alone."""
    classes: dict[str, list[str]]


@_documented
class Report(TypedDict):
    """The report of a run."""

    schema_version: Literal[2]
    recipe: dict[str, Any]
    """The resolved recipe, with defaults and overrides."""
    environment: dict[str, Any]
    data: NotRequired[DataReport]
    models: ModelReports
    stages: list[StageRecord]
    files: list[FileReport]
    predictions: NotRequired[dict[str, PredictionsReport]]
    """Predictions by label column of the student."""
    reproduce: NotRequired[str]
    """The command of this run, with paths of this machine."""
    robustness: NotRequired[RobustnessReport | None]
    """`null` if the recipe has no section `robustness`."""
    gates: list[GateReport]
    skipped: NotRequired[list[SkippedReport]]
    warnings: NotRequired[list[WarningReport]]
    """Networks and files at chance level."""
    notes: NotRequired[list[str]]
