"""Small networks in the lowered form (frames in the batch axis, rank <= 4 inside) and their int8 graphs."""

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from export.capture.graph import capture
from export.quantize.int8_reference import calibrate, convert, prepare
from models.spec import AudioSpec, ClipSpec, LabelSpec, TextSpec, VideoSpec

CLASSES = ("left", "right", "up", "down", "still")


def clip_spec(*, frames: int = 4, size: int = 16, audio: bool = False, text: bool = False, heads: int = 1):
    """A `ClipSpec` of the given inputs with `heads` label columns."""
    labels = tuple(
        LabelSpec(name=f"column{i}", classes=CLASSES if i == 0 else CLASSES[: i + 1]) for i in range(heads)
    )
    return ClipSpec(
        video=VideoSpec(frames=frames, size=size, resize=size + 2),
        audio=AudioSpec(mels=8, bins=12) if audio else None,
        text=TextSpec(length=6, vocabulary=("a", "red", "ball", "moves")) if text else None,
        labels=labels,
    )


class SmallNet(nn.Module):
    """An inverted residual with squeeze-excite over 4-D planes, plus optional audio and text branches."""

    def __init__(self, spec: ClipSpec, *, width: int = 8, blocks: int = 1):
        super().__init__()
        assert spec.video is not None
        self.spec, self.frames = spec, spec.video.frames
        self.register_buffer("mean", torch.tensor(spec.video.mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.video.std).reshape(1, 3, 1, 1))
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(width, frames=self.frames) for _ in range(blocks))
        features = width
        if spec.audio:
            self.sound = nn.Conv2d(1, 4, 3, stride=2, padding=1)
            features += 4
        if spec.text:
            self.words = nn.Embedding(len(spec.text.vocabulary) + 2, 4)
            features += 4
        self.heads = nn.ModuleList(nn.Linear(features, len(label.classes)) for label in spec.labels)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        named = dict(zip(self.spec.inputs, inputs, strict=True))
        clip = named["clip"]
        n, c, t, h, w = clip.shape
        frames = clip.reshape(n, c, t, h * w).permute(0, 2, 1, 3).reshape(n * t, c, h, w)
        frames = (frames - self.mean) / self.std
        x = nn.functional.relu6(self.stem(frames))
        for block in self.blocks:
            x = block(x)
        features = [pool(x)]
        if "audio" in named:
            features.append(nn.functional.relu(self.sound(named["audio"])).mean((2, 3)))
        if "text" in named:
            features.append(self.words(named["text"]).mean(1))
        joined = torch.cat(features, 1) if len(features) > 1 else features[0]
        logits = tuple(head(joined) for head in self.heads)
        return logits if len(logits) > 1 else logits[0]


class Block(nn.Module):
    """Expand, spatial depthwise, temporal depthwise, squeeze-excite, project, add."""

    def __init__(self, width: int, *, frames: int):
        super().__init__()
        wide = 2 * width
        self.frames = frames
        self.expand = nn.Conv2d(width, wide, 1)
        self.spatial = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.temporal = nn.Conv2d(wide, wide, (3, 1), padding=(1, 0), groups=wide)
        self.squeeze = nn.Conv2d(wide, 4, 1)
        self.excite = nn.Conv2d(4, wide, 1)
        self.project = nn.Conv2d(wide, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu6(self.expand(x))
        y = nn.functional.relu6(self.spatial(y))
        t, c, h, w = y.shape
        y = y.permute(1, 0, 2, 3).reshape(1, c, t, h * w)
        y = nn.functional.relu6(self.temporal(y))
        gate = y.mean((2, 3), keepdim=True)
        gate = nn.functional.hardsigmoid(self.excite(nn.functional.relu(self.squeeze(gate))))
        y = (y * gate).reshape(c, t, h, w).permute(1, 0, 2, 3)
        return x + self.project(y)


def pool(x: Tensor) -> Tensor:
    """Mean over frames, rows and columns of frames-in-batch `T C H W`, as `1 C`."""
    t, c, h, w = x.shape
    return x.permute(1, 0, 2, 3).reshape(1, c, t * h, w).mean((2, 3), keepdim=True).reshape(1, c)


def float_graph(spec: ClipSpec, *, width: int = 8, blocks: int = 1, seed: int = 0) -> torch.fx.GraphModule:
    """The small network as a float graph."""
    torch.manual_seed(seed)
    net = SmallNet(spec, width=width, blocks=blocks).eval()
    return torch.export.export(net, spec.example(), strict=True).module()


def int8_graph(spec: ClipSpec, *, width: int = 8, blocks: int = 1, seed: int = 0) -> torch.fx.GraphModule:
    """The small network as a converted PT2E graph with `quantized_decomposed` nodes."""
    prepared = prepare(float_graph(spec, width=width, blocks=blocks, seed=seed))
    calibrate(prepared, [spec.example(seed=sample) for sample in range(4)])
    return convert(prepared)


def captured(spec: ClipSpec) -> ExportedProgram:
    """The small network, captured and not lowered."""
    torch.manual_seed(0)
    return capture(SmallNet(spec), spec.example())


def program_of(graph: torch.fx.GraphModule, spec: ClipSpec) -> ExportedProgram:
    """The graph captured at batch 1."""
    return torch.export.export(graph, spec.example(), strict=True)
