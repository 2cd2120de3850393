"""`pocketreel export MODULE:FACTORY --shape 1x3x16x112x112 --out DIR`: exports any network for mobile devices.

Exit codes: 0 every file is written and correct, 2 an argument is wrong, 3 a format failed or its file is wrong;
with `--check`: 3 something would be refused.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from compress.command import FAILED, OK, names, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.json_output import JsonOption, json_alone
from compress.command.progress import bar
from compress.command.terminal import headed, output, problems
from compress.command.user_code import TIME_LIMIT_S, MemoryOption, set_limits
from export import EXPORTERS
from export.targets import TARGETS

if not only_reads_arguments(__name__):
    from torch import nn

    from export.capture.load_network import load_network
    from export.choice import Forms
    from export.files import pairs
    from export.network import Source, check_network, export_network
    from export.pins import read_pins
    from export.process.quiet import silence_libraries
    from export.quantize.grid import check_group_size
    from export.samples import RANDOM
    from export.summary import print_layers, print_outcomes


def main(
    network: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FACTORY",
            help="A network, or a function without arguments that returns one: package.module:name, resolved from "
            "the working directory, or path/to/file.py:name. Importing the module runs its Python code.",
            show_default=False,
        ),
    ],
    shape: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]SHAPE[:RANGE]",
            help="Shape of one input, including batch size 1; repeat for each argument of forward, in order. "
            "1x3x16x112x112 is an input named clip with values in 0..1; audio=1x1x40x64 is unbounded; "
            "clip=1x3x8x64x64:-2..2 has values in -2..2; text=1x16:int64<1000 holds integers from 0 to 999.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Output folder: manifest.json, <format>/<scheme>/model.<extension>; required unless --check.",
            show_default=False,
        ),
    ] = None,
    formats: Annotated[str, typer.Option(metavar="A,B", help="Formats to write.")] = ",".join(EXPORTERS),
    schemes: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Number formats: fp32, fp16; w8a8: int8 weights and activations; w8, w4: weights only. Each "
            "format is written in every scheme that it supports.",
        ),
    ] = "fp32",
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="State dict of the network (.safetensors, or written by torch.save).",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|random",
            help="Calibration inputs of w8a8: .npy, float32 N x 3 x T x H x W in 0..1; for several inputs .npz "
            "with one array per name. 'random' generates inputs: the files run and can be timed, their accuracy is "
            "meaningless.",
            show_default=False,
        ),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Inputs for the parity check against torch, in the format of --calibration.",
            show_default="8 calibration inputs, or random ones",
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Rank the layers of a w8a8 network by their quantization cost.")
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Also write a program that takes one frame and a state; the network must define "
            "step(frame, state) and initial_state(frame).",
        ),
    ] = False,
    group_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Largest number of w4 weights of an output channel that share a scale, such as 64.",
            show_default="all of them",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help=f"Processor that the files are for: {', '.join(TARGETS)}. Its rule chooses among the forms of a "
            "network, and the bits of int8 weights; no time is measured, so that every machine writes the same "
            "bytes.",
            show_default="the fastest on this machine",
        ),
    ] = None,
    forms: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="manifest.json of an earlier export, or a JSON file with the key forms: its forms are taken "
            "again, without a measurement.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Write nothing: report from the graph alone, before any training, which operators each runtime "
            "would refuse, run slowly or run in float, and what to use instead.",
        ),
    ] = False,
    user_code_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=1,
            help="Time limit for each of: importing MODULE, calling FACTORY, one forward pass.",
        ),
    ] = TIME_LIMIT_S,
    user_code_memory: MemoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Exports any PyTorch network, 3D video networks included, to files for mobile runtimes and checks every file.

    Each format is written in a separate process, then run by its own runtime on the same inputs as torch. A format
    ends as exported (and correct), wrong (written, but its outputs differ from torch) or failed (with the reason);
    one never stops the others.

    With --json, the document has the rows of manifest.json; with --check, the findings.

    Example: pocketreel export my_nets:make_net --shape 1x3x16x112x112 --weights net.pt --out out/my_net

    Exit codes: 0 every file is correct; 2 an argument is wrong; 3 a format failed or its file is wrong (with
    --check: something would be refused).
    """
    respond = json_alone(as_json)
    silence_libraries()
    set_limits(seconds=user_code_timeout, gigabytes=user_code_memory)
    console = output()
    written, numbers = names(formats) or [], names(schemes) or []
    with exit_codes():
        if check:
            findings = _check(
                load_network(network, weights=weights),
                shape,
                written,
                numbers,
                console,
                group_size=group_size,
            )
            refused = any(finding["severity"] == "refused" for finding in findings)
            respond({"refused": refused, "findings": findings})
            raise typer.Exit(FAILED if refused else OK)
        if out is None:
            raise ValueError("--out is missing: give the folder for the files")
        if layers and "w8a8" not in numbers:
            raise ValueError(f"--layers ranks the layers of int8 networks; the scheme is {schemes}, not w8a8")
        pins = None if forms is None else read_pins(forms)
        choice = Forms(target=target, pins=pins, source="" if forms is None else forms.name)
        model = load_network(network, weights=weights)
        with bar(problems(), "export") as progress:
            exported = export_network(
                model,
                shape,
                out=out,
                formats=written,
                schemes=numbers,
                calibration=_source(calibration),
                clips=clips,
                stream=stream,
                group_size=group_size,
                forms=choice,
                progress=progress,
            )
    print_outcomes(exported.outcomes, console)
    for sentence in exported.left_out:
        console.print(sentence)
    ranked = exported.rank_layers() if layers and exported.rank_layers is not None else ()
    if ranked:
        print_layers(ranked, console)
    console.print(f"manifest: {exported.manifest}")
    respond(
        {
            "manifest": str(exported.manifest),
            "right": exported.correct,
            "files": [outcome.to_dict() for outcome in exported.outcomes],
            "left_out": list(exported.left_out),
            "layers": [layer.to_dict() for layer in ranked],
        }
    )
    raise typer.Exit(OK if exported.correct else FAILED)


def _check(
    model: nn.Module,
    shapes: list[str],
    formats: list[str],
    schemes: list[str],
    console: Console,
    *,
    group_size: int | None,
) -> list[dict[str, Any]]:
    """Prints the findings of the runtimes, scheme by scheme; returns them as plain data."""
    from export.preflight.table import print_findings

    wanted = pairs(formats, schemes)
    check_group_size(group_size, schemes)
    found: list[dict[str, Any]] = []
    for scheme in schemes:
        if len(schemes) > 1:
            console.print(headed(scheme, ""))
        taking = [name for name, one in wanted if one == scheme]
        size = group_size if scheme == "w4" else None
        findings = check_network(model, shapes, formats=taking, scheme=scheme, group_size=size)
        print_findings(findings, console, formats=taking)
        found += [{"scheme": scheme, **asdict(finding)} for finding in findings]
    return found


def _source(given: str | None) -> Source | None:
    if given is None:
        return None
    return RANDOM if given == RANDOM else Path(given)


if __name__ == "__main__":
    run_command(main)
