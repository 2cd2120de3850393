"""`python -m compress.studies.int4_groups`: rounding error and size of int4 weights by group size.

The error of public weights alone, without a network around them: it needs no clips. What it does to
predictions is measured by `compress.studies.quantization`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output

if not only_reads_arguments(__name__):
    import torch
    from torch import Tensor

    from compress.installed_weights import INSTALLED, installed_path
    from export.quantize.grid import Grid, grid_of_least_error
    from export.quantize.weight_only import MANY

SIZES = (None, 128, 64, 32)
"""Group sizes; None is one scale per output channel."""


def main(
    weights: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of installed weights.")
    ] = "efficientnet-lite0",
) -> None:
    """Prints SQNR and bytes of the int4 weights of dense convolutions by group size, as a Markdown table."""
    with exit_codes():
        if weights not in INSTALLED:
            raise ValueError(f"{weights!r} is unknown; allowed: {', '.join(INSTALLED)}")
        stored: Mapping[str, Tensor] = torch.load(installed_path(weights), weights_only=True)
    for line in table([one for one in stored.values() if is_dense(one)]):
        output().print(line, markup=False, soft_wrap=True)


def is_dense(weight: Tensor) -> bool:
    """Whether `w4` stores such a weight as int4: that of a dense convolution with many weights per channel."""
    return weight.dim() > 2 and weight.shape[1] > 1 and weight[0].numel() >= MANY


def table(weights: list[Tensor]) -> Iterator[str]:
    """A row per group size: the mean SQNR over output channels, its 10th percentile, and the bytes per weight.

    The SQNR of a channel does not depend on the BatchNorm after it, which is folded into a factor of the channel.
    """
    count = sum(weight.numel() for weight in weights)
    yield "| scales | mean SQNR | 10th percentile | bytes per weight |"
    yield "|---|---|---|---|"
    for size in SIZES:
        grids = [grid_of_least_error(weight, limit=7, group_size=size) for weight in weights]
        sqnr = torch.cat([_sqnr_db(*pair) for pair in zip(weights, grids, strict=True)])
        stored = sum(grid.stored_bytes(weight) for grid, weight in zip(grids, weights, strict=True)) / count
        name = "one per output channel" if size is None else f"`group_size: {size}`"
        yield f"| {name} | {sqnr.mean():.1f} dB | {sqnr.quantile(0.1):.1f} dB | {stored:.3f} |"


def _sqnr_db(weight: Tensor, grid: Grid) -> Tensor:
    """SQNR of each output channel with a weight that is not zero."""
    noise = (weight - grid.rounded(weight)).flatten(1).square().sum(1)
    signal = weight.flatten(1).square().sum(1)
    return 10 * (signal / noise)[signal > 0].log10()


if __name__ == "__main__":
    run_command(main)
