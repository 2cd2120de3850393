"""Contract of every row of `TEACHERS` and `STUDENTS`."""

from __future__ import annotations

import pytest
import torch

from compress.artifact import load_resized, size_of
from compress.pruning.config import PruneConfig
from compress.pruning.cut import cut_channels
from models import STUDENTS, TEACHERS
from models.heads import classifiers_of
from models.spec import ClipSpec, as_tuple
from tests.specs import clip_spec, small_spec

pytestmark = pytest.mark.slow

LARGE = [name for name in STUDENTS if not name.endswith(("_tiny", "_small"))]
"""Networks of published size: only their shapes are computed, small ones of their module run the code."""

# The parts of `modular` have a contract of their own: tests/models/teachers/test_modular.py.
ROWS = [pytest.param(row, id=f"teacher-{name}") for name, row in TEACHERS.items() if name != "modular"] + [
    pytest.param(row, id=f"student-{name}") for name, row in STUDENTS.items() if name not in LARGE
]
STUDENT_ROWS = [pytest.param(row, id=name) for name, row in STUDENTS.items() if name not in LARGE]
LARGE_ROWS = [pytest.param(STUDENTS[name], id=name) for name in LARGE]


@pytest.mark.parametrize("name", LARGE)
def test_a_large_network_has_a_small_one_in_its_module(name):
    module = STUDENTS[name].build.__module__
    assert [row for row in STUDENTS if STUDENTS[row].build.__module__ == module and row not in LARGE], (
        f"{module} needs a row with the suffix _tiny, which the other tests run"
    )


@pytest.mark.parametrize("network", ROWS)
def test_logits_have_one_column_set_per_label_with_every_choice_of_inputs(network):
    for inputs in (("clip",), network.inputs):
        spec = small_spec(*inputs, labels=("x", "y"))
        model = network.build(spec, network.options()).eval()
        assert [column.shape for column in as_tuple(model(*spec.example(batch=2)))] == [(2, 3), (2, 3)]


@pytest.mark.parametrize("frames", [8, 16])
@pytest.mark.parametrize("network", LARGE_ROWS)
def test_large_networks_take_clips_smaller_than_published(network, frames):
    spec = clip_spec(frames=frames, size=112, classes=5)
    with torch.device("meta"):
        model = network.build(spec, network.options()).eval()
        assert model(torch.empty(spec.shape("clip", batch=2))).shape == (2, 5)


@pytest.mark.parametrize("network", ROWS)
def test_every_parameter_learns(network):
    """A gradient that is not zero reaches every parameter, in one of a few steps.

    One step is not enough: what stands for a hidden modality learns only when dropout hides that one.
    """
    spec = small_spec(*network.inputs)
    torch.manual_seed(0)
    model = network.build(spec, network.options()).train()
    for step in range(12):
        logits = model(*spec.example(batch=4, seed=step))
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("network", ROWS)
def test_its_classifiers_are_found_and_give_its_logits(network):
    """One for each label column, whatever other layers happen to have as many outputs."""
    spec = small_spec(*network.inputs, labels=("x", "y"))
    with torch.device("meta"):
        model = network.build(spec, network.options())
    assert [layer.out_features for layer in classifiers_of(model)] == [3, 3]


def test_a_network_without_heads_is_refused():
    with pytest.raises(
        ValueError, match=r"Linear has 0 modules `models\.layers\.Heads`; exactly one is needed"
    ):
        classifiers_of(torch.nn.Linear(4, 3))


@pytest.mark.parametrize("network", ROWS)
def test_torch_export_takes_it_in_eval_mode(network):
    spec = small_spec(*network.inputs)
    model = network.build(spec, network.options()).eval()
    example = spec.example()
    exported = torch.export.export(model, example).module()
    torch.testing.assert_close(exported(*example), model(*example))


@pytest.mark.parametrize("network", ROWS + LARGE_ROWS)
def test_unknown_options_are_refused(network):
    with pytest.raises(TypeError, match="depthness"):
        network.options(depthness=2)


@pytest.mark.parametrize("network", STUDENT_ROWS)
def test_pruned_by_30_percent_it_still_runs_and_its_weights_load_again(network):
    spec = small_spec(*network.inputs)
    original = network.build(spec, network.options()).eval()
    cut = cut_channels(original, spec, config=PruneConfig(macs=0.7, round_to=2))
    model, remaining = cut.model, size_of(cut.model, spec).macs / size_of(original, spec).macs
    assert 0.68 <= remaining <= 0.7 or (remaining < 0.7 and "points less than asked" in cut.notes[-1])
    load_resized(original, model.state_dict())
    example = spec.example(batch=2)
    torch.testing.assert_close(original(*example), model(*example))


def test_students_refuse_text():
    row = STUDENTS["mobilenet3d_tiny"]
    with pytest.raises(ValueError, match="takes the inputs clip, or clip and audio; given: clip, text"):
        row.build(small_spec("clip", "text"), row.options())


def test_a_log_mel_too_small_for_the_audio_encoder_is_refused():
    row = TEACHERS["multimodal"]
    spec = small_spec("audio")
    spec = ClipSpec.from_dict({**spec.to_dict(), "audio": {**spec.to_dict()["audio"], "bins": 8}})
    with pytest.raises(ValueError, match="16 x 8 is too small for 4 halvings"):
        row.build(spec, row.options())
