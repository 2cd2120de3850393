"""Step 2: the models that give each section of a recipe its meaning.

Networks and stages are typed by their own tables: a row of `models.TEACHERS`, `models.STUDENTS` or
`compress.stages.STAGES` brings its options model, which validates the recipe, fills in defaults and describes
itself in the JSON Schema. Config objects stop at the door: code further in takes the parts, not the recipe.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    create_model,
    with_config,
)

from benchmarks import DEVICES
from benchmarks.clips.corruptions import CORRUPTIONS
from compress.clip import ClipConfig
from compress.data import DataConfig
from compress.distillation.config import DistillationConfig
from compress.gates import GateConfig
from compress.limits import FilePath, Seed, Word
from compress.recipe.source import Place
from compress.sources import SOURCES
from compress.stages import STAGES
from compress.training import TrainConfig
from export import EXPORTERS, SCHEMES
from models import STUDENTS, TEACHERS, Network
from models.spec import Modality

MAX_STAGES, MAX_GATES = 32, 256


class Section(BaseModel):
    """A part of a recipe: immutable, and no key beyond those declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class StudentConfig(Section):
    """The network that is compressed: a row of `models.STUDENTS`."""

    network: str
    """Name of the network."""
    inputs: tuple[Modality, ...] = Field(default=("clip",), min_length=1, max_length=3)
    """What the student is given on the device; the clips must have it."""
    labels: tuple[Word, ...] | None = Field(default=None, min_length=1, max_length=32)
    """Label columns that the student learns, one head each; by default all that the data has."""
    stream: bool = False
    """Whether the files also hold a program that takes one frame and a state (`docs/streaming.md`); of causal
    networks only."""
    options: Any
    """Options of this network."""


class TableTeacher(Section):
    """A teacher of `models.TEACHERS`, trained as the first step and kept."""

    network: str
    """Name of the network."""
    inputs: tuple[Modality, ...] | None = Field(default=None, min_length=1, max_length=3)
    """What the teacher is given; by default everything that the clips have."""
    options: Any
    """Options of this network."""
    pretrained: FilePath | None = None
    """Public weights that the video encoder of `modular` starts from: a state dict as its authors publish it."""
    tasks: dict[Word, Annotated[float, Field(ge=1e-6, le=1e6)]] | None = Field(
        default=None, min_length=1, max_length=65
    )
    """What the teacher learns, each with the weight of its loss: label columns, tag columns, and `retrieval`, which
    finds the caption of a clip. By default every label column, with weight 1."""
    weighting: Literal["fixed", "uncertainty"] = "fixed"
    """Whether these weights are final, or multiplied by weights that are learned from each task's uncertainty."""
    train: TrainConfig
    """How the teacher is trained."""


