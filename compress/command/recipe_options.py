"""The options of commands that run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CACHE = Path("out/cache")
"""Default of `--cache`."""
WORKERS = 2
"""Default of `--workers`."""

RecipeArgument = Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe (YAML).", show_default=False)]

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one value: --set stages.0.distill.epochs=3. Repeatable.",
    ),
]

OutOption = Annotated[
    Path | None, typer.Option(help="Output folder of the run.", show_default="out/<recipe name>")
]

CacheOption = Annotated[
    Path, typer.Option(help="Cache folder for decoded clips and teacher logits, shared by all runs.")
]

WorkersOption = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Number of decoding processes; 0 decodes in the main process."),
]

TrainDeviceOption = Annotated[
    str,
    typer.Option(
        help="Training device: auto (cuda if there is one, else cpu), cpu, cuda or mps.", metavar="DEVICE"
    ),
]

UserCodeTimeoutOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=1,
        help="Time limit for each of: importing a teacher's factory, calling it, one forward pass.",
    ),
]
