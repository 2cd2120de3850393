"""Losses on layers teach every stage that trains: recovery after pruning, and quantization-aware training, whose
captured graph returns the features of the student."""

import copy
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from compress.artifact import Artifact
from compress.distillation.config import DistillationConfig
from compress.features import drop_features, feature_sizes, mark_features, watched
from compress.prune import PruneConfig, prune
from compress.quantize import QuantizeConfig, _lowered, _require_same_graph, check_rounded_layers, quantize
from compress.recipe import load_recipe, parse_recipe
from compress.stage import Context
from compress.steps.pipeline import Run
from compress.teacher import Teacher
from export.quantize.int8_reference import calibrate, prepare, transfer
from export.quantize.sensitivity import SwitchedGraph
from models import STUDENTS, TEACHERS
from models.statistics import settle_statistics

TINY = Path(__file__).resolve().parents[1] / "recipes" / "tiny.yaml"
pytestmark = pytest.mark.slow
ROUNDED = """
data: {source: synthetic}
teacher: {network: multimodal_tiny, train: {epochs: 1}}
student: {network: mobilenet3d_tiny}
stages: [{distill: {epochs: 1}}, {quantize: {method: qat}}]
"""
LAYERS = ("embedding", "video.3")
BETWEEN = "video.0.0"
"""A convolution before its BatchNorm."""
BETWEEN_OPERATORS = r"layers video\.0\.0 of the student, one of which lies between operators"


@pytest.fixture(scope="module")
def student(tiny_data):
    torch.manual_seed(0)
    spec, row = tiny_data.spec.only(("clip",)), STUDENTS["mobilenet3d_tiny"]
    model = row.build(spec, row.options())
    settle_statistics(model, spec)
    return Artifact(model=model.eval(), spec=spec)


@pytest.fixture(scope="module")
def single(student):
    return prepare(_lowered(student, batch=1), qat=True)


@pytest.fixture(scope="module")
def prepared(student):
    found = prepare(_lowered(student, batch=4, layers=LAYERS), qat=True)
    mark_features(found, feature_sizes(student.model, student.spec.example(), LAYERS))
    return found


def test_the_graph_returns_the_features_of_the_network(student, prepared, tiny_data):
    clips = tiny_data.train.for_spec(student.spec).batch([0, 1, 2, 3])
    graph = copy.deepcopy(prepared)
    calibrate(graph, [clips] * 4)
    with watched(student.model, LAYERS) as expected, watched(graph, LAYERS) as found, torch.no_grad():
        student.model(*clips)
        logits = graph(*clips)
    assert len(logits) == len(student.spec.labels), "the losses with the labels see the logits alone"
    for name in LAYERS:
        noise = (found[name] - expected[name]).square().mean() / expected[name].square().mean()
        assert found[name].shape == expected[name].shape and noise < 0.05
    assert feature_sizes(graph, (), LAYERS) == {k: tuple(v.shape[1:]) for k, v in expected.items()}


def test_the_features_change_nothing_that_is_rounded_and_are_dropped(prepared, single, student, tiny_data):
    _require_same_graph(prepared, single, layers=LAYERS)
    graph = copy.deepcopy(prepared)
    clips = tiny_data.train.for_spec(student.spec).batch([0, 1, 2, 3])
    calibrate(graph, [clips] * 2)
    expected = copy.deepcopy(graph)(*clips)[: len(student.spec.labels)]
    drop_features(graph)
    (outputs,) = graph.graph.output_node().args
    assert len(outputs) == len(student.spec.labels)
    torch.testing.assert_close(graph(*clips), expected)
    # Mixed precision measures the graph after the training.
    assert SwitchedGraph(graph).logits([clips], 4)[0].shape == expected[0].shape
    transfer(graph, copy.deepcopy(single))


def test_a_layer_between_operators_that_int8_joins_is_refused(student):
    check_rounded_layers(student, LAYERS)
    with pytest.raises(ValueError, match=BETWEEN_OPERATORS):
        check_rounded_layers(student, (BETWEEN,))


