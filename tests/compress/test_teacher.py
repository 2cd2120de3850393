import pytest
import torch
from safetensors.torch import save_file

from benchmarks.clips.cache import View
from compress.artifact import Artifact
from compress.teacher import TaughtConfig, check_answers, import_factory, learn_from_teacher, load_weights
from compress.training import Batch
from models.teachers import MultimodalOptions, multimodal_tiny
from tests.specs import small_spec


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("models.teachers", "written package.module:function, not 'models.teachers'"),
        ("no_such_module:build", "cannot import 'no_such_module'"),
        ("models.teachers:biuld", "'models.teachers' has no 'biuld'"),
        ("models.spec:MODALITIES", "is a tuple, not a function"),
    ],
)
def test_a_wrong_factory_is_refused(reference, message):
    with pytest.raises(ValueError, match=message):
        import_factory(reference)


def test_a_factory_is_found():
    assert import_factory("models.teachers:multimodal_tiny") is multimodal_tiny


def _network(*inputs):
    return multimodal_tiny(small_spec(*inputs), MultimodalOptions()).eval()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_of_both_file_types_load(tmp_path, suffix):
    source, target = _network("clip", "audio"), _network("clip", "audio")
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(source.state_dict(), path)
    load_weights(target, path)
    example = small_spec("clip", "audio").example()
    torch.testing.assert_close(target(*example), source(*example))


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(_network("clip").state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"weights.safetensors does not hold the weights of this network"):
        load_weights(_network("clip", "audio"), tmp_path / "weights.safetensors")


def test_a_pickle_with_code_is_refused(tmp_path):
    torch.save({"network": _network("clip")}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights.pt is not a plain file of weights"):
        load_weights(_network("clip"), tmp_path / "weights.pt")


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"weights.safetensors is not a plain file of weights"):
        load_weights(_network("clip"), tmp_path / "weights.safetensors")


def test_a_network_with_the_wrong_number_of_classes_is_refused():
    with pytest.raises(
        ValueError, match=r"the teacher gives logits of shape \[\(1, 3\)\].*x \(3 classes\), y"
    ):
        check_answers(_network("clip"), small_spec("clip", labels=("x", "y")), what="the teacher")


def test_a_teacher_answers_to_the_clean_view_of_corrupted_clips():
    asked = []

    class Recorder:
        artifact = Artifact(model=_network("clip"), spec=small_spec("clip"))

        def answers(self, clips, *, view, context):
            asked.append(view)
            return (torch.zeros(4, 3),)

    objective = learn_from_teacher(
        Recorder(),
        clips=None,
        spec=small_spec("clip"),
        config=TaughtConfig(epochs=1, corruptions=("noise",)),
        context=None,
    )
    for number in (0, 1, 0):
        view = View(number=number, seed=0, corruptions=("noise",))
        objective(
            (torch.zeros(2, 3),),
            Batch(indices=[0, 3], view=view, labels=torch.zeros(2, 1, dtype=torch.int64)),
        )
    assert asked == [View(number=0, seed=0), View(number=1, seed=0)]
