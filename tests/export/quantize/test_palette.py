"""Palettes of 16 values, and the Core ML files that store them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from export.capture.graph import capture
from export.lower import lower
from export.quantize.palette import palettized
from export.quantize.weight_only import store_weights
from tests.export.networks import trained


def test_sixteen_clusters_are_found() -> None:
    centres = torch.linspace(-3, 5, 16)
    noise = 0.01 * torch.randn(16, 40, generator=torch.Generator().manual_seed(0))
    weight = (centres[:, None] + noise).reshape(8, 80)
    found = palettized(weight)
    assert torch.allclose(found.reshape(16, 40), (centres[:, None] + noise.mean(1, keepdim=True)), atol=1e-5)


def test_a_palette_has_less_error_than_sixteen_equal_steps() -> None:
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    found = palettized(weight)
    assert len(found.unique()) == 16
    steps = torch.linspace(float(weight.min()), float(weight.max()), 16)
    even = steps[(weight[..., None] - steps).abs().argmin(-1)]
    assert (found - weight).square().mean() < 0.6 * (even - weight).square().mean()


def test_equal_weights_stay_as_they_are() -> None:
    weight = torch.zeros(3, 4).index_fill(0, torch.tensor([1]), 2.0)
    assert torch.equal(palettized(weight), weight)


class Normalised(nn.Module):
    """A picture whose channels are scaled and shifted, which coremltools likes to make a BatchNorm, then layers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor([4.0, 5.0, 3.0]).reshape(1, 3, 1, 1))
        self.register_buffer("shift", torch.tensor([-2.0, -2.5, -1.5]).reshape(1, 3, 1, 1))
        self.layers = nn.Sequential(nn.Conv2d(3, 128, 3), nn.ReLU(), nn.Conv2d(128, 16, 3), nn.Flatten())
        self.classifier = nn.Linear(16 * 16, 4)

    def forward(self, x):
        return self.classifier(self.layers(x * self.scale + self.shift))


@pytest.mark.slow
def test_a_coreml_file_stores_tables_and_computes_with_the_palettes(tmp_path) -> None:
    pytest.importorskip("coremltools")
    from export.emit.coreml.predict import open_file
    from export.emit.coreml.writer import write
    from export.manifest import FileSpec, TensorInfo, size_bytes_of

    network = trained(Normalised())
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    stored = store_weights(lower(capture(network, (x,))), scheme="p4")
    assert [len(p.unique()) for p in stored.parameters() if p.numel() > 2048] == [16, 16]
    spec = FileSpec(
        inputs=(TensorInfo(name="x", shape=(1, 3, 8, 8), dtype="float32", layout="NCHW"),),
        outputs=(TensorInfo(name="logits", shape=(1, 4), dtype="float32", layout="NK"),),
        classes=((),),
        description={},
    )
    program = torch.export.export(stored, (x,))
    sizes = {}
    for scheme in ("p4", "fp16"):
        write(program, tmp_path / f"{scheme}.mlpackage", spec=spec, scheme=scheme)
        sizes[scheme] = size_bytes_of(tmp_path / f"{scheme}.mlpackage")
    weights = 3 * 128 * 9 + 128 * 16 * 9
    assert sizes["fp16"] - sizes["p4"] > 1.2 * weights, "of 2 bytes a weight, half a byte is left"
    opened = open_file(tmp_path / "p4.mlpackage", entry=None, outputs=["logits"])
    given = opened.run({"x": x.numpy()})[0]
    assert np.abs(given - stored(x).detach().numpy()).max() < 2e-2 * np.abs(given).max()
