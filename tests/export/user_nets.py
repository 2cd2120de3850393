"""Networks of users: plain torch, without Pocketreel."""

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Clips(nn.Module):
    """Conv3d, BatchNorm3d and squeeze-free convolutions over clips `N 3 T H W`."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, 8, 3, (1, 2, 2), 1, bias=False), nn.BatchNorm3d(8), nn.ReLU6())
        self.depthwise = nn.Conv3d(8, 8, 3, padding=1, groups=8)
        self.classifier = nn.Linear(8, classes)

    def forward(self, clip: Tensor) -> Tensor:
        x = nn.functional.hardswish(self.depthwise(self.stem(clip)))
        return 20 * self.classifier(x.mean((2, 3, 4)))


class ClipsAndWords(nn.Module):
    """A clip and tokens in, class logits and a score per frame out."""

    def __init__(self) -> None:
        super().__init__()
        self.clips, self.words = Clips(), nn.Embedding(7, 5)
        self.frames = nn.Conv3d(3, 4, 1)

    def forward(self, clip: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        per_frame = self.frames(clip).mean((3, 4)).transpose(1, 2)
        return self.clips(clip) + self.words(text).mean(1), per_frame


class Scenery(nn.Module):
    """A class for every pixel of every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.classify = nn.Conv3d(3, 8, 3, padding=1), nn.Conv3d(8, 2, 1)

    def forward(self, clip: Tensor) -> Tensor:
        return self.classify(self.look(clip).relu())


class Outputs(NamedTuple):
    """Outputs by name; one has the name that torch gives to another operator."""

    logits: Tensor
    mean: Tensor


class Named(nn.Module):
    """Returns a NamedTuple."""

    def __init__(self) -> None:
        super().__init__()
        self.classify, self.score = nn.Linear(3, 5), nn.Linear(3, 2)

    def forward(self, clip: Tensor) -> Outputs:
        pooled = clip.mean((2, 3, 4))
        return Outputs(logits=self.classify(pooled), mean=self.score(pooled))


class WeightNormed(nn.Module):
    """Weights with a magnitude and a direction, in torch's older form: hooks compute them before each call."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings(category=FutureWarning, action="ignore"):
            self.look = nn.utils.weight_norm(nn.Conv3d(3, 4, 3, padding=1))
            self.classify = nn.utils.weight_norm(nn.Linear(4, 5))

    def forward(self, clip: Tensor) -> Tensor:
        return self.classify(self.look(clip).relu().mean((2, 3, 4)))


class Changing(Clips):
    """Normalises the caller's clip in place, as a whole and through a view."""

    def forward(self, clip: Tensor) -> Tensor:
        clip.sub_(0.5).div_(0.25)
        clip[:, 0] -= 0.1
        return super().forward(clip)


class Undecided(nn.Module):
    """Branches on values, which no static graph can."""

    def forward(self, clip: Tensor) -> Tensor:
        if clip.mean() > 0.5:
            return clip.mean((2, 3, 4))
        return clip.amax((2, 3, 4))


class NotANumber(nn.Module):
    """Returns NaN."""

    def forward(self, clip: Tensor) -> Tensor:
        return clip.mean((2, 3, 4)) / 0 * 0


class Labelled(nn.Module):
    """Returns a value that no file can return."""

    def forward(self, clip: Tensor) -> tuple[Tensor, str]:
        return clip.mean((2, 3, 4)), "left"


def clips() -> nn.Module:
    """The same weights every time."""
    torch.manual_seed(0)
    return Clips()


def clips_and_words() -> nn.Module:
    torch.manual_seed(0)
    return ClipsAndWords()


def broken() -> nn.Module:
    raise KeyError("depth")


A_NETWORK = Clips()
A_NUMBER = 3
