"""The steps that make networks: the teacher, then every stage of the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from benchmarks.clips.store import file_facts
from compress.artifact import (
    STAGE_FILES,
    Artifact,
    Context,
    Form,
    StageRecord,
    load_artifact,
    save_artifact,
    size_of,
    weights_sha256,
)
from compress.command.terminal import headed
from compress.folders.writing import Damaged, read_sealed, write_atomic, write_sealed
from compress.recipe.sections import FactoryTeacher, TableTeacher, paths_in
from compress.stage import StageResult, training_job
from compress.stages import STAGES
from compress.steps.clock import Clock
from compress.steps.run import Run, StageOutcome, StepFailed, shares
from compress.store import stored
from compress.tasks import TaskWeights, learn_tasks, measure, task_names, with_tasks
from compress.teacher import (
    Teacher,
    build_network,
    check_answers,
    load_pretrained,
    load_weights,
    source_of,
)
from compress.teacher_answers import check_on_clips
from compress.training import Job, accuracy, batch_notes, fit, per_label, predict
from export import INT8_SCHEMES
from models import TEACHERS
from models.spec import ClipSpec

_THREADS_FILE = "threads"


def make_teacher(run: Run) -> StageOutcome:
    """The recipe's teacher: trained, or loaded and tried on the data's inputs."""
    config = run.recipe.teacher
    assert config is not None
    spec = _teacher_spec(run)
    parts: dict[str, Any] = {"teacher": config.model_dump(mode="json"), "inputs": spec.inputs}
    parts["files"] = {str(path): file_facts(path) for _, path in paths_in(config)}
    if isinstance(config, FactoryTeacher):
        parts["factory"] = source_of(config.factory)

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.recipe.seed)
            if isinstance(config, FactoryTeacher):
                return build_network(config.factory, spec)
            return TEACHERS[config.network].build(spec, config.options).eval()

    def work(context: Context) -> StageResult:
        model = build()
        check_answers(model, spec, what="the teacher")
        artifact = Artifact(model=model, spec=spec)
        if isinstance(config, FactoryTeacher):
            load_weights(model, config.weights)
            clips = run.data.train.seen_by(spec)
            check_on_clips(model, spec, clips, device=run.device, what="the teacher")
            return StageResult(artifact=artifact, notes=("trained by its owner",))
        assert isinstance(config, TableTeacher)
        return _trained_teacher(run, config, artifact, job=training_job("teacher", context))

    return _stage(
        run,
        path="teacher",
        folder="00_teacher",
        key=run.key(**parts),
        config=config.model_dump(mode="json"),
        work=work,
        build=build,
        before={},
        teacher=None,
    )


def _teacher_spec(run: Run) -> ClipSpec:
    """The inputs that the teacher is given, and the tasks that it learns."""
    config, spec = run.recipe.teacher, run.data.spec
    assert config is not None
    inputs = config.inputs or spec.inputs
    if isinstance(config, TableTeacher) and config.tasks:
        return with_tasks(spec, inputs, list(config.tasks))
    return spec.only(inputs)


def _trained_teacher(run: Run, config: TableTeacher, artifact: Artifact, *, job: Job) -> StageResult:
    """The teacher after learning its tasks; `artifact` holds it as it was drawn, and is trained in place."""
    spec = artifact.spec
    notes: tuple[str, ...] = ()
    if config.pretrained is not None:
        notes = (load_pretrained(artifact.model, config.options, config.pretrained),)
    tasks = task_names(spec)
    weighted = TaskWeights(artifact.model, len(tasks)) if config.weighting == "uncertainty" else None
    objective = learn_tasks(
        spec,
        run.truth(run.data.train, spec),
        weights=config.tasks or dict.fromkeys(tasks, 1.0),
        label_smoothing=config.train.label_smoothing,
        log_variance=weighted.log_variance if weighted else None,
    )
    curve = fit(
        weighted or artifact.model,
        run.data.train.seen_by(spec),
        objective=objective,
        config=config.train,
        validation=run.data.validation.seen_by(spec),
        job=job,
    )
    check_on_clips(
        artifact.model, spec, run.data.train.seen_by(spec), device=run.device, what="the trained teacher"
    )
    notes += batch_notes(config.train, run.data.train)
    figures = {}
    if weighted is not None:
        learned = (-weighted.log_variance).exp().tolist()
        figures["task_weights"] = dict(zip(tasks, learned, strict=True))
    return StageResult(artifact=artifact, curve=curve, notes=notes, figures=figures)


def run_stages(run: Run, teacher: StageOutcome | None) -> list[StageOutcome]:
    """The stages of the recipe in order, starting from the untrained student."""
    taught_by = Teacher(artifact=teacher.artifact, key=teacher.key) if teacher else None
    streams = run.recipe.student.stream
    artifact = Artifact(model=run.build_student(), spec=run.student_spec, streams=streams)
    key = run.key(
        student=run.recipe.student.model_dump(mode="json"), teacher=teacher.key if teacher else None
    )
    figures = _size(artifact)
    outcomes: list[StageOutcome] = []
    for index, entry in enumerate(run.recipe.stages):
        stage, config = STAGES[entry.verb], entry.config
        key = run.key(upstream=key, verb=entry.verb, config=config.model_dump(mode="json"))

        def work(
            context: Context, artifact: Artifact = artifact, stage: Any = stage, config: Any = config
        ) -> StageResult:
            return stage.run(artifact, config, context)

        outcome = _stage(
            run,
            path=f"stages.{index}.{entry.verb}",
            folder=f"{index + 1:02d}_{entry.verb}",
            key=key,
            config=config.model_dump(mode="json"),
            work=work,
            build=run.build_student,
            before=figures,
            teacher=taught_by,
        )
        outcomes.append(outcome)
        artifact = outcome.artifact
        figures = {name: outcome.record.after[name] for name in ("top1", "parameters", "macs")}
    return outcomes


def rounded_from(stages: Sequence[StageOutcome]) -> StageOutcome | None:
    """The float network that the last stage rounded without training it further; `None` where there is none."""
    if len(stages) < 2 or stages[-1].artifact.form is Form.FLOAT or stages[-1].record.config["mode"] != "ptq":
        return None
    return stages[-2]


def networks_by_scheme(schemes: Sequence[str], made: Sequence[StageOutcome]) -> dict[str, StageOutcome]:
    """What the files of each scheme hold: the last float or the last quantized network of the run."""
    last = {outcome.artifact.form: outcome for outcome in made}
    return {scheme: last[Form.QUANTIZED if scheme in INT8_SCHEMES else Form.FLOAT] for scheme in schemes}


def untrained(run: Run) -> StageOutcome:
    """The student of a recipe without stages, as it is initialised: its files show speed and size, no more."""

    def work(context: Context) -> StageResult:
        streams = run.recipe.student.stream
        artifact = Artifact(model=run.build_student(), spec=run.student_spec, streams=streams)
        return StageResult(artifact=artifact, notes=("untrained: the recipe has no stages",))

    config = run.recipe.student.model_dump(mode="json")
    return _stage(
        run,
        path="student",
        folder="01_student",
        key=run.key(student=config),
        config=config,
        work=work,
        build=run.build_student,
        before={},
        teacher=None,
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
    teacher: Teacher | None,
) -> StageOutcome:
    name = path.rpartition(".")[2]

    def make(unfinished: Path) -> None:
        with _threads_of(unfinished, run, path):
            make_with_threads(unfinished)

    def make_with_threads(unfinished: Path) -> None:
        clock = Clock()
        result = work(run.context(unfinished, teacher))
        artifact = result.artifact
        test = run.data.test.seen_by(artifact.spec)
        logits = predict(artifact, test, device=run.device, console=run.console, title=f"testing {name}")
        # A quantized graph stands for the float network it was made from.
        size = (
            _size(artifact) if artifact.form is Form.FLOAT else {k: before[k] for k in ("parameters", "macs")}
        )
        threads = torch.get_num_threads()
        taken = clock.taken(threads=threads, on_cpu=run.device.type == "cpu")
        record = StageRecord(
            name=name,
            config=config,
            seconds=taken.seconds,
            cpu_seconds=taken.cpu_seconds,
            busy=taken.busy,
            before=before,
            after={
                "top1": per_label(accuracy(logits, test), artifact.spec, data=run.data.spec),
                "tasks": measure(logits, run.truth(run.data.test, artifact.spec), artifact.spec),
                **size,
                **result.figures,
            },
            threads=threads,
            weights_sha256=weights_sha256(artifact.model),
            notes=result.notes,
            curve=result.curve,
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
            tell=run.tell,
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
    _tell(run, outcome)
    return outcome


@contextmanager
def _threads_of(unfinished: Path, run: Run, path: str) -> Iterator[None]:
    """Computes with the number of threads that the stage began with: another one gives other weights."""
    now = torch.get_num_threads()
    file = unfinished / _THREADS_FILE
    threads = now
    if file.is_file():
        try:
            threads = int(read_sealed(file))
        except Damaged as damage:
            run.tell(f"{path}: goes on with {now} threads, because {damage}")
    write_sealed(file, str(threads).encode())
    if threads != now:
        run.tell(
            f"{path}: goes on with {threads} threads of torch, with which it began (now {now}): its weights are "
            "then those of one undisturbed run"
        )
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(now)


def _tell(run: Run, outcome: StageOutcome) -> None:
    record = outcome.record
    took = "already done" if outcome.cached else f"{record.seconds:.0f} s"
    if not outcome.cached and record.cpu_seconds is not None:
        took += f", processor {record.cpu_seconds:.0f} s"
    said = f"top-1 {shares(record.after['top1'])}, {record.after['macs'] / 1e6:.1f} M MACs ({took})"
    run.console.print(headed(outcome.path, said))
    for note in (*record.notes, *([record.busy] if record.busy and not outcome.cached else [])):
        run.console.print(f"  {note}", markup=False)


def _size(artifact: Artifact) -> dict[str, int]:
    size = size_of(artifact.model, artifact.spec)
    return {"parameters": size.parameters, "macs": size.macs}
