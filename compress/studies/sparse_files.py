"""`python -m compress.studies.sparse_files`: bytes of files with sparse weights, as written and in a zip archive.

EfficientNet-Lite0 over frames with its public weights, whose smallest are set to zero without recovery: bytes do
not depend on accuracy.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from compress.command import names, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output

if not only_reads_arguments(__name__):
    from compress.installed_weights import installed_path
    from compress.pretrained import start_pretrained
    from compress.pruning.dependencies import kept_layers
    from compress.pruning.masks import Pattern, masked, masks_of, prunable_weights
    from export.choice import Forms
    from export.manifest import size_bytes_of
    from export.network import export_network
    from models import STUDENTS
    from models.spec import ClipSpec, LabelSpec, VideoSpec

if TYPE_CHECKING:
    from torch import nn

NETWORK, WEIGHTS = "lite0_frames", "efficientnet-lite0"
SHAPE = "1x3x4x64x64"
SPARSITY = 0.8
"""Share of zeros of `unstructured`."""


def main(
    formats: Annotated[
        str, typer.Option(metavar="A,B", help="Formats of the rows.")
    ] = "onnx,tflite,executorch,coreml",
    schemes: Annotated[str, typer.Option(metavar="A,B", help="Schemes of the rows.")] = "fp32",
) -> None:
    """Prints a Markdown table: bytes of the files, dense, with 2:4 and with 80 % zeros, and of their archives."""
    with exit_codes():
        network, spec = pretrained()
        lines = table(network, spec, formats=names(formats) or [], schemes=names(schemes) or [])
        for line in lines:
            output().print(line, markup=False, soft_wrap=True)


def pretrained() -> tuple[nn.Module, ClipSpec]:
    """The network with its public weights. Raises ValueError if they are not installed."""
    spec = ClipSpec(
        video=VideoSpec(frames=4, size=64, resize=64), labels=(LabelSpec(name="label", classes=("a", "b")),)
    )
    row = STUDENTS[NETWORK]
    network = row.build(spec, row.options()).eval()
    start_pretrained(network, NETWORK, installed_path(WEIGHTS))
    return network, spec


def table(
    network: nn.Module, spec: ClipSpec, *, formats: list[str], schemes: list[str], shape: str = SHAPE
) -> Iterator[str]:
    """A row per file. The weights of `network` are set to zero in place, first two of four, then the smallest."""
    sizes = {"dense": _sizes(network, formats, schemes, shape)}
    for pattern in get_args(Pattern):
        weights = prunable_weights(network, set(kept_layers(network, spec)))
        masks = masks_of(weights, pattern=pattern, sparsity=SPARSITY, by_layer=False)
        with masked(weights, masks):
            sizes[pattern] = _sizes(network, formats, schemes, shape)
    yield f"| file | {' | '.join(f'{name} | zip' for name in sizes)} |"
    yield "|---|" + "---|" * 2 * len(sizes)
    for file in sizes["dense"]:
        figures = " | ".join(
            f"{size:,} | {zipped:,}" for size, zipped in (one[file] for one in sizes.values())
        )
        yield f"| {file} | {figures} |"


def _sizes(
    network: nn.Module, formats: list[str], schemes: list[str], shape: str
) -> dict[str, tuple[int, int]]:
    """Bytes of every file, and of a zip archive with it, by format and scheme."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        exported = export_network(
            network, [shape], out=out, formats=formats, schemes=schemes, forms=Forms(target="arm64")
        )
        wrong = [outcome for outcome in exported.outcomes if outcome.path is None]
        if wrong:
            raise RuntimeError(f"{wrong[0].format} {wrong[0].scheme} was not written: {wrong[0].failure}")
        return {
            f"{outcome.format} `{outcome.scheme}`": (
                size_bytes_of(out / outcome.path),
                _zipped(out / outcome.path),
            )
            for outcome in exported.outcomes
            if outcome.path is not None
        }


def _zipped(path: Path) -> int:
    """Bytes of a zip archive (deflate, level 6) with a file or folder."""
    archive = path.with_name("archive.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as zipped:
        for one in [path] if path.is_file() else sorted(path.rglob("*")):
            zipped.write(one, one.relative_to(path.parent))
    return archive.stat().st_size


if __name__ == "__main__":
    run_command(main)