class FactoryTeacher(Section):
    """A teacher of your own, ready trained."""

    factory: str = Field(max_length=400, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """`package.module:function`, called with the clips' `ClipSpec`, gives the network. Reading the recipe imports
    that module, which runs its Python code."""
    weights: FilePath
    """Weights of the network: `.safetensors`, or a state dict that torch reads with `weights_only`."""
    inputs: tuple[Modality, ...] | None = Field(default=None, min_length=1, max_length=3)
    """What the teacher is given; by default everything that the clips have."""


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
        """Whether the stage, as it is set, trains a network."""
        return bool(getattr(self.config, "trains", False))


class ExportConfig(Section):
    """Files to write."""

    formats: tuple[Literal[tuple(EXPORTERS)], ...] = Field(  # type: ignore[valid-type]
        default=tuple(EXPORTERS), min_length=1, max_length=len(EXPORTERS)
    )
    """Formats, in the order in which they are written."""
    schemes: tuple[Literal[SCHEMES], ...] | None = Field(  # type: ignore[valid-type]
        default=None, min_length=1, max_length=len(SCHEMES)
    )
    """Numbers in the files: `fp32`, `fp16`, `w8` and `w4` (weights alone) of the float student, `w8a8` of the
    quantized one. A format is written in each that it takes. By default `fp32`, and beside it that of the last
    `quantize`."""


def schemes_of(export: ExportConfig, stages: Iterable[object]) -> tuple[str, ...]:
    """Schemes of the files of a recipe with these settings of its stages."""
    if export.schemes is not None:
        return export.schemes
    quantized = [scheme for scheme in (getattr(config, "scheme", None) for config in stages) if scheme]
    return ("fp32", *quantized[-1:])


class BenchmarkConfig(Section):
    """How the files are measured."""

    device: Literal[tuple(DEVICES)] = "host"  # type: ignore[valid-type]
    """Where the files run; `host` is this machine."""
    threads: int = Field(default=1, ge=1, le=1_024)
    """Threads that each runtime may use."""
    rounds: int = Field(default=30, ge=1, le=100_000)
    """Timed rounds; in each, every file runs in turn."""


class RobustnessConfig(Section):
    """Top-1 of teacher, student and files on corrupted test clips, beside that on clean ones."""

    corruptions: tuple[Literal[tuple(CORRUPTIONS)], ...] | None = Field(  # type: ignore[valid-type]
        default=None, min_length=1, max_length=len(CORRUPTIONS)
    )
    """Corruptions; by default all that change an input of the clips."""
    severities: tuple[Annotated[int, Field(ge=1, le=3)], ...] = Field(
        default=(1, 2, 3), min_length=1, max_length=3
    )
    """How bad each corruption is."""
    clips: int | None = Field(default=200, ge=1, le=1_000_000)
    """Test clips, taken evenly from the split; null takes all."""


_NO_SOURCE = {"use_attribute_docstrings": False}
"""Of models made from tables: pydantic would search all modules for source that they do not have, for seconds."""


def _network_rows(base: type[Section], table: Mapping[str, Network]) -> dict[str, type[Section]]:
    """One model per network: `base` with the network's name and the row's own options."""
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
STUDENT_ROWS = _network_rows(StudentConfig, STUDENTS)


def paths_in(part: Any, place: Place = ()) -> Iterator[tuple[Place, Path]]:
    """Every file or folder that a section names, at any depth, with its place."""
    if isinstance(part, Path):
        yield place, part
    elif isinstance(part, BaseModel) or is_dataclass(part):
        for name, value in vars(part).items():
            yield from paths_in(value, (*place, name))


TEACHER_ROWS: dict[str, type[Section]] = {**_network_rows(TableTeacher, TEACHERS), "factory": FactoryTeacher}
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
    AnyStudent = StudentConfig
    AnyTeacher = TableTeacher | FactoryTeacher
    AnyStage = StageEntry
else:
    AnyStudent = reduce(or_, STUDENT_ROWS.values())
    AnyTeacher = reduce(or_, TEACHER_ROWS.values())
    AnyStage = reduce(or_, STAGE_ROWS.values())


NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Names that every file system and every shell takes as they are."""


class Recipe(Section):
    """Everything that decides a run. Relative paths start from the current directory."""

    name: str = Field(max_length=100, pattern=NAME_PATTERN)
    """Name of the run and of its folder in `out/`; by default the recipe's file name without `.yaml`."""
    seed: Seed = 0
    """Decides everything that is drawn at random."""
    data: DataConfig
    """The clips."""
    clip: ClipConfig = Field(default_factory=ClipConfig)
    """How a clip is cut from a video."""
    teacher: AnyTeacher | None = None
    """The network that teaches: a row of `models.TEACHERS`, or a factory of yours."""
    student: AnyStudent
    """The network that is compressed."""
    distillation: DistillationConfig = Field(default_factory=DistillationConfig)
    """What the student learns from its teacher, in every stage that trains it."""
    stages: tuple[AnyStage, ...] = Field(default=(), max_length=MAX_STAGES)
    """What happens to the student, in this order; each entry is one verb with its settings."""
    export: ExportConfig = Field(default_factory=ExportConfig)
    """Files to write."""
    benchmark: BenchmarkConfig = Field(default_factory=BenchmarkConfig)
    """How the files are measured."""
    robustness: RobustnessConfig | None = None
    """Measures accuracy on corrupted clips too; left out, nothing is corrupted."""
    gates: tuple[GateConfig, ...] = Field(default=(), max_length=MAX_GATES)
    """Limits that decide whether the run has passed."""

    @property
    def schemes(self) -> tuple[str, ...]:
        """Schemes of the exported files."""
        return schemes_of(self.export, [stage.config for stage in self.stages])

    def to_dict(self) -> dict[str, Any]:
        """Plain data with every default filled in; as YAML, it loads as an equal recipe."""
        return self.model_dump(mode="json")
