"""`python -m compress.studies.quantization RECIPE`: quantization methods, and other quantizers, on one student.

The float stages of the recipe run once; every method then quantizes that network. Data and networks are those of
the recipe; its own `quantize` stages are skipped. Results are cached, and a stopped run resumes. The figures go to
a JSON file, from which `compress.studies.generate_docs` writes the tables of `docs/quantization.md`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output
from compress.studies.quantization_page import POCKETREEL

if not only_reads_arguments(__name__):
    import numpy as np
    import torch
    from torch import Tensor

    from benchmarks.accuracy import evaluate
    from benchmarks.clips.clip_set import ClipSet
    from benchmarks.exported import Exported, read_export
    from benchmarks.files import ExportedFile
    from benchmarks.latency import measure_files, ratio
    from benchmarks.top1 import accuracy_of
    from compress.artifact import Form
    from compress.data import open_data
    from compress.folders.locks import held
    from compress.folders.output import check_output_file, write_output_file
    from compress.recipe import load_recipe
    from compress.recipe.sections import STAGE_ROWS, ExportConfig
    from compress.stages import STAGES
    from compress.steps.export import CALIBRATION_CLIPS, export
    from compress.steps.pipeline import Run, StageOutcome, StepFailed
    from compress.steps.train import make_teachers, run_stages, start
    from compress.studies.command_line import command_line
    from compress.studies.quantization_peers import (
        FILE_QUANTIZERS,
        NETWORK_QUANTIZERS,
        Calls,
        made_or_reason,
    )
    from compress.training import logits_of
    from export.capture.graph import capture
    from export.lower import lower
    from export.process.quiet import silence_libraries
    from export.verify.parity import compare
    from models.spec import ClipSpec

METHODS: dict[str, dict[str, Any]] = {
    "w8a8, ranges minmax": {"ranges": "minmax"},
    "w8a8, ranges percentile": {"ranges": "percentile"},
    "w8a8, ranges mse (default)": {},
    "w8a8, ranges kl": {"ranges": "kl"},
    "w8a8, weight ranges mse": {"weight_ranges": "mse"},
    "w8a8, no equalize_activations": {"equalize_activations": False},
    "w8a8, equalize": {"equalize": True},
    "w8a8, correct_bias": {"correct_bias": True},
    "w8a8, adaround": {"method": "adaround", "iterations": 500},
    "w8a8, qat": {"method": "qat"},
    "w8a8, lsq": {"method": "lsq"},
    "w8": {"scheme": "w8"},
    "w4": {"scheme": "w4"},
    "w4, correct_bias": {"scheme": "w4", "correct_bias": True},
    "w4, adaround": {"scheme": "w4", "method": "adaround"},
    **{f"w4, group_size {size}": {"scheme": "w4", "group_size": size} for size in (128, 64, 32)},
    **{
        f"w4, group_size {size}, adaround": {"scheme": "w4", "group_size": size, "method": "adaround"}
        for size in (128, 64, 32)
    },
}
"""Settings of the stage `quantize`, by title."""

_FLOAT = "float"
_OURS = {"fp32": _FLOAT, "w8a8": POCKETREEL, "w8a8_nncf": "Pocketreel with NNCF (w8a8_nncf)"}
"""Names of Pocketreel's own files, by scheme."""


def main(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="Recipe of the student.", show_default=False)
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value of the recipe.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=2, metavar="N", help="Clips per calibration batch and step of training.")
    ] = 16,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Measure the methods that match, such as 'w4*', and no other quantizers.",
            show_default=False,
        ),
    ] = None,
    iterations: Annotated[
        int, typer.Option(min=10, metavar="N", help="Steps of w4 with adaround for each layer.")
    ] = 1_000,
    out: Annotated[Path, typer.Option(help="Folder of networks and files.")] = Path("out/quantization"),
    cache: Annotated[Path, typer.Option(help="Cache folder for decoded clips and teacher logits.")] = Path(
        "out/cache"
    ),
    results: Annotated[Path, typer.Option(help="Output path of the figures.")] = Path(
        "benchmarks/results/quantization.json"
    ),
) -> None:
    """Measures every quantization method, and other quantizers, on the student of a recipe."""
    silence_libraries()
    torch.set_num_threads(1)
    with exit_codes():
        check_output_file(results, is_ours=_is_ours, option="--results")
        chosen = _chosen(only, iterations=iterations)
    with exit_codes(failed=(StepFailed,)), held(out):
        figures = _measured(
            recipe, set_ or [], methods=chosen, peers=only is None, batch=batch, out=out, cache=cache
        )
        options: dict[str, list[object]] = {"batch": [batch], "iterations": [iterations]}
        if only is not None:
            options["only"] = [only]
        command = command_line("quantization", recipe, overrides=set_ or [], options=options)
        write_output_file(results, json.dumps({"command": command, **figures}, indent=1) + "\n")
    output().print(f"wrote {results}")


