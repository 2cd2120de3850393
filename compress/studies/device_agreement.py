"""`python -m compress.studies.device_agreement EXPORT_DIR --data CLIPS --device DEVICE`: one set of files and clips
on this machine and on a device.

Writes for every file its accuracy on both, the share of equal predictions, and the largest difference of a logit
to `docs/devices.md`. Latency is not measured: the device may be emulated. Exit codes: 0 written; 2 an argument, the
export or the data is invalid; 3 the device or a file failed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from compress.command import FAILED, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.progress import bar
from compress.command.terminal import output, problems

if not only_reads_arguments(__name__):
    import numpy as np

    from benchmarks.accuracy import FileAccuracy, evaluate
    from benchmarks.device import Description, Unavailable
    from benchmarks.devices import parse_device
    from benchmarks.exported import read_export
    from benchmarks.field_data import FieldData, open_field_data
    from benchmarks.host import HOST
    from compress.folders.output import write_output_file
    from compress.studies.generated_blocks import check_page, with_block

_BLOCK = "agreement"


def main(
    export_dir: Annotated[Path, typer.Argument(metavar="EXPORT_DIR", help="Folder with manifest.json.")],
    data: Annotated[Path, typer.Option(help="Labelled clips, as of `pocketreel bench`.")],
    device: Annotated[str, typer.Option(help="The device, such as ssh:pi@board.")],
    split: Annotated[str, typer.Option(help="Split of the data.")] = "test",
    page: Annotated[Path, typer.Option(help="Page for the table.")] = Path("docs/devices.md"),
) -> None:
    """Compares the logits of every file on this machine and on a device."""
    console = output()
    with exit_codes():
        settings = parse_device(device)
        check_page(page, _BLOCK)
        exported = read_export(export_dir)
        with tempfile.TemporaryDirectory() as cache, bar(problems(), "compare") as progress:
            field_data = FieldData(path=data, split=split)
            clips = open_field_data(field_data, exported.clip_spec(), cache=Path(cache), workers=1)
            here = evaluate(exported, clips, progress=progress)
            try:
                with settings.connect(settings.name or settings.kind) as connected:
                    description = connected.describe()
                    there = evaluate(exported, clips, device=connected, progress=progress)
            except Unavailable as error:
                console.print(str(error), markup=False, soft_wrap=True)
                raise typer.Exit(FAILED) from error
        missing = [one for one in (*here, *there) if one.unavailable is not None]
        for one in missing:
            console.print(f"{one.id} on {one.device}: {one.unavailable}", markup=False, soft_wrap=True)
        if missing:
            raise typer.Exit(FAILED)
        content = "\n".join(_lines(here, there, HOST.describe(), description))
        write_output_file(
            page,
            with_block(page.read_text(encoding="utf-8"), _BLOCK, f"\n{content}\n\n"),
            option="--page",
        )
        console.print(content, markup=False, soft_wrap=True)


def _lines(
    here: list[FileAccuracy], there: list[FileAccuracy], host: Description, device: Description
) -> list[str]:
    return [
        f"{here[0].clips} clips; here {_machine(host)}; there {_machine(device)}.",
        "",
        "| file | runtime | top-1 here | top-1 there | equal predictions | largest difference of a logit "
        "| standard deviation of the logits |",
        "|---|---|---|---|---|---|---|",
        *(_line(one, other) for one, other in zip(here, there, strict=True)),
    ]


def _line(here: FileAccuracy, there: FileAccuracy) -> str:
    one, other = (np.concatenate(list(file.logits.values()), axis=1) for file in (here, there))
    equal = np.mean(
        [
            (here.logits[name].argmax(axis=1) == there.logits[name].argmax(axis=1)).mean()
            for name in here.logits
        ]
    )
    assert here.first is not None and there.first is not None
    return (
        f"| {here.format} {here.scheme} | {there.runtime} | {here.first.top1:.1%} | {there.first.top1:.1%} "
        f"| {equal:.1%} | {np.abs(one - other).max():.2g} | {one.std():.2g} |"
    )


def _machine(description: Description) -> str:
    instructions = ", ".join(description.int8_instructions) or "no int8 instructions"
    return f"{description.cpu} ({instructions}), {description.system}"


if __name__ == "__main__":
    run_command(main)
