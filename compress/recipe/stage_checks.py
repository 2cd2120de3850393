"""Step 4b: checks of the stages of a recipe against its other sections."""

from __future__ import annotations

from typing import get_args

from compress.artifact import Form
from compress.pruning.config import PruneConfig
from compress.quantize import QuantizeConfig
from compress.recipe.augmentations import flips, masks, mixes, trainings_of
from compress.recipe.faults import listed
from compress.recipe.networks import build_without_weights
from compress.recipe.parts import Found, Parts
from compress.recipe.sections import (
    output_scheme,
)
from compress.recipe.source import Place, path_text
from compress.recipe.teacher_checks import (
    has_no_teacher,
    teachers_in,
)
from compress.sources import SOURCES
from compress.stages import STAGES
from compress.versions import installed
from export import EXPORTERS
from export.quantize.layer_names import unmatched
from models.spec import MODALITIES


def stage_order(parts: Parts) -> Found:
    """Every stage gets a network of its form, and a trained student where it needs one.

    Several stages may quantize the last float network, each in its own scheme.
    """
    student = parts.sections.get("student")
    form, quantized_at, trained = Form.FLOAT, "", student is not None and student.is_trained
    for index, verb in enumerate(parts.verbs):
        if verb not in STAGES:
            continue
        stage, place = STAGES[verb], ("stages", index, verb)
        if stage.takes != form != stage.gives:
            yield (
                place,
                f"takes a {stage.takes} network, but {quantized_at} outputs a {form} one; move it before",
                {},
            )
        elif stage.needs_training and not trained:
            why = "the student is not trained yet; add a distill stage before, or give its weights"
            if getattr(student, "pretrained", None) is not None:
                why = (
                    "the classifiers of a pretrained student are not trained yet; add a distill stage before"
                )
            yield place, why, {}
        if stage.needs_teacher and has_no_teacher(parts.sections):
            yield place, "needs a teacher, but the recipe has no section teacher", {}
        if stage.takes == form != stage.gives:
            form, quantized_at = stage.gives, path_text(place)
        trained = trained or not stage.needs_training
    known: dict[str, str] = {}
    for index, entry in enumerate(parts.stages):
        scheme = None if entry is None else output_scheme(entry)
        if entry is None or scheme is None:
            continue
        if scheme in known:
            yield (
                ("stages", index, entry.verb, "scheme"),
                f"{known[scheme]} outputs {scheme} already; a run has one network per scheme",
                {"given": scheme},
            )
        known.setdefault(scheme, f"stages.{index}.{entry.verb}")


def dot(parts: Parts) -> Found:
    """The optimizer that separates labels and teacher trains a student with a teacher."""
    for place, config in trainings_of(teachers_in(parts.sections), parts.stages):
        if config.optimizer == "dot" and (place[0] != "stages" or has_no_teacher(parts.sections)):
            problem = "is for learning from a teacher, and there is none here; use sgd"
            yield (*place, "optimizer"), problem, {"given": "dot"}


def runtimes(parts: Parts) -> Found:
    """The runtime of a latency that a stage aims at is installed."""
    for index, entry in enumerate(parts.stages):
        config = None if entry is None else entry.config
        if entry is None or not isinstance(config, PruneConfig | QuantizeConfig) or not config.is_timed:
            continue
        if not installed(EXPORTERS[config.runtime].distributions):
            place: Place = ("stages", index, entry.verb, "runtime")
            problem = "the runtime is not installed, so that its latency cannot be measured"
            known = get_args(type(config).model_fields["runtime"].annotation)
            able = [name for name in known if installed(EXPORTERS[name].distributions)]
            yield place, problem, {"given": config.runtime, "allowed": listed(able)}


def float_layers(parts: Parts) -> Found:
    """Every pattern of layers to keep in float matches a module of the student, and the data has validation."""
    for index, entry in enumerate(parts.stages):
        patterns = getattr(entry.config, "float_layers", ()) if entry is not None else ()
        if not patterns:
            continue
        assert entry is not None
        data, clip, teacher, student = (
            parts.sections.get(key) for key in ("data", "clip", "teacher", "student")
        )
        if data is None or clip is None or student is None:
            continue
        built = build_without_weights(student, data=data, clip=clip, teacher=teacher)
        names = [name for name, _ in built[0].named_modules() if name] if built else []
        for position, problem in unmatched(patterns, names) if built else ():
            place: Place = ("stages", index, entry.verb, "float_layers", position)
            yield place, problem, {"given": patterns[position]}


def augmentations(parts: Parts) -> Found:
    """Clips are mixed, masked and mirrored only where that makes sense."""
    data, clip, student = (parts.sections.get(key) for key in ("data", "clip", "student"))
    teachers = teachers_in(parts.sections)
    trainings = trainings_of(teachers, parts.stages)
    if clip is not None:
        has = tuple(name for name in MODALITIES if getattr(clip, name, True) is not None)
        inputs: dict[Place, tuple[str, ...]] = {
            place: tuple(teacher.inputs or has) for place, teacher in teachers
        }
        if student is not None:
            inputs[("student",)] = tuple(student.inputs or inputs.get(("teacher",), has))
        yield from mixes(trainings, inputs)
        yield from masks(trainings, has_audio="audio" in has)
    known = None if data is None else SOURCES[data.source].labels
    if known is not None:  # those of files are checked when the files are listed
        yield from flips(trainings, [(label.name, label.classes) for label in known(data)])
