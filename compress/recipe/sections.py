"""Step 2: pydantic models of the sections of a recipe.

Networks and stages are typed by their own tables: a row of `models.TEACHERS`, `models.STUDENTS` or
`compress.stages.STAGES` provides its options model, which validates the recipe, fills in defaults and describes
itself in the JSON Schema. Other code takes sections, not the whole recipe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    create_model,
    field_validator,
    with_config,
)

from benchmarks.any_file import SUFFIXES
from benchmarks.clips.corruptions import CORRUPTIONS
from benchmarks.devices import DeviceSettings, named_devices
from compress.artifact import Form
from compress.clip import ClipConfig, TeacherClip
from compress.data import DataConfig
from compress.device_entries import AnyDevice, settings_of
from compress.distillation.config import DistillationConfig
from compress.gates import GateConfig
from compress.installed_weights import PublicWeights
from compress.limits import MAX_TEACHERS, FilePath, Seed, Word
from compress.recipe.source import Place
from compress.sources import SOURCES
from compress.stages import STAGES
from compress.teacher_settings import CacheConfig, FileInput, FileOutput
from compress.training import TrainConfig
from export import EXPORTERS, SCHEMES
from export.targets import TARGETS
from models import STUDENTS, TEACHERS, Network
from models.spec import Modality

MAX_STAGES, MAX_GATES = 32, 256


Reference = Annotated[str, Field(max_length=400, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""`package.module:function`."""


_Text = Annotated[str, Field(max_length=400)]