def _is_ours(content: Any) -> bool:
    """Whether the content of a JSON file was written by this command."""
    return {"student", "methods", "quantizers"} <= set(content)


def _chosen(only: str | None, *, iterations: int) -> dict[str, dict[str, Any]]:
    """The methods to measure. Raises ValueError for a pattern that none matches."""
    found = {title: one for title, one in METHODS.items() if only is None or fnmatchcase(title, only)}
    if not found:
        raise ValueError(f"--only: {only!r} matches no method; methods: {'; '.join(METHODS)}")
    return {
        title: {**one, "iterations": iterations}
        if (one.get("scheme"), one.get("method")) == ("w4", "adaround")
        else one
        for title, one in found.items()
    }


def _measured(
    recipe: Path,
    overrides: list[str],
    *,
    methods: dict[str, dict[str, Any]],
    peers: bool,
    batch: int,
    out: Path,
    cache: Path,
) -> dict[str, Any]:
    console = output()
    loaded = load_recipe(recipe, overrides=overrides)
    floats = tuple(entry for entry in loaded.stages if STAGES[entry.verb].gives is Form.FLOAT)
    loaded = loaded.model_copy(update={"stages": floats, "export": ExportConfig(formats=("onnx", "tflite"))})
    data = open_data(loaded.data, loaded.clip, cache=cache, workers=1, seed=loaded.seed, console=console)

    def run(name: str, *settings: dict[str, Any]) -> Run:
        added = tuple(
            STAGE_ROWS["quantize"].model_validate({"quantize": {"batch": batch, **one}}) for one in settings
        )
        return Run(
            recipe=loaded.model_copy(update={"stages": (*floats, *added)}),
            data=data,
            folder=out / name.replace(" ", "_").replace(",", ""),
            cache=cache,
            device=torch.device("cpu"),
            console=console,
            finished=(out / "float",),
        )

    base = run("float")
    teachers = make_teachers(base)
    first = start(base, teachers)
    network = [*([first] if first else []), *run_stages(base, teachers, first)][-1]
    truth = data.test.for_spec(network.artifact.spec).labels[:, 0]
    wanted = network.test_logits[0].numpy()

    def figures(logits: np.ndarray) -> dict[str, float]:
        return {
            "top1": accuracy_of(torch.from_numpy(logits), truth).top1,
            "agreement": float((logits.argmax(-1) == wanted.argmax(-1)).mean()),
            "sqnr_db": compare(wanted, logits).sqnr_db,
            "kl": _divergence(wanted, logits),
        }

    measured = {"float": figures(wanted) | {"seconds": 0.0}}
    for title, settings in methods.items():
        made = run_stages(run(title, settings), teachers, first)[-1]
        measured[title] = figures(made.test_logits[0].numpy()) | {"seconds": made.record["seconds"]}
        console.print(f"{title}: {measured[title]}", markup=False)
    others = []
    if peers:
        ours = run("files", {})
        others = _quantizers(ours, network, run_stages(ours, teachers, first)[-1], figures)
    return {
        "student": loaded.student.title,
        "clips": {"train": len(data.train), "test": len(data.test)},
        "parameters": network.record["after"]["parameters"],
        "methods": measured,
        "quantizers": others,
    }


