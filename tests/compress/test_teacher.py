import os

import pytest
import torch
from safetensors.torch import save_file

from compress.artifact import size_of
from compress.factory import build_network, import_factory, load_weights, source_of
from compress.pretrained import load_pretrained
from compress.teacher_check import check_logits, check_on_clips, require_finite_logits
from models.teachers import ModularOptions, ModularTeacher, MultimodalOptions, multimodal_tiny
from models.teachers.encoder import choices
from models.teachers.video import VIDEO_ENCODERS
from tests.specs import small_spec


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("models.teachers", "has the form package.module:function, not 'models.teachers'"),
        ("no_such_module:build", "cannot import 'no_such_module'"),
        ("models.teachers:biuld", "'models.teachers' has no 'biuld'"),
        ("models.spec:MODALITIES", "is a tuple, not a function"),
    ],
)
def test_a_wrong_factory_is_refused(reference, message):
    with pytest.raises(ValueError, match=message):
        import_factory(reference)


def test_a_factory_is_found():
    assert import_factory("os.path:basename") is os.path.basename


QUIET = """
from torch import nn


class Quiet(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.norm = nn.BatchNorm3d(3)
        self.classify = nn.Linear(3, len(spec.labels[0].classes))

    def train(self, mode=True):
        super().train(mode)

    def forward(self, clip):
        return self.classify(self.norm(clip).mean((2, 3, 4)))


def build(spec):
    return Quiet(spec)


def build_in_eval_mode(spec):
    return Quiet(spec).eval()
"""


def test_a_teacher_whose_train_returns_nothing_is_kept_counted_and_asked(tmp_path, monkeypatch, tiny_data):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "quiet_teacher.py").write_text(QUIET)
    spec = tiny_data.spec.only(("clip",))
    network = build_network("quiet_teacher:build", spec)
    assert type(network).__name__ == "Quiet" and not network.training and not network.norm.training
    assert size_of(network, spec).macs == 3 * len(spec.labels[0].classes)
    clips = tiny_data.train.for_spec(spec)
    check_on_clips(network, spec, clips, device=torch.device("cpu"), what="the teacher")
    with pytest.raises(ValueError, match=r"returns None; .*eval\(\) returns None if train\(\) does"):
        build_network("quiet_teacher:build_in_eval_mode", spec)


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
    with pytest.raises(ValueError, match=r"weights.safetensors does not contain the weights of this network"):
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
        ValueError, match=r"the teacher returns logits of shape \[\(1, 3\)\].*x \(3 classes\), y"
    ):
        check_logits(_network("clip"), small_spec("clip", labels=("x", "y")), what="the teacher")


def test_a_network_that_does_not_take_the_inputs_is_refused():
    with pytest.raises(
        ValueError, match=r"the teacher does not take the inputs clip \[1, 3, 4, 32, 32\], text .*: "
    ):
        check_logits(_network("clip"), small_spec("clip", "text"), what="the teacher")


def test_the_source_of_a_factory_is_the_file_that_holds_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "first_teacher.py").write_text("def build(spec): return None\n")
    (tmp_path / "other_teacher.py").write_text("def build(spec): return 1\n")
    (tmp_path / "again_teacher.py").write_text("def build(spec): return 1\n")
    first, other, again = (source_of(f"{name}_teacher:build") for name in ("first", "other", "again"))
    assert first != other == again


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state"])
def test_public_weights_start_the_video_encoder(tmp_path, wrapper):
    video = choices(VIDEO_ENCODERS)["resnet50_lstm"](name="resnet50_lstm", width=0.1)
    parts = ModularOptions(video=video)
    source, target = (ModularTeacher(small_spec("clip", "audio"), parts) for _ in range(2))
    weights = source.encoders["clip"].network.frame.state_dict()
    weights["fc.weight"] = torch.zeros(1000, 2048)
    path = tmp_path / "resnet50.pt"
    torch.save({wrapper: weights} if wrapper else weights, path)
    assert load_pretrained(target, parts, path) == "resnet50_lstm started from resnet50.pt, without 4 tensors"
    loaded = target.encoders["clip"].network.frame.state_dict()
    assert all(value.equal(weights[name]) for name, value in loaded.items())
    del weights["conv1.weight"]
    torch.save(weights, path)
    with pytest.raises(
        ValueError, match=r"resnet50\.pt: these are not the public weights.*: frame\.conv1\.weight"
    ):
        load_pretrained(target, parts, path)