class Section(BaseModel):
    """A section of a recipe: immutable, without undeclared keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class StudentConfig(Section):
    """The network that is compressed: a row of `models.STUDENTS`."""

    network: str
    """Name of the network."""
    inputs: tuple[Modality, ...] = Field(default=("clip",), min_length=1, max_length=3)
    """Inputs of the student on the device; the clips must have them."""
    labels: tuple[Word, ...] | None = Field(default=None, min_length=1, max_length=32)
    """Label columns of the student, one head each; by default all of the data."""
    stream: bool = False
    """Whether the files also hold a step program (`docs/streaming.md`); for causal networks only."""
    weights: FilePath | None = None
    """Weights to start from, such as `weights.safetensors` of a stage of an earlier run, pruned or not:
    `.safetensors`, or a state dict that torch reads with `weights_only`. By default they are drawn."""
    pretrained: PublicWeights | None = None
    """Public weights to start from: a file as published for this network, or the name of installed ones,
    `efficientnet-lite0` (`docs/students.md`). Classifiers are drawn, so that the student must be trained."""
    options: Any
    """Options of this network."""

    @property
    def title(self) -> str:
        """Name of the network in reports."""
        return self.network

    @property
    def is_trained(self) -> bool:
        """Whether the network starts with trained weights."""
        return self.weights is not None


class FactoryStudent(Section):
    """Your own network, trained or not."""

    factory: Reference
    """`package.module:function`, called with the `ClipSpec` of the student's inputs, returns the network. Reading
    the recipe imports that module, which runs its Python code."""
    inputs: tuple[Modality, ...] = Field(default=("clip",), min_length=1, max_length=3)
    """Inputs of your network on the device, in the order of its arguments; the clips must have them."""
    labels: tuple[Word, ...] | None = Field(default=None, min_length=1, max_length=32)
    """Label columns of the student, in the order of its outputs; by default all of the data."""
    weights: FilePath | None = None
    """Trained weights of the network: `.safetensors`, or a state dict that torch reads with `weights_only`. By
    default the network starts as the factory returns it."""
    stream: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """Name of the network in reports."""
        return self.factory

    @property
    def is_trained(self) -> bool:
        """Whether the network starts with trained weights."""
        return self.weights is not None


class TeacherStudent(Section):
    """The trained teacher itself, which the stages make smaller; the unchanged teacher supervises it."""

    inputs: ClassVar[None] = None
    labels: ClassVar[None] = None
    stream: ClassVar[bool] = False
    title: ClassVar[str] = "teacher"
    is_trained: ClassVar[bool] = True


class TeacherSection(Section):
    """Settings that every teacher has."""

    clip: TeacherClip | None = None
    """Frames and pixels of the teacher, if it sees other ones than the student."""
    cache: CacheConfig = Field(default_factory=CacheConfig)
    """How its outputs are stored for the training of students."""
    weight: float = Field(default=1.0, ge=1e-6, le=1e6)
    """Weight of its losses relative to those of the other `teachers`."""

    @property
    def title(self) -> str:
        """Name of the network in reports."""
        raise NotImplementedError


class TableTeacher(TeacherSection):
    """A teacher of `models.TEACHERS`, trained in the first step."""

    network: str
    """Name of the network."""
    inputs: tuple[Modality, ...] | None = Field(default=None, min_length=1, max_length=3)
    """Inputs of the teacher; by default all of the clips."""
    options: Any
    """Options of this network."""
    pretrained: PublicWeights | None = None
    """Public pretrained weights of the video encoder of `modular`: a state dict as published by its authors, or the
    name of installed ones, `efficientnet-lite0`."""
    tasks: dict[Word, Annotated[float, Field(ge=1e-6, le=1e6)]] | None = Field(
        default=None, min_length=1, max_length=65
    )
    """Tasks of the teacher, each with the weight of its loss: label columns, tag columns, and `retrieval`, which
    finds the caption of a clip. By default every label column, with weight 1."""
    weighting: Literal["fixed", "uncertainty"] = "fixed"
    """`fixed` uses these weights; `uncertainty` multiplies them by weights learned from the uncertainty of each
    task."""
    train: TrainConfig
    """Training settings of the teacher."""

    @property
    def title(self) -> str:
        """Name of the network in reports."""
        return self.network


class FactoryTeacher(TeacherSection):
    """Your own trained teacher."""

    factory: Reference
    """`package.module:function`, called with the clips' `ClipSpec`, returns the network. Reading the recipe imports
    that module, which runs its Python code."""
    weights: FilePath
    """Weights of the network: `.safetensors`, or a state dict that torch reads with `weights_only`."""
    inputs: tuple[Modality, ...] | None = Field(default=None, min_length=1, max_length=3)
    """Inputs of the teacher; by default all of the clips."""

    @property
    def title(self) -> str:
        """Name of the network in reports."""
        return self.factory


def _video_alone() -> dict[Modality, FileInput]:
    return {"clip": FileInput()}


class FileTeacher(TeacherSection):
    """Your own teacher as a file, run by its own runtime."""

    file: FilePath
    """`.onnx`, `.tflite` or `.pt2`. Loading a `.pt2` may run code that is stored in it; see docs/teachers.md."""
    inputs: dict[Modality, FileInput] = Field(default_factory=_video_alone, min_length=1, max_length=3)
    """Inputs of the teacher, and how the file takes them; by default `clip`."""
    outputs: dict[Word, FileOutput] = Field(min_length=1, max_length=32)
    """Label columns that the teacher predicts, and the output of the file for each."""

    @field_validator("file")
    @classmethod
    def _has_a_runtime(cls, file: Path) -> Path:
        if file.suffix not in SUFFIXES:
            raise ValueError(
                f"{file.name} has no runtime; the name of the file ends in {', '.join(SUFFIXES)}"
            )
        return file

    @property
    def title(self) -> str:
        """Name of the network in reports."""
        return self.file.name


class StageEntry(Section):
    """One entry of `stages`: a verb and its settings."""

    @property
    def verb(self) -> str:
        """Name of the stage in `STAGES`."""
        return next(iter(type(self).model_fields))

    @property
    def config(self) -> BaseModel:
        """Settings of the stage, an instance of its row's `config`."""
        settings: BaseModel = getattr(self, self.verb)
        return settings

    @property
    def trains(self) -> bool:
        """Whether the stage trains a network with these settings."""
        return bool(getattr(self.config, "trains", False))


class DeviceTarget(Section):
    """A device that the files are for."""

    device: AnyDevice
    """Device on which forms are measured, with the kinds and settings of `benchmark.devices`."""

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: AnyDevice) -> AnyDevice:
        settings_of(device)
        return device