def test_a_feature_that_the_graph_was_not_captured_with_is_refused(prepared, single):
    with (
        pytest.raises(ValueError, match=r"'video' is not among the outputs .* embedding, video.3"),
        watched(prepared, ["video"]),
    ):
        pass
    with pytest.raises(ValueError, match="the logits and no features"), watched(single, ["video"]):
        pass


@pytest.fixture
def context(student, tiny_data, tmp_path):
    """A teacher that teaches a layer alone."""
    torch.manual_seed(0)
    row = TEACHERS["multimodal_tiny"]
    teacher = Artifact(model=row.build(tiny_data.spec, row.options()).eval(), spec=tiny_data.spec)
    losses = {"features": {"student": "video.3", "teacher": "encoders.clip.blocks"}}
    return Context(
        device=torch.device("cpu"),
        seed=0,
        data=tiny_data,
        teacher=Teacher(artifact=teacher, key="teacher"),
        distillation=DistillationConfig.model_validate({"label_weight": 0.0, "losses": losses}),
        build_student=lambda: student.model,
        folder=tmp_path,
        cache=tmp_path / "cache",
        console=Console(quiet=True),
    )


def test_training_of_the_rounded_graph_brings_its_features_closer_to_the_teacher(student, context):
    settings = {
        "method": "qat",
        "batch": 8,
        "calibration_clips": 8,
        "epochs": 2,
        "views": 0,
        "learning_rate": 1e-3,
    }
    result = quantize(student, QuantizeConfig.model_validate(settings), context)
    loss = [row["loss"] for row in result.curve]
    assert loss[-1] < loss[0]
    assert len(result.artifact.model(*student.spec.example())) == len(student.spec.labels)


def test_recovery_brings_the_features_of_the_pruned_network_closer_to_the_teacher(student, context):
    settings = {"macs": 0.6, "batch": 8, "epochs": 2, "views": 0, "round_to": 2}
    result = prune(student, PruneConfig.model_validate(settings), context)
    loss = [row["loss"] for row in result.curve]
    assert loss[-1] < loss[0]
    inputs, layer = student.spec.example(), LAYERS[1]
    before, after = (
        feature_sizes(one, inputs, [layer])[layer][0] for one in (student.model, result.artifact.model)
    )
    assert after < before, "the projector is that of the channels that are left"


def test_layers_are_checked_on_the_built_networks_before_any_training(tiny_data, tmp_path):
    recipe = load_recipe(TINY)
    whole = Run(
        recipe=recipe,
        data=tiny_data,
        folder=tmp_path / "out",
        cache=tmp_path,
        device=torch.device("cpu"),
        console=Console(quiet=True),
    )

    def check(stages=recipe.stages, **losses):
        settings = DistillationConfig.model_validate({"losses": losses})
        own = recipe.model_copy(update={"distillation": settings, "stages": stages})
        replace(whole, recipe=own).check_layers()

    check(kd=0.9)
    check(features={"student": "video.3", "teacher": "encoders.clip.blocks"})
    with pytest.raises(ValueError, match=r"has no module 'video\.99'"):
        check(relation={"student": "video.99"})
    with pytest.raises(ValueError, match="give `projector: linear`"):
        check(features={"student": "video.1", "projector": "none"})
    check(relation={"student": BETWEEN})
    with pytest.raises(ValueError, match=BETWEEN_OPERATORS):
        check(parse_recipe(ROUNDED, name="rounded").stages, relation={"student": BETWEEN})


def test_layers_to_keep_in_float_are_looked_up_in_the_int8_network_before_any_training(tiny_data, tmp_path):
    text = ROUNDED.replace("method: qat", "float_layers: [LAYER]")
    for layer, message in (
        ("video.0", None),
        (
            "embed",
            r"stages\.1\.quantize\.float_layers: no layer is named 'embed'; the nearest of \d+ names: video",
        ),
    ):
        run = Run(
            recipe=parse_recipe(text.replace("LAYER", layer), name="mixed"),
            data=tiny_data,
            folder=tmp_path / "out",
            cache=tmp_path,
            device=torch.device("cpu"),
            console=Console(quiet=True),
        )
        with pytest.raises(ValueError, match=message) if message else nullcontext():
            run.check_float_layers()
