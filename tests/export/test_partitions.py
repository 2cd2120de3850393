"""Patterns of published networks without an XNNPACK operator: files stay one partition, and are correct."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

pytest.importorskip("ai_edge_litert.interpreter")
pytest.importorskip("executorch.exir")

from export.manifest import WrittenFile
from tests.export.single_files import ALL_ANSWERS, graph_of, write

PICTURE, CLIP = (1, 3, 8, 8), (1, 3, 4, 8, 8)


class Between(nn.Module):
    """A function between two layers."""

    def __init__(self, first: nn.Module, function: Callable[[Tensor], Tensor], last: nn.Module) -> None:
        super().__init__()
        self.first, self.function, self.last = first, function, last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x).relu()))


def on_pictures(function: Callable[[Tensor], Tensor]) -> tuple[nn.Module, Tensor]:
    return Between(nn.Conv2d(3, 8, 3, padding=1), function, nn.LazyConv2d(4, 1)), torch.randn(PICTURE)


def on_clips(function: Callable[[Tensor], Tensor]) -> tuple[nn.Module, Tensor]:
    first = nn.Conv3d(3, 8, (1, 3, 3), padding=(0, 1, 1))
    return Between(first, function, nn.LazyLinear(4)), torch.randn(CLIP)


def pooled(z: Tensor) -> Tensor:
    return z.mean((2, 3), keepdim=True)


PICTURES: dict[str, Callable[[Tensor], Tensor]] = {
    "join of one": lambda z: torch.cat([z], 1),
    "stack of one": lambda z: torch.stack([z])[0],
    "join with itself": lambda z: torch.cat([z, z], 1),
    "seven times itself": lambda z: torch.cat([z] * 7, 1),
    "repeated pixel": lambda z: pooled(z).repeat(1, 1, 8, 8) + z,
    "repeated channels": lambda z: z.repeat(1, 2, 1, 1),
    "expanded and joined": lambda z: torch.cat([pooled(z).expand(-1, -1, 8, 8), z], 1),
    "sum of a picture": lambda z: z.sum((2, 3), keepdim=True) * z,
    "sum of rows": lambda z: z.sum(2, keepdim=True),
    "whole numbers": lambda z: z * 2 + 0,
    "divided by a whole number": lambda z: z / 4,
    "plus one": lambda z: z + 1,
    "one minus": lambda z: 1 - z,
    "summand with a factor": lambda z: torch.add(z, pooled(z), alpha=2),
    "channels last": lambda z: z.permute(0, 2, 3, 1).mean((1, 2))[..., None, None],
    "hard gate": lambda z: F.hardsigmoid(pooled(z)) * z,
    "twice as large": lambda z: F.interpolate(z, scale_factor=2),
    "three times as high": lambda z: F.interpolate(z, size=(24, 16)),
    "mean of everything": lambda z: z.mean((1, 2, 3), keepdim=True) * z,
    "mean of columns": lambda z: z.mean(3, keepdim=True) * z,
}

CLIPS: dict[str, Callable[[Tensor], Tensor]] = {
    "tokens": lambda z: z.flatten(2).transpose(1, 2).mean(1),
    "clip, channels last": lambda z: z.permute(0, 2, 3, 4, 1).mean((1, 2, 3)),
    "sum of every frame": lambda z: z.sum((3, 4)).mean(2),
    "sum of a clip": lambda z: z.sum((2, 3, 4)),
    "sum over time": lambda z: z.sum(2).mean((2, 3)),
    "frames twice as large": lambda z: F.interpolate(z, scale_factor=(1, 2, 2)).mean((2, 3, 4)),
    "clip twice as large": lambda z: F.interpolate(z, scale_factor=2).mean((2, 3, 4)),
    "repeated frame": lambda z: (z.mean(2, keepdim=True).repeat(1, 1, 4, 1, 1) * z).mean((2, 3, 4)),
    "whole numbers in clips": lambda z: (z * 2 + 0 - 1).mean((2, 3, 4)),
    "one tensor of frames": lambda z: torch.cat([z], 2).mean((2, 3, 4)),
    "pixels of clips joined": lambda z: torch.cat(
        [z.mean((3, 4), keepdim=True).expand(-1, -1, -1, 8, 8), z], 1
    ).mean((2, 3, 4)),
}

NETWORKS = {name: (on_pictures, function) for name, function in PICTURES.items()} | {
    name: (on_clips, function) for name, function in CLIPS.items()
}


def network(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    build, function = NETWORKS[name]
    return build(function)


class Parallel(nn.Module):
    """Networks in parallel, with one output each."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(network(x) for network in self.networks)


@dataclass(frozen=True)
class Shared:
    """A file that several patterns share, and the outputs of file, graph and network for one input, by pattern."""

    file: WrittenFile
    given: dict[str, Tensor]
    expected: dict[str, Tensor]
    wanted: dict[str, Tensor]


@cache
def graph_of_all(names: tuple[str, ...], scheme: str) -> tuple[nn.Module, fx.GraphModule, Tensor]:
    """The networks of these patterns as one, and the reference of its files."""
    models, inputs = zip(*(network(name) for name in names), strict=True)
    for model, own in zip(models, inputs, strict=True):
        model(own)  # initialises lazy layers
    model = Parallel(list(models)).eval()
    return model, graph_of(model, inputs[0], scheme=scheme), inputs[0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Callable[[str, str, str], Shared]:
    """The file that holds a pattern: images share one for each format and scheme, and clips do.

    A conversion takes seconds, whatever its size. If the file is one partition, so is every pattern in it.
    """

    @cache
    def written(names: tuple[str, ...], format: str, scheme: str) -> Shared:
        model, graph, x = graph_of_all(names, scheme)
        with torch.no_grad():
            answers = graph(x), model(x)
        file = write(graph, x, tmp_path_factory.mktemp("shared"), format=format, scheme=scheme)
        given = ALL_ANSWERS[format](file.path, x)
        return Shared(file, *(dict(zip(names, found, strict=True)) for found in (given, *answers)))

    return lambda name, format, scheme: written(
        tuple(PICTURES if name in PICTURES else CLIPS), format, scheme
    )


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["fp32", "w8a8"])
@pytest.mark.parametrize("format", ["tflite", "executorch"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_is_one_partition_and_matches_torch(shared, name, format, scheme):
    found = shared(name, format, scheme)
    file, given = found.file, found.given[name]
    expected, wanted = found.expected[name], found.wanted[name]
    assert given.shape == expected.shape
    largest = expected.abs().max()
    # In int8 a runtime may round a number to its other neighbour.
    assert (given - expected).abs().max() <= (1e-5 if scheme == "fp32" else 0.03) * largest
    assert (wanted - expected).abs().max() <= (1e-5 if scheme == "fp32" else 0.1) * largest
    coverage = file.coverage
    assert (coverage.partitions, coverage.share, coverage.left) == (1, 1.0, ())


def test_identity_operators_are_removed():
    def kinds(name: str) -> list[str]:
        graph = graph_of(*network(name), scheme="fp32").graph
        return [str(node.target) for node in graph.nodes]

    assert not any("cat" in kind for name in ("join of one", "stack of one") for kind in kinds(name))
    assert not any("add" in kind for kind in kinds("whole numbers"))
