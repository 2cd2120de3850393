import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from export.capture.load_network import load_network
from export.capture.prepare_network import ready
from tests.export.user_nets import Clips, clips

ROOT = Path(__file__).resolve().parents[3]
NETS = "tests.export.user_nets"


@pytest.fixture(autouse=True)
def _the_path_as_it_was(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_a_factory_and_a_network_by_module_and_by_file():
    for place in (NETS, str(Path(__file__).parents[1] / "user_nets.py")):
        assert type(load_network(f"{place}:clips")).__name__ == "Clips"
        network = load_network(f"{place}:A_NETWORK")
        assert not network.training


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("clips", "network 'clips': give MODULE:FACTORY"),
        (f"{NETS}:3", "give MODULE:FACTORY"),
        (f"{NETS}:clip", f"{NETS} has no 'clip'; did you mean 'clips'?"),
        (f"{NETS}:A_NUMBER", "is int; it must be a network or a function that returns one"),
        (
            "tests.export.odd_nets:a_class",
            r"returns the class Clips; it must return an instance of it: Clips\(\)",
        ),
        (
            "tests.export.odd_nets:gives_nothing",
            r"returns None; .*eval\(\) returns None where train\(\) does",
        ),
        (
            "tests.export.odd_nets:needs_more",
            "needs_more failed with TypeError: .*missing 1 required",
        ),
        (f"{NETS}:torch", "is module; it must be a network"),
        (
            f"{NETS}:broken",
            r"calling .*broken failed with KeyError: 'depth' \(tests/export/user_nets.py:\d+ `raise",
        ),
        ("no.such.module:net", "importing 'no.such.module' failed with ModuleNotFoundError"),
    ],
)
def test_references_that_lead_nowhere(reference, message):
    with pytest.raises(ValueError, match=message):
        load_network(reference)


def test_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError, match=r"nowhere.py: there is no such file"):
        load_network("nowhere.py:net")


def test_a_file_of_the_users_that_is_called_models(tmp_path):
    (tmp_path / "models.py").write_text("from torch import nn\nnet = nn.ReLU()\n")
    assert isinstance(load_network(f"{tmp_path}/models.py:net"), torch.nn.ReLU)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "import export"]
    refused = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert f"needs its own package 'models' from {ROOT / 'models'}" in refused.stderr
    assert f"Python finds {tmp_path / 'models.py'}" in refused.stderr
    assert "refer to your network by its file: path/to/models.py:make_net" in refused.stderr


def test_weights_of_both_kinds(tmp_path):
    torch.manual_seed(1)
    state = Clips().state_dict()
    torch.save(state, tmp_path / "net.pt")
    save_file(state, tmp_path / "net.safetensors")
    for name in ("net.pt", "net.safetensors"):
        network = load_network(f"{NETS}:clips", weights=tmp_path / name)
        assert torch.equal(network.state_dict()["classifier.weight"], state["classifier.weight"])


def test_weights_of_another_float_type_are_cast_by_the_exporter_with_a_note(tmp_path):
    state = {
        name: value.bfloat16() for name, value in clips().state_dict().items() if "num_batches" not in name
    }
    state |= {name: value for name, value in clips().state_dict().items() if "num_batches" in name}
    torch.save(state, tmp_path / "half.pt")
    network = load_network(f"{NETS}:clips", weights=tmp_path / "half.pt")
    given = ready(network, (torch.rand(1, 3, 4, 16, 16),))
    assert given.network.classifier.weight.dtype is torch.float32
    assert any("cast to float32" in note and "of type bfloat16" in note for note in given.notes)
    torch.save({**state, "classifier.bias": torch.zeros(5, dtype=torch.int8)}, tmp_path / "whole.pt")
    with pytest.raises(ValueError, match=r"classifier.bias is torch.int8, must be torch.float32"):
        load_network(f"{NETS}:clips", weights=tmp_path / "whole.pt")


def test_weights_that_do_not_fit(tmp_path):
    def load(name):
        return load_network(f"{NETS}:clips", weights=tmp_path / name)

    with pytest.raises(FileNotFoundError, match=r"--weights .*none.pt: there is no such file"):
        load("none.pt")
    state = clips().state_dict()
    torch.save({**state, "extra": torch.zeros(1), "classifier.bias": torch.zeros(9)}, tmp_path / "other.pt")
    expected = (
        r"the weights of this network: 1 unknown, such as extra; classifier.bias is \[9\], must be \[5\]"
    )
    with pytest.raises(ValueError, match=expected):
        load("other.pt")
    torch.save({"model": state}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="holds more than a state dict; save"):
        load("checkpoint.pt")
    torch.save(clips(), tmp_path / "whole.pt")
    (tmp_path / "text.safetensors").write_text("weights")
    for name in ("whole.pt", "text.safetensors"):
        with pytest.raises(ValueError, match=f"{name} is not a plain file of weights"):
            load(name)
