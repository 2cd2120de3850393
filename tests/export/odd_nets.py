"""Unusual networks of users: other float types, wrappers, memory, and code that cannot be captured."""

import threading

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.export.user_nets import Clips


class Small(nn.Module):
    """One convolution over clips, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.classify = nn.Conv3d(3, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, clip: Tensor) -> Tensor:
        return self.classify(self.features(clip).mean((2, 3, 4)))

    def features(self, clip: Tensor) -> Tensor:
        return self.look(clip).relu()


class Autocast(Small):
    def forward(self, clip: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(clip).float()


class HalfLayer(Small):
    def __init__(self) -> None:
        super().__init__()
        self.look.half()

    def features(self, clip: Tensor) -> Tensor:
        return self.look(clip.half()).float().relu()


class DoubleInside(Small):
    def features(self, clip: Tensor) -> Tensor:
        return super().features(clip).double().sqrt().to(torch.float32)


class DoubleConstant(Small):
    """Computes a constant in float64, which changes nothing."""

    def features(self, clip: Tensor) -> Tensor:
        return super().features(clip) + torch.linspace(0, 1, clip.shape[-1], dtype=torch.float64).float()


class Complex(Small):
    def features(self, clip: Tensor) -> Tensor:
        return torch.fft.rfft(super().features(clip)).abs()


class OwnTensor(Tensor):
    """A plain subclass."""


class Subclass(Small):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.full((1, 4, 1, 1, 1), 2.0).as_subclass(OwnTensor))

    def features(self, clip: Tensor) -> Tensor:
        return super().features(clip) * self.factor


class Sparse(Small):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("graph", torch.eye(4).to_sparse())


class Locked(Small):
    """Holds an object that cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.numbers = threading.Lock(), (number for number in range(3))


class TrainReturnsNothing(Small):
    def train(self, mode: bool = True) -> None:
        super().train(mode)


class ConversionsReturnNothing(Small):
    def cpu(self) -> None:
        super().cpu()

    def float(self) -> None:
        super().float()

    def eval(self) -> None:
        super().eval()


class Scripted(Small):
    def __init__(self) -> None:
        super().__init__()
        self.look = torch.jit.script(self.look)


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.look, self.remember = nn.Conv3d(3, 4, 1), nn.LSTM(4, 5, batch_first=True)

    def forward(self, clip: Tensor) -> Tensor:
        steps = self.look(clip).mean((3, 4)).transpose(1, 2)
        packed = pack_padded_sequence(steps, torch.tensor([steps.shape[1]]), batch_first=True)
        given, _ = self.remember(packed)
        return pad_packed_sequence(given, batch_first=True)[0][:, -1]


class Numbered(Small):
    def features(self, clip: Tensor) -> Tensor:
        found = super().features(clip)
        return found * found.max().item()


class Numpy(Small):
    def features(self, clip: Tensor) -> Tensor:
        found = super().features(clip)
        return torch.from_numpy(abs(found.detach().numpy()))


class Printing(Small):
    """Prints values, and tries a shape that does not fit."""

    def features(self, clip: Tensor) -> Tensor:
        found = super().features(clip)
        print(found.mean())
        try:
            return found.view(1, 3, -1)
        except RuntimeError:
            return found


class Training(Small):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(4)

    def features(self, clip: Tensor) -> Tensor:
        self.norm.train()
        return self.norm(super().features(clip))


class Counting(Small):
    """Counts its calls, without effect on its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, clip: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(clip)


class Buffer(Small):
    """Adds its previous inputs, kept in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("before", torch.zeros(1, 4))

    def forward(self, clip: Tensor) -> Tensor:
        found = self.features(clip).mean((2, 3, 4))
        joined = found + self.before
        self.before.copy_(found)
        return self.classify(joined)


class Listed(Small):
    """Keeps all its inputs in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, clip: Tensor) -> Tensor:
        self.seen.append(self.features(clip).mean((2, 3, 4)))
        return self.classify(torch.stack(self.seen).sum(0))


class Cached(Small):
    """Computes a constant at its first call."""

    ramp: Tensor | None = None

    def features(self, clip: Tensor) -> Tensor:
        found = super().features(clip)
        if self.ramp is None:
            self.ramp = torch.linspace(0, 1, found.shape[-1])
        return found + self.ramp


class Anchored(Small):
    """Keeps the mean of its first clip, and subtracts it from all others."""

    anchor: Tensor | None = None

    def features(self, clip: Tensor) -> Tensor:
        found = super().features(clip)
        if self.anchor is None:
            self.anchor = found.detach().mean((0, 2, 3, 4), keepdim=True)
        return found - self.anchor


class Initialised(Small):
    """Sets its own weights from its first clip, as ActNorm does."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 4, 1, 1, 1))
        self.register_buffer("is_set", torch.tensor(False))

    def features(self, clip: Tensor) -> Tensor:
        found = super().features(clip)
        if not torch.compiler.is_compiling() and not self.is_set:
            self.scale.data.copy_(1 / found.detach().std((0, 2, 3, 4), keepdim=True))
            self.is_set.fill_(True)
        return found * self.scale


class DrawnOnce(Small):
    """Draws its positions at the first call, whatever the clip is."""

    position: Tensor | None = None

    def features(self, clip: Tensor) -> Tensor:
        found = super().features(clip)
        if self.position is None:
            self.position = torch.rand(found.shape[1:])
        return found + self.position


class Masked(Small):
    """Takes the same two channels of every clip."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([True, False, True, False]))
        self.register_buffer("kept", self.mask.nonzero()[:, 0])
        self.classify = nn.Linear(2, 5)

    def features(self, clip: Tensor) -> Tensor:
        return super().features(clip)[:, self.mask]


class Kept(Masked):
    def features(self, clip: Tensor) -> Tensor:
        return Small.features(self, clip)[:, self.kept]


class MaskedMean(Small):
    """The mean of the values above a limit."""

    def forward(self, clip: Tensor) -> Tensor:
        found = self.features(clip)
        return found[found > 0.1].mean()


class Selected(Small):
    def forward(self, clip: Tensor) -> Tensor:
        found = self.features(clip)
        return torch.masked_select(found, found > 0.1).mean()


class Found(Small):
    def forward(self, clip: Tensor) -> Tensor:
        return (self.features(clip).mean((0, 1, 3, 4)) > 0.1).nonzero().sum()


class Unique(Small):
    def forward(self, clip: Tensor) -> Tensor:
        return self.features(clip).round().unique().sum()


class Dropping(Small):
    def features(self, clip: Tensor) -> Tensor:
        return F.dropout(super().features(clip))


def doubled() -> nn.Module:
    return Small().double()


def brain_floats() -> nn.Module:
    return Small().to(torch.bfloat16)


def in_parallel() -> nn.Module:
    return nn.DataParallel(Small())


def compiled() -> nn.Module:
    return torch.compile(Small())


def traced() -> nn.Module:
    return torch.jit.trace(Small(), torch.rand(1, 3, 4, 16, 16))


def quantized() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(Small(), {nn.Linear})


def without_values() -> nn.Module:
    return Small().to("meta")


def lazy() -> nn.Module:
    network = Small()
    network.look = nn.LazyConv3d(4, 3)
    return network


def a_class() -> type:
    return Clips


def gives_nothing() -> nn.Module:
    return TrainReturnsNothing().eval()


def needs_more(classes: int) -> nn.Module:
    return Clips(classes)