def test_public_weights_are_for_teachers_with_a_video_encoder(tmp_path):
    with pytest.raises(
        ValueError, match="pretrained weights are for the video encoder of the teacher `modular`"
    ):
        load_pretrained(_network("clip"), MultimodalOptions(), tmp_path / "weights.pt")


class FunctionTeacher(torch.nn.Module):
    """A teacher of clips whose logits `how` computes from the mean colours, `N 3`."""

    def __init__(self, how):
        super().__init__()
        self.linear = torch.nn.Linear(3, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.how = how

    def forward(self, clip):
        return self.how(self, self.linear(clip.mean((2, 3, 4))))


def _in_train_mode(network, x):
    network.norm.train()
    return network.norm(x)


def _nan_bias(network, x):
    with torch.no_grad():
        network.linear.bias[2] = float("nan")
    return network.linear(x[:, :3])


WRONG_TEACHERS = {
    "nan": (
        lambda _, x: x / 0,
        "the teacher returns NaN or infinity in the column label; its weights and inputs",
    ),
    "nan weights": (_nan_bias, "1 of its weights are NaN or infinite, the first is linear.bias"),
    "random": (
        lambda _, x: x + torch.rand_like(x),
        "different logits for the same clips in two calls: .* label differ",
    ),
    "dropout": (
        lambda _, x: torch.nn.functional.dropout(x),
        "in two calls: .*dropout .* ignore self.training",
    ),
    "order": (
        lambda _, x: x + torch.arange(len(x)).unsqueeze(1),
        "logits that depend on the order of the clips in a batch",
    ),
    "batch": (lambda _, x: x - x.mean(0), "gives logits that depend on the other clips in a batch"),
    "train mode": (_in_train_mode, "1 of its modules is in train mode, the first is norm: call eval"),
    "a dictionary": (lambda _, x: {"logits": x}, "returns a dict with the keys logits, not a tensor"),
    "a row short": (lambda _, x: x[1:], r"returns logits of shape \[\(3, 8\)\]; .* need \[\(4, 8\)\]"),
    "other classes": (
        lambda _, x: x[:, :5],
        r"returns logits of shape \[\(4, 5\)\]; .* label \(8 classes\), need",
    ),
    "whole numbers": (
        lambda _, x: x.argmax(1, keepdim=True),
        "returns torch.int64, not floating-point logits",
    ),
    "nothing": (lambda _, x: None, "returns a NoneType, not a tensor"),
    "an exception": (lambda _, x: x.no_such(), "does not take the inputs clip .*no_such"),
}


@pytest.mark.parametrize("case", WRONG_TEACHERS)
def test_a_teacher_that_cannot_be_learned_from_is_refused_with_its_reason(tiny_data, case):
    how, message = WRONG_TEACHERS[case]
    spec = tiny_data.spec.only(("clip",))
    with pytest.raises(ValueError, match=message):
        check_on_clips(
            FunctionTeacher(how).eval(),
            spec,
            tiny_data.train.for_spec(spec),
            device=torch.device("cpu"),
            what="the teacher",
        )


def test_a_teacher_with_plain_answers_is_accepted(tiny_data):
    spec = tiny_data.spec.only(("clip",))
    network = FunctionTeacher(lambda own, x: 1e4 * own.norm(x)).eval()
    check_on_clips(
        network, spec, tiny_data.train.for_spec(spec), device=torch.device("cpu"), what="the teacher"
    )


def test_answers_that_are_not_finite_name_their_clip():
    spec, logits = small_spec("clip"), torch.zeros(3, 3)
    logits[1, 0] = float("nan")
    with pytest.raises(
        ValueError, match=r"logits for 1 of 3 clips of a batch are NaN .* column label, first for b\.mp4"
    ):
        require_finite_logits((logits,), spec, names=["a.mp4", "b.mp4", "c.mp4"])
