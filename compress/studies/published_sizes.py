"""The table of published sizes in `docs/students.md`: published figures next to those of this project."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from models import STUDENTS
from models.counts import count_macs, count_parameters
from models.published import PUBLISHED, Published
from models.spec import ClipSpec, LabelSpec, VideoSpec


def published_sizes() -> Iterator[str]:
    """One row per published shape, in Markdown."""
    yield (
        "| network | clip, classes | parameters | published | MACs | published | source |\n"
        + "|---" * 7
        + "|"
    )
    for row in PUBLISHED:
        parameters, macs = counted(row)
        name = f"`{row.network}`" + "".join(
            f", `{key}: {_yaml(value)}`" for key, value in row.options.items()
        )
        cells = (
            name,
            f"{row.frames} x {row.size} x {row.size}, {row.classes}",
            f"{parameters / 1e6:.2f} M ({_difference(parameters, row.parameters)})",
            f"{row.parameters / 1e6:.2f} M",
            f"{macs / 1e9:.3f} G ({_difference(macs, row.macs)})",
            f"{row.macs / 1e9:.3f} G",
            f"{row.source}; {row.remark}" if row.remark else row.source,
        )
        yield "| " + " | ".join(cells) + " |"
    yield ""


def counted(row: Published) -> tuple[int, int]:
    """Parameters and multiply-adds for one clip of the network, built on the meta device."""
    network = STUDENTS[row.network]
    spec = ClipSpec(
        video=VideoSpec(frames=row.frames, size=row.size, resize=row.size),
        labels=(LabelSpec(name="class", classes=tuple(map(str, range(row.classes)))),),
    )
    with torch.device("meta"):
        model = network.build(spec, network.options(**row.options))
    return count_parameters(model), count_macs(model, spec)


def _difference(ours: float, theirs: float) -> str:
    return f"{100 * (ours / theirs - 1):+.1f} %"


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