def _quantizers(
    run: Run, network: StageOutcome, int8: StageOutcome, figures: Callable[[np.ndarray], dict[str, float]]
) -> list[dict[str, Any]]:
    """A row for every quantizer: accuracy and distance to float, and size and latency of its file.

    Files run in their own runtimes; those of one runtime are timed in the same rounds. Networks run in torch. A
    quantizer that fails has its reason in place of figures.
    """
    spec = network.artifact.spec
    clips = run.data.train.for_spec(spec)
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(run.recipe.seed)).tolist()
    calibration = clips.batch(order[:CALIBRATION_CLIPS])
    test = run.data.test.for_spec(spec)
    made = export(run, {"fp32": network, "w8a8": int8, "w8a8_nncf": network})
    ours = [file for file in read_export(made.folder).files if file.missing is None]
    rows: list[dict[str, Any]] = []
    for format_ in dict.fromkeys(file.format for file in ours):
        files = {_OURS[file.scheme]: file for file in ours if file.format == format_}
        floats = files[_FLOAT]
        for name, peer in FILE_QUANTIZERS.items():
            if peer.format == format_:
                path = run.folder / f"{name.replace(' ', '_')}{floats.path.suffix}"
                calls = _calls(floats, spec.inputs, calibration)
                _, reason = made_or_reason(peer, floats.path, calls, path)
                if reason:
                    rows.append({"quantizer": name, "runtime": format_, "reason": reason})
                else:
                    files[name] = replace(floats, scheme=name, path=path, size_bytes=path.stat().st_size)
        rows += _rows(files, spec, test, figures)
    lowered = lower(capture(network.artifact.model, spec.example()))
    batches = [
        tuple(tensor[k : k + 1] for tensor in calibration) for k in range(len(order[:CALIBRATION_CLIPS]))
    ]
    for name, quantizer in NETWORK_QUANTIZERS.items():
        row: dict[str, Any] = {"quantizer": name, "runtime": "torch"}
        quantized, reason = made_or_reason(quantizer, copy.deepcopy(lowered), batches)
        if quantized is None:
            rows.append({**row, "reason": reason})
            continue
        logits = logits_of(quantized, test, batch=1, device=torch.device("cpu"))[0].numpy()
        rows.append({**row, **figures(logits)})
    return rows


def _rows(
    files: dict[str, ExportedFile],
    spec: ClipSpec,
    test: ClipSet,
    figures: Callable[[np.ndarray], dict[str, float]],
) -> Iterator[dict[str, Any]]:
    """A row for every file of one runtime, by the name of its quantizer."""
    measured = evaluate(Exported(spec=spec, files=tuple(files.values())), test)
    clip: dict[str, np.ndarray] = {
        name: array.numpy() for name, array in zip(spec.inputs, test.batch([0]), strict=True)
    }
    latencies = dict(zip(files, measure_files(list(files.values()), clip), strict=True))
    for (name, file), accuracy in zip(files.items(), measured, strict=True):
        row = {"quantizer": name, "runtime": accuracy.runtime or file.format, "size_bytes": file.size_bytes}
        reason = accuracy.unavailable or latencies[name].unavailable
        if reason:
            yield {**row, "reason": reason}
            continue
        against = ratio(latencies[name], latencies[POCKETREEL])
        yield {
            **row,
            **figures(accuracy.logits[spec.outputs[0]]),
            "latency_ms": latencies[name].p50_ms,
            "against_ours": None if against is None else asdict(against),
        }


def _calls(file: ExportedFile, inputs: Sequence[str], tensors: tuple[Tensor, ...]) -> Calls:
    """Single clips as the file takes them."""
    arrays = dict(zip(inputs, (tensor.numpy() for tensor in tensors), strict=True))
    return [
        {one.name: one.arrange(arrays[one.name][k : k + 1]) for one in file.inputs}
        for k in range(len(tensors[0]))
    ]


def _divergence(wanted: np.ndarray, given: np.ndarray) -> float:
    """Mean KL divergence of the predicted distributions from those of the float network, in nats."""
    p, q = (torch.from_numpy(logits).double().log_softmax(-1) for logits in (wanted, given))
    return float((p.exp() * (p - q)).sum(-1).mean())


if __name__ == "__main__":
    run_command(main)
