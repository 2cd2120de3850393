"""The training steps: the teacher, then every stage of the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from benchmarks.any_file import runtime_of
from compress.artifact import (
    STAGE_FILES,
    Artifact,
    Form,
    load_artifact,
    save_artifact,
    size_of,
    weights_sha256,
)
from compress.command.terminal import headed
from compress.distillation import LOSSES
from compress.factory import import_factory, load_weights
from compress.file_network import FileNetwork
from compress.folders.keys import Key
from compress.folders.source import is_ours
from compress.folders.writing import Damaged, read_sealed, write_atomic, write_sealed
from compress.predict import predict
from compress.pretrained import load_pretrained
from compress.recipe.sections import (
    AnyTeacher,
    FactoryStudent,
    FactoryTeacher,
    FileTeacher,
    TableTeacher,
    TeacherStudent,
)
from compress.recipe.teacher_spec import teacher_spec
from compress.record import StageRecord
from compress.stage import Context, StageResult, training_job
from compress.stages import STAGES
from compress.steps.clock import Clock
from compress.steps.pipeline import Run, StageOutcome, StepFailed, shares
from compress.store import stored
from compress.tasks import measure
from compress.teacher import Teacher
from compress.teacher_check import check_logits, check_on_clips
from compress.teacher_training import train_teacher
from compress.training import accuracy, by_column, per_label
from compress.versions import installed
from models import STUDENTS, TEACHERS, Network

_THREADS_FILE = "threads"
_OF_STUDENTS = ("cache", "weight")
"""Keys of a teacher that determine the training of students, not the teacher."""
_OF_EVERY = ("compress.artifact", "compress.tasks", "compress.training")
"""Modules for training, running, measuring and storing every network of a run."""


def make_teachers(run: Run) -> list[StageOutcome]:
    """The teachers of the recipe."""
    return [make_teacher(run, name) for name in run.recipe.named_teachers]


def make_teacher(run: Run, name: str = "teacher") -> StageOutcome:
    """A teacher of the recipe: trained, or opened and checked on inputs of the data."""
    config = run.recipe.named_teachers[name]
    spec = teacher_spec(config, run.data.spec)
    what = f"the {name}"

    def work(context: Context) -> StageResult:
        model = run.build_teacher(name)
        check_logits(model, spec, what=what)
        artifact = Artifact(model=model, spec=spec)
        if isinstance(config, FactoryTeacher):
            load_weights(model, config.weights)
        if not isinstance(config, TableTeacher):
            check_on_clips(model, spec, run.data.train.for_spec(spec), device=run.device, what=what)
            notes: tuple[str, ...] = ("trained by its owner",)
            if isinstance(model, FileNetwork):
                notes += (f"runs in {model.opened().interface.runtime}",)
            return StageResult(artifact=artifact, notes=notes)
        notes = ()
        if config.pretrained is not None:
            notes = (load_pretrained(model, config.options, config.pretrained),)
        trained = train_teacher(artifact, config, data=run.data, job=training_job(name, context))
        return replace(trained, notes=(*notes, *trained.notes))

    return _stage(
        run,
        path=name,
        folder=f"00_{name}",
        key=teacher_key(run, name),
        config=config.model_dump(mode="json"),
        work=work,
        build=lambda: run.build_teacher(name),
        before={},
        teachers=(),
    )


def teacher_key(run: Run, name: str = "teacher") -> Key:
    """Hash of everything that determines a teacher."""
    config = run.recipe.named_teachers[name]
    settings = {key: one for key, one in run.settings_of(config).items() if key not in _OF_STUDENTS}
    spec = teacher_spec(config, run.data.spec)
    more: dict[str, Any] = {}
    if config.clip is not None:
        splits = (run.data.train, run.data.validation, run.data.test)
        more["clips"] = [clips.for_spec(spec).digest for clips in splits]
    if isinstance(config, FileTeacher):
        more["runtime"] = installed([runtime_of(config.file).distribution])
    return run.key(code=_teacher_code(config), teacher=settings, inputs=spec.inputs, **more)


def _teacher_code(config: AnyTeacher) -> list[str]:
    """The modules that build and train a teacher."""
    if isinstance(config, FileTeacher):
        return [*_OF_EVERY, "compress.file_network", "compress.teacher_check"]
    if isinstance(config, FactoryTeacher):
        return [*_OF_EVERY, "compress.factory", "compress.teacher_check", *_own_module(config.factory)]
    code = [*_OF_EVERY, "compress.teacher_training", *_code_of(TEACHERS[config.network])]
    return code if config.pretrained is None else [*code, "compress.pretrained"]


def _code_of(network: Network) -> list[str]:
    """The modules that build a network, without the table of all networks."""
    return [network.build.__module__, network.options.__module__]


def student_code(run: Run) -> list[str]:
    """The modules that build the student and load its weights."""
    student = run.recipe.student
    if isinstance(student, TeacherStudent):
        assert run.recipe.teacher is not None
        return _teacher_code(run.recipe.teacher)
    if isinstance(student, FactoryStudent):
        return ["compress.factory", *_own_module(student.factory)]
    code = _code_of(STUDENTS[student.network])
    if student.pretrained is not None:
        code.append("compress.pretrained")
    return code if student.weights is None else [*code, "export.weights_file"]


def _own_module(factory: str) -> list[str]:
    """The module of a factory of this package; other code is part of a key by its file."""
    module = getattr(import_factory(factory), "__module__", "")
    return [module] if is_ours(module) else []


def stage_keys(run: Run, *, teacher: str | None, further: Sequence[str] = ()) -> list[Key]:
    """Hashes of everything that determines the stages of the recipe, each including that of the float stage before.

    `teacher` is the key of the teacher, `further` are those of the others of several.
    """
    network = student_code(run)
    key = run.key(
        code=network, student=run.settings_of(run.recipe.student), teacher=teacher, further=list(further)
    )
    lessons = [
        {name: run.settings_of(one)[name] for name in _OF_STUDENTS}
        for one in run.recipe.named_teachers.values()
    ]
    keys = []
    for entry in run.recipe.stages:
        stage = STAGES[entry.verb]
        code = [*_OF_EVERY, stage.run.__module__, *network]
        code += [method.__module__ for method in stage.methods(entry.config)]
        if stage.gives is Form.QUANTIZED:
            code.append("compress.predict")
        more: dict[str, Any] = stage.machine(entry.config)
        if entry.trains:
            code.append("compress.teacher")
            code += [LOSSES[row].__module__ for _, row, _ in run.recipe.distillation.losses.chosen()]
            more["distillation"] = run.settings_of(run.recipe.distillation)
            more["lessons"] = lessons
        own = run.key(code=code, upstream=key, verb=entry.verb, config=run.settings_of(entry.config), **more)
        keys.append(own)
        if stage.gives is Form.FLOAT:
            key = own
    return keys


def run_stages(run: Run, teachers: Sequence[StageOutcome], first: StageOutcome | None) -> list[StageOutcome]:
    """The stages of the recipe in order, starting from the student before all stages.

    Every stage continues from the last float network, so several stages may quantize the same one.
    """
    settings = run.recipe.named_teachers
    taught_by = [
        Teacher(
            artifact=one.artifact,
            key=one.key,
            name=one.path,
            weight=settings[one.path].weight,
            top_k=settings[one.path].cache.top_k,
        )
        for one in teachers
    ]
    streams = run.recipe.student.stream
    model, started = (first.artifact.model, ()) if first else run.first_student_and_notes(None)
    artifact = Artifact(model=model, spec=run.student_spec, streams=streams)
    figures = _figures(first) if first else _size(artifact)
    before = first
    outcomes: list[StageOutcome] = []
    of_teachers = [one.key for one in teachers]
    keys = stage_keys(run, teacher=next(iter(of_teachers), None), further=of_teachers[1:])
    for index, (entry, key) in enumerate(zip(run.recipe.stages, keys, strict=True)):
        stage, config = STAGES[entry.verb], entry.config

        def work(
            context: Context,
            artifact: Artifact = artifact,
            stage: Any = stage,
            config: Any = config,
            notes: tuple[str, ...] = () if index else started,
        ) -> StageResult:
            result = stage.run(artifact, config, context)
            return replace(result, notes=(*notes, *result.notes))

        outcome = _stage(
            run,
            path=f"stages.{index}.{entry.verb}",
            folder=f"{index + 1:02d}_{entry.verb}",
            key=key,
            config=config.model_dump(mode="json"),
            work=work,
            build=run.build_student,
            before=figures,
            teachers=taught_by,
        )
        if outcome.artifact.form is Form.QUANTIZED and not entry.trains:
            outcome = replace(outcome, rounded_from=before)
        outcomes.append(outcome)
        if outcome.artifact.form is Form.FLOAT:
            artifact, figures, before = outcome.artifact, _figures(outcome), outcome
    return outcomes


def _figures(outcome: StageOutcome) -> dict[str, Any]:
    return {name: outcome.record["after"][name] for name in ("top1", "parameters", "macs")}


def networks_by_scheme(schemes: Sequence[str], made: Sequence[StageOutcome]) -> dict[str, StageOutcome]:
    """The network of each scheme: that of its last `quantize` stage, or the last float network of the run."""
    floating = [outcome for outcome in made if outcome.artifact.form is Form.FLOAT]
    stages = {
        outcome.record["config"]["scheme"]: outcome
        for outcome in made
        if outcome.artifact.form is Form.QUANTIZED
    }
    return {scheme: stages[scheme] if scheme in stages else floating[-1] for scheme in schemes}


def start(run: Run, teachers: Sequence[StageOutcome]) -> StageOutcome | None:
    """The student before all stages: the teacher, or one with weights of the user's; None if it is to be trained.

    A recipe without stages measures the student as it is, untrained or not.
    """
    student = run.recipe.student
    if isinstance(student, TeacherStudent):
        return teachers[0]
    if not student.is_trained and run.recipe.stages:
        return None

    def work(context: Context) -> StageResult:
        model, notes = run.first_student_and_notes(None)
        artifact = Artifact(model=model, spec=run.student_spec, streams=student.stream)
        note = "its weights are given" if student.is_trained else "untrained: the recipe has no stages"
        return StageResult(artifact=artifact, notes=(*notes, note))

    return _stage(
        run,
        path="student",
        folder="00_student",
        key=run.key(code=[*_OF_EVERY, *student_code(run)], student=run.settings_of(student)),
        config=student.model_dump(mode="json"),
        work=work,
        build=run.build_student,
        before={},
        teachers=(),
    )


def _stage(
    run: Run,
    *,
    path: str,
    folder: str,
    key: str,
    config: dict[str, Any],
    work: Callable[[Context], StageResult],
    build: Callable[[], nn.Module],
    before: dict[str, Any],
    teachers: Sequence[Teacher],
) -> StageOutcome:
    name = path.rpartition(".")[2]

    def make(unfinished: Path) -> None:
        with _threads_of(unfinished, run, path):
            make_with_threads(unfinished)

    def make_with_threads(unfinished: Path) -> None:
        clock = Clock()
        result = work(run.context(unfinished, teachers))
        artifact = result.artifact
        test = run.data.test.for_spec(artifact.spec)
        logits = predict(artifact, test, device=run.device, console=run.console, title=f"testing {name}")
        # For a quantized graph, use the counts of its float network.
        size = (
            _size(artifact) if artifact.form is Form.FLOAT else {k: before[k] for k in ("parameters", "macs")}
        )
        threads = torch.get_num_threads()
        taken = clock.taken(threads=threads, on_cpu=run.device.type == "cpu")
        found = accuracy(logits, test)
        record = StageRecord(
            name=name,
            path=path,
            config=config,
            seconds=taken.seconds,
            cpu_seconds=taken.cpu_seconds,
            busy=taken.busy,
            before=before,
            after={
                "top1": per_label([one.top1 for one in found], artifact.spec, data=run.data.spec),
                "correct": by_column(found, artifact.spec),
                "tasks": measure(logits, run.truth(run.data.test, artifact.spec), artifact.spec),
                **size,
                **result.figures,
            },
            threads=threads,
            weights_sha256=weights_sha256(artifact.model),
            notes=list(result.notes),
            curve=[dict(row) for row in result.curve],
        )
        save_artifact(replace(artifact, history=(*artifact.history, record)), unfinished)
        columns = {str(k): column.contiguous() for k, column in enumerate(logits)}
        write_atomic(unfinished / "test_logits.safetensors", save(columns))

    def load(finished: Path) -> tuple[Artifact, tuple[Tensor, ...]]:
        columns = load_file(finished / "test_logits.safetensors")
        return load_artifact(finished, build), tuple(columns[str(k)] for k in range(len(columns)))

    try:
        result = stored(
            run.folder / "stages" / folder,
            key=key,
            make=make,
            load=load,
            names=(*STAGE_FILES, _THREADS_FILE),
            scratch=("checkpoint.pt", "*/checkpoint.pt", _THREADS_FILE),
            also=[earlier / "stages" / folder for earlier in run.finished],
            title=path,
            notify=run.notify,
        )
    except (ValueError, RuntimeError, FloatingPointError, ImportError, OSError) as error:
        raise StepFailed(f"{path}: {error}") from error
    artifact, logits = result.value
    outcome = StageOutcome(
        path=path,
        folder=f"stages/{folder}",
        key=key,
        artifact=artifact,
        test_logits=logits,
        cached=result.cached,
    )
    _print_outcome(run, outcome)
    return outcome


@contextmanager
def _threads_of(unfinished: Path, run: Run, path: str) -> Iterator[None]:
    """Uses the number of threads that the stage was started with, because another one gives other weights."""
    now = torch.get_num_threads()
    file = unfinished / _THREADS_FILE
    threads = now
    if file.is_file():
        try:
            threads = int(read_sealed(file))
        except Damaged as damage:
            run.notify(f"{path}: resumes with {now} threads, because {damage}")
    write_sealed(file, str(threads).encode())
    if threads != now:
        run.notify(
            f"{path}: resumes with its original number of torch threads, {threads} (now {now}), for the weights of "
            "an uninterrupted run"
        )
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(now)


def _print_outcome(run: Run, outcome: StageOutcome) -> None:
    record = outcome.record
    after, cpu_s, busy = record["after"], record.get("cpu_seconds"), record.get("busy")
    took = "already done" if outcome.cached else f"{record['seconds']:.0f} s"
    if not outcome.cached and cpu_s is not None:
        took += f", processor {cpu_s:.0f} s"
    size = "" if after["macs"] is None else f", {after['macs'] / 1e6:.1f} M MACs"
    text = f"top-1 {shares(after['top1'])}{size} ({took})"
    run.console.print(headed(outcome.path, text))
    for note in (*record["notes"], *([busy] if busy and not outcome.cached else [])):
        run.console.print(f"  {note}", markup=False)


def _size(artifact: Artifact) -> dict[str, int | None]:
    """Parameters and operations; None for a file, which does not tell them."""
    if isinstance(artifact.model, FileNetwork):
        return {"parameters": None, "macs": None}
    size = size_of(artifact.model, artifact.spec)
    return {"parameters": size.parameters, "macs": size.macs}
