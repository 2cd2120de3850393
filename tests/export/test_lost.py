"""Int8 files that match their reference and are far from float: their notes, and the named layers."""

import json
import re

import numpy as np
import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from export.network import export_network
from export.quantize import activation_equalization
from export.run import main
from export.verify.parity import compare
from tests.export import rough_nets

pytestmark = pytest.mark.slow

FORMATS = ["onnx", "tflite"]
NAMED = re.compile(r"([\w.]+) \((-?\d+) dB, \S*rough_nets\.py:\d+ `[^`]+`\)")

APP = typer.Typer()
APP.command()(main)


@pytest.fixture(scope="module", autouse=True)
def not_equalized():
    """Leaves out activation equalization, which repairs the networks of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activation_equalization, "equalize_activations", lambda *given: 0)
        yield


def exported(network, out):
    (outcome,) = export_network(
        network,
        [rough_nets.SHAPE],
        out=out,
        formats=["tflite"],
        schemes=["w8a8"],
        calibration={"clip": rough_nets.clips()},
    ).outcomes
    assert outcome.status == "exported", outcome.reason
    return outcome


def rows_of(out):
    return json.loads((out / "manifest.json").read_text())["files"]


def cost_notes(notes):
    return [note for note in notes if note.startswith("the quantization cost is high")]


@pytest.fixture(scope="module")
def rough_export(tmp_path_factory):
    """Output of the command for the rough network, and the rows of its manifest."""
    folder = tmp_path_factory.mktemp("rough")
    np.save(folder / "clips.npy", rough_nets.clips())
    arguments = ["tests.export.rough_nets:rough", "--shape", rough_nets.SHAPE, "--schemes", "w8a8"]
    arguments += ["--formats", ",".join(FORMATS), "--calibration", str(folder / "clips.npy")]
    ended = CliRunner().invoke(APP, [*arguments, "--out", str(folder / "out")])
    assert ended.exit_code == 0, ended.stdout + ended.stderr
    return ended.stdout, rows_of(folder / "out")


def test_a_file_far_from_float_is_exported_with_a_note_on_its_cost_and_three_layers(rough_export):
    printed, rows = rough_export
    assert [row["format"] for row in rows] == FORMATS
    for row in rows:
        (to_reference,), (to_float,) = row["parity"]["reference"], row["parity"]["float"]
        assert row["status"] == "exported" and row["reason"] is None
        assert to_reference["sqnr_db"] > to_float["sqnr_db"] and 3 < to_float["sqnr_db"] < 10
        (note,) = cost_notes(row["notes"])
        assert f"the quantization cost is high: its SQNR is {to_float['sqnr_db']:.1f} dB" in note
        assert f"{row['format']}.{row['scheme']}: {note}" in printed.splitlines()
        described = NAMED.findall(note)
        assert len({name for name, _ in described}) == 3, note


def test_the_note_names_the_layers_that_cost_most(rough_export):
    for row in rough_export[1]:
        listed = [layer["alone_sqnr_db"] for layer in row["layers"]]
        assert listed == sorted(listed)
        first = list(dict.fromkeys(layer["layer"] for layer in row["layers"]))[:3]
        assert [name for name, _ in NAMED.findall(cost_notes(row["notes"])[0])] == first


def test_a_network_with_one_bad_layer_names_it_first_with_what_it_costs(tmp_path):
    network = rough_nets.one_loud_layer()
    outcome = exported(network, tmp_path)
    (note,) = cost_notes(outcome.notes)
    (first, cost), (_, next_cost), _ = NAMED.findall(note)
    # The consumer of the layer has the same noise on its input, which it does not cause.
    assert first == "blocks.2.project" and int(next_cost) > int(cost) + 6, note
    listed = {layer.layer: layer.alone_sqnr_db for layer in outcome.layers}
    # Depthwise layers are also rounded between their frames, which this test does not emulate.
    names = [
        name for name, part in network.named_modules() if isinstance(part, nn.Conv3d) and part.groups == 1
    ]
    by_hand = {name: rounded_alone(network, name) for name in names}
    assert min(by_hand, key=by_hand.get) == first
    compared = listed.keys() & by_hand.keys()
    assert len(compared) >= 3
    for name in compared:
        assert listed[name] == pytest.approx(by_hand[name], abs=6), name


def rounded_alone(network, name):
    """SQNR of the outputs if one convolution has int8 weights and its clamped output 256 values."""
    clips = torch.from_numpy(rough_nets.clips()).flatten(0, 1)
    norm_name = "stem.1" if name == "stem.0" else f"{name}_norm"
    conv, norm = network.get_submodule(name), network.get_submodule(norm_name)
    clamped = not name.endswith("project")
    with torch.no_grad():
        right = network(clips)
        kept = conv.weight.clone()
        steps = kept.abs().amax((1, 2, 3, 4), keepdim=True) / 127
        conv.weight.copy_((kept / steps).round() * steps)
        hook = norm.register_forward_hook(lambda _, __, y: rounded(y.clamp(0, 6) if clamped else y))
        outputs = network(clips)
        hook.remove()
        conv.weight.copy_(kept)
    return compare(right.numpy(), outputs.numpy()).sqnr_db


def rounded(value):
    low, high = min(value.min().item(), 0), max(value.max().item(), 0)
    step = (high - low) / 255
    return (value / step).round() * step


def test_a_low_quantization_cost_gives_no_note(tmp_path):
    outcome = exported(rough_nets.smooth(), tmp_path)
    assert outcome.parity.quantization_cost is None and not cost_notes(outcome.notes) and not outcome.layers
    assert outcome.parity.against["float"][0].sqnr_db > 20