class ExportConfig(Section):
    """Files to write."""

    formats: tuple[Literal[tuple(EXPORTERS)], ...] = Field(  # type: ignore[valid-type]
        default=tuple(EXPORTERS), min_length=1, max_length=len(EXPORTERS)
    )
    """Formats, in the order of export."""
    schemes: tuple[Literal[SCHEMES], ...] | None = Field(  # type: ignore[valid-type]
        default=None, min_length=1, max_length=len(SCHEMES)
    )
    """Numeric schemes: `fp32`, `fp16`, `w8`, `w4` and `p4` (weight-only) and `w8a8_nncf` (ONNX files that NNCF
    quantizes) of the float student, `w8a8` of the quantized one; `w8` and `w4` of the stage that outputs it, if
    there is one. A format is written in every scheme that it supports. By default `fp32` and the scheme of the last
    `quantize`."""
    target: Literal[tuple(TARGETS)] | DeviceTarget | None = None  # type: ignore[valid-type]
    """Processor that the files are for, whose rule chooses among the forms of a network, and the bits of int8
    weights; or `{device: ...}`, a device on which forms are measured. By default they are measured on this machine
    (docs/exporting.md)."""
    forms: FilePath | None = None
    """`manifest.json` of an earlier export, or a JSON file with the key `forms`: its forms are taken again, without
    a measurement."""


def output_scheme(entry: StageEntry) -> str | None:
    """Scheme of the network that a stage outputs; None for a float network, whatever files its target is about."""
    if STAGES[entry.verb].gives is Form.FLOAT:
        return None
    scheme: str = entry.config.scheme  # type: ignore[attr-defined]
    return scheme


def schemes_of(export: ExportConfig, stages: Iterable[StageEntry]) -> tuple[str, ...]:
    """Schemes of the exported files, given the stages of the recipe."""
    if export.schemes is not None:
        return export.schemes
    quantized = [scheme for scheme in map(output_scheme, stages) if scheme]
    return ("fp32", *quantized[-1:])


def for_target(entry: StageEntry, target: str | DeviceTarget | None) -> StageEntry:
    """The stage with the bits of weights that the target needs, if it outputs a w8a8 network and does not set
    them."""
    if output_scheme(entry) != "w8a8" or not isinstance(target, str):
        return entry
    config: Any = entry.config
    bits = TARGETS[target].weight_bits
    if config.weight_bits is not None or bits == 8:
        return entry
    return entry.model_copy(update={entry.verb: config.model_copy(update={"weight_bits": bits})})


_NO_SOURCE = {"use_attribute_docstrings": False}
"""For models created from tables: pydantic would search all modules for their source, which takes seconds."""


class BenchmarkConfig(Section):
    """Settings of the benchmark."""

    devices: tuple[AnyDevice, ...] = Field(default=("host",), min_length=1, max_length=16)
    """Devices on which the files run: `host`, this machine; others are in docs/devices.md. Accuracy, agreement and
    gates without a device are those of the first."""
    threads: int = Field(default=1, ge=1, le=1_024)
    """Number of threads of each runtime."""
    rounds: int = Field(default=30, ge=1, le=100_000)
    """Number of timed rounds; all files run in each."""

    @field_validator("devices")
    @classmethod
    def _are_devices(cls, devices: tuple[AnyDevice, ...]) -> tuple[AnyDevice, ...]:
        named_devices(map(settings_of, devices))
        return devices

    @property
    def named_devices(self) -> dict[str, DeviceSettings]:
        """All devices by name, in their order."""
        return named_devices(map(settings_of, self.devices))


class RobustnessConfig(Section):
    """Top-1 of teacher, student and files on clean and corrupted test clips."""

    corruptions: tuple[Literal[tuple(CORRUPTIONS)], ...] | None = Field(  # type: ignore[valid-type]
        default=None, min_length=1, max_length=len(CORRUPTIONS)
    )
    """Corruptions; by default all that apply to an input of the clips."""
    severities: tuple[Annotated[int, Field(ge=1, le=3)], ...] = Field(
        default=(1, 2, 3), min_length=1, max_length=3
    )
    """Severities of each corruption."""
    clips: int | None = Field(default=200, ge=1, le=1_000_000)
    """Number of test clips, evenly spaced in the split; null for all."""


def _network_rows(base: type[Section], table: Mapping[str, Network]) -> dict[str, type[Section]]:
    """One model per network: `base` with the name of the network and the options of its row."""
    return {
        name: create_model(
            f"{base.__name__}_{name}",
            __base__=base,
            __doc__=base.__doc__,
            __cls_kwargs__=_NO_SOURCE,
            network=(Literal[name], ...),  # type: ignore[arg-type]
            options=(
                with_config(Section.model_config)(network.options),
                Field(default_factory=network.options),
            ),
        )
        for name, network in table.items()
    }


