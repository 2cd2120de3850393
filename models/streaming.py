"""Causal networks that run on a whole clip or on one frame at a time, with the same code.

Information passes between frames only through a `Memory`: the last inputs of temporal convolutions, and running
means. On a clip, it pads with zeros and averages; on a stream, it reads the state of the previous frame and stores
that for the next. Layers are written once, and both modes give the same results.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import Triple
from models.spec import COUNT_STATE, State


class Memory:
    """Access of causal layers to previous frames; with `state`, for one frame of a stream.

    States are named by the order in which layers run: means `mean_0`, ..., and single frames; `past_0_2` is the
    input of the first temporal layer two frames ago.
    """

    def __init__(self, state: Mapping[str, Tensor] | None = None) -> None:
        self._state = state
        self.kept: State = {}
        """The state for the next frame."""
        self._counts = {"past": 0, "mean": 0}
        if state is not None:
            self.kept[COUNT_STATE] = state[COUNT_STATE] + 1
            self._share = torch.reciprocal(self.kept[COUNT_STATE].float())

    @property
    def is_stream(self) -> bool:
        """Whether the input is one frame of a stream, not a clip."""
        return self._state is not None

    def with_past(self, x: Tensor, frames: int) -> Tensor:
        """`x`, `N C T H W`, preceded by the `frames` previous frames; zeros before the first frame."""
        n, c, t, h, w = x.shape
        layer = self._next("past")
        names = [f"{layer}_{ago}" for ago in range(frames, 0, -1)]
        if self._state is None:
            self.kept |= {name: x.new_zeros(n, c, 1, h * w) for name in names}
            return functional.pad(x, (0, 0, 0, 0, frames, 0))
        seen = [*(self._state[name] for name in names), x.flatten(3)]
        # All frames but the oldest are only renamed, without a copy.
        self.kept |= dict(zip(names, seen[1:], strict=True))
        return torch.cat(seen, 2).view(n, c, frames + t, h, w)

    def delayed(self, x: Tensor) -> Tensor:
        """`x`, `N C T H W`, delayed by one frame; zeros for the first."""
        if not self.is_stream:
            return shifted(self.with_past(x, 1), later=True)
        assert self._state is not None
        name = f"{self._next('past')}_1"
        self.kept[name] = x.flatten(3)
        return self._state[name].view_as(x)

    def mean(self, x: Tensor) -> Tensor:
        """The mean of features `N C T 1 1` over all frames so far, `N C`."""
        return self._updated(x) if self.is_stream else self._of_clip(x).mean(2).flatten(1)

    def running_mean(self, x: Tensor) -> Tensor:
        """Running means of features `N C T 1 1` over the frames up to and including each frame."""
        if self.is_stream:
            return self._updated(x).view_as(x)
        features = self._of_clip(x).flatten(2)
        return (features @ past_means(x.shape[2], like=x)).view_as(x)

    def _of_clip(self, x: Tensor) -> Tensor:
        self.kept[self._next("mean")] = x.new_zeros(x.shape[:2])
        return x

    def _updated(self, x: Tensor) -> Tensor:
        """The mean so far, `N C`, with one more frame."""
        assert self._state is not None
        name = self._next("mean")
        mean = self._state[name]
        # This form is numerically stable for endless streams.
        self.kept[name] = mean + (x.flatten(1) - mean) * self._share
        return self.kept[name]

    def _next(self, kind: str) -> str:
        name = f"{kind}_{self._counts[kind]}"
        self._counts[kind] += 1
        return name


def shifted(x: Tensor, *, later: bool) -> Tensor:
    """`x`, `N C T H W`, without its last frame, or with `later` without its first one, `N C T-1 H W`.

    Implemented as a convolution with one tap, which the exporter recognises as a shift of frames.
    """
    taps = x.new_tensor([1.0, 0.0] if later else [0.0, 1.0])
    channels = x.shape[1]
    return functional.conv3d(x, taps.view(1, 1, 2, 1, 1).expand(channels, 1, 2, 1, 1), groups=channels)


def past_means(frames: int, *, like: Tensor) -> Tensor:
    """`T T`: the matrix that maps features `... T` to their running means.

    Column `t` holds `1 / (t + 1)` in the rows up to `t`, so the mean includes the frame itself.
    """
    ones = torch.ones(frames, frames, dtype=like.dtype, device=like.device)
    return ones.triu() / torch.arange(1, frames + 1, dtype=like.dtype, device=like.device)


class CausalConv(nn.Module):
    """Depthwise convolution over a frame and the `past` previous ones; zeros before the first frame."""

    def __init__(self, channels: int, *, kernel: Triple, stride: Triple = (1, 1, 1)) -> None:
        super().__init__()
        frames, rows, columns = kernel
        self.past = frames - 1
        padding = (0, rows // 2, columns // 2)
        self.conv = nn.Conv3d(
            channels, channels, kernel, stride=stride, padding=padding, groups=channels, bias=False
        )

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """`N C T H W` -> `N C T H' W'`."""
        return self.conv(memory.with_past(x, self.past) if self.past else x)


class StreamingNetwork(nn.Module):
    """A network whose prediction for a clip is that at its last frame.

    Subclasses implement `look(clip, memory)`; `forward` calls it with a whole clip, `step` with one frame.
    """

    def look(self, clip: Tensor, memory: Memory) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column after the last frame of `clip`, `N 3 T H W`."""
        raise NotImplementedError

    def forward(self, clip: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits of each label column after the last frame of the clip."""
        return self.look(clip, Memory())

    def step(self, frame: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor | tuple[Tensor, ...], State]:
        """Logits after one more frame, `N 3 H W`, and the next state.

        After N frames, the logits equal those of `forward` for the clip of these N frames.
        """
        memory = Memory(state)
        logits = self.look(frame.unsqueeze(2), memory)
        return logits, memory.kept

    def initial_state(self, frame: Tensor) -> State:
        """The state before the first frame of a stream, all zeros; `frame`, `N 3 H W`, gives the shape."""
        memory, training = Memory(), self.training
        self.eval()
        with torch.no_grad():
            self.look(frame.unsqueeze(2), memory)
        self.train(training)
        return {COUNT_STATE: torch.zeros(1, dtype=torch.int64, device=frame.device), **memory.kept}