DATA_ROWS: dict[str, type] = {name: row.config for name, row in SOURCES.items()}
STUDENT_ROWS: dict[str, type[Section]] = {
    **_network_rows(StudentConfig, STUDENTS),
    "factory": FactoryStudent,
    "from": create_model(  # type: ignore[call-overload]
        "StudentFromTeacher",
        __base__=TeacherStudent,
        __doc__=TeacherStudent.__doc__,
        __cls_kwargs__=_NO_SOURCE,
        **{
            "from": (
                Literal["teacher"],
                Field(description="`teacher`: the network of the section `teacher`."),
            )
        },
    ),
}


def paths_in(part: Any, place: Place = ()) -> Iterator[tuple[Place, Path]]:
    """Every path in a section, at any depth, with its place."""
    if isinstance(part, Path):
        yield place, part
    elif isinstance(part, BaseModel) or is_dataclass(part):
        for name, value in vars(part).items():
            yield from paths_in(value, (*place, name))


TEACHER_ROWS: dict[str, type[Section]] = {
    **_network_rows(TableTeacher, TEACHERS),
    "factory": FactoryTeacher,
    "file": FileTeacher,
}
STAGE_ROWS: dict[str, type[Section]] = {
    verb: create_model(  # type: ignore[call-overload]
        f"Stage_{verb}",
        __base__=StageEntry,
        __doc__=None,
        __cls_kwargs__=_NO_SOURCE,
        **{verb: (stage.config, ...)},
    )
    for verb, stage in STAGES.items()
}

if TYPE_CHECKING:
    AnyStudent = StudentConfig | FactoryStudent | TeacherStudent
    AnyTeacher = TableTeacher | FactoryTeacher | FileTeacher
    AnyStage = StageEntry
else:
    AnyStudent = reduce(or_, STUDENT_ROWS.values())
    AnyTeacher = reduce(or_, TEACHER_ROWS.values())
    AnyStage = reduce(or_, STAGE_ROWS.values())


NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Names that are safe in every file system and shell."""


class Recipe(Section):
    """All settings of a run. Relative paths start from the current directory."""

    name: str = Field(max_length=100, pattern=NAME_PATTERN)
    """Name of the run and of its folder in `out/`; by default the recipe's file name without `.yaml`."""
    seed: Seed = 0
    """Seed of all random numbers."""
    data: DataConfig
    """The clips."""
    clip: ClipConfig = Field(default_factory=ClipConfig)
    """Preprocessing of clips."""
    teacher: AnyTeacher | None = None
    """The teacher: a row of `models.TEACHERS`, your own factory, or a file."""
    teachers: tuple[AnyTeacher, ...] = Field(default=(), max_length=MAX_TEACHERS)
    """Several teachers, in place of `teacher`: a list of 2 to 8."""
    student: AnyStudent
    """The network that is compressed: a row of `models.STUDENTS`, your own factory, or the teacher."""
    distillation: DistillationConfig = Field(default_factory=DistillationConfig)
    """Settings of distillation in all training stages."""
    stages: tuple[AnyStage, ...] = Field(default=(), max_length=MAX_STAGES)
    """Stages of the student, in this order; each entry is one verb with its settings."""
    export: ExportConfig = Field(default_factory=ExportConfig)
    """Files to write."""
    benchmark: BenchmarkConfig = Field(default_factory=BenchmarkConfig)
    """Settings of the benchmark."""
    robustness: RobustnessConfig | None = None
    """Measures accuracy on corrupted clips; without it, nothing is corrupted."""
    gates: tuple[GateConfig, ...] = Field(default=(), max_length=MAX_GATES)
    """Limits that decide whether the run passes."""

    @property
    def named_teachers(self) -> dict[str, AnyTeacher]:
        """All teachers by name: `teacher`, or `teacher_0`, `teacher_1` of several."""
        if self.teacher is not None:
            return {"teacher": self.teacher}
        return {f"teacher_{index}": one for index, one in enumerate(self.teachers)}

    @property
    def schemes(self) -> tuple[str, ...]:
        """Schemes of the exported files."""
        return schemes_of(self.export, self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain data with all defaults; as YAML, it loads as an equal recipe."""
        return self.model_dump(mode="json")
