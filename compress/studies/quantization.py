"""`python -m compress.studies.quantization RECIPE`: quantization methods, and other quantizers, on one student.

The float stages of the recipe run once; every method then quantizes that network. Data and networks are those of
the recipe; its own `quantize` stages are skipped. Results are cached, and a stopped run resumes. The figures go to
a JSON file, from which `compress.studies.generate_docs` writes the tables of `docs/quantization.md`.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import typer

from compress.command import only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output

if not only_reads_arguments(__name__):
    import numpy as np
    import torch

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
        Calls,
        latencies_ms,
        logits_of_file,
        nncf_default,
        onnxruntime_static,
        plain_pt2e,
    )
    from compress.training import logits_of
    from export.capture.graph import capture
    from export.lower import lower
    from export.process.quiet import silence_libraries
    from export.verify.parity import compare

METHODS: dict[str, dict[str, Any]] = {
    "w8a8, ranges minmax": {"ranges": "minmax"},
    "w8a8, ranges percentile": {"ranges": "percentile"},
    "w8a8, ranges mse (default)": {},
    "w8a8, ranges kl": {"ranges": "kl"},
    "w8a8, weight ranges mse": {"weight_ranges": "mse"},
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

_ROUNDS = 50


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
    loaded = loaded.model_copy(update={"stages": floats, "export": ExportConfig(formats=("onnx",))})
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
    others = {}
    if peers:
        ours = run("files", {})
        others = _peers(ours, network, run_stages(ours, teachers, first)[-1], figures)
    return {
        "student": loaded.student.title,
        "clips": {"train": len(data.train), "test": len(data.test)},
        "parameters": network.record["after"]["parameters"],
        "methods": measured,
        "quantizers": others,
    }


def _peers(run: Run, network: StageOutcome, int8: StageOutcome, figures: Any) -> dict[str, dict[str, float]]:
    """Accuracy, distance to float, size and latency of the ONNX files of every quantizer."""
    spec = network.artifact.spec
    exported = export(run, {"fp32": network, "w8a8": int8, "w8a8_nncf": network})
    paths = {row["scheme"]: exported.folder / row["path"] for row in exported.rows}
    clips = run.data.train.for_spec(spec)
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(run.recipe.seed)).tolist()
    calibration = clips.batch(order[:CALIBRATION_CLIPS])
    calls = _calls(spec.inputs, calibration)
    test = run.data.test.for_spec(spec)
    tested = _calls(spec.inputs, test.batch(list(range(len(test)))))
    files = {
        "float": paths["fp32"],
        "Pocketreel": paths["w8a8"],
        "Pocketreel with NNCF (w8a8_nncf)": paths["w8a8_nncf"],
        "NNCF": run.folder / "nncf.onnx",
        "ONNX Runtime static": run.folder / "onnxruntime.onnx",
    }
    nncf_default(paths["fp32"], calls, files["NNCF"])
    onnxruntime_static(paths["fp32"], calls, files["ONNX Runtime static"])
    latency = latencies_ms(files, tested[0], rounds=_ROUNDS)
    found = {
        name: figures(logits_of_file(path, tested))
        | {"size_bytes": path.stat().st_size, "latency_ms": latency[name]}
        for name, path in files.items()
    }
    lowered = lower(capture(network.artifact.model, spec.example()))
    batches = [tuple(tensor[k : k + 1] for tensor in calibration) for k in range(len(calls))]
    plain = plain_pt2e(lowered, batches)
    found["plain PT2E (torch)"] = figures(
        logits_of(plain, test, batch=1, device=torch.device("cpu"))[0].numpy()
    )
    return found


def _calls(inputs: Any, tensors: tuple[Any, ...]) -> Calls:
    count = len(tensors[0])
    return [
        {name: tensor[k : k + 1].numpy() for name, tensor in zip(inputs, tensors, strict=True)}
        for k in range(count)
    ]


def _divergence(wanted: np.ndarray, given: np.ndarray) -> float:
    """Mean KL divergence of the predicted distributions from those of the float network, in nats."""
    p, q = (torch.from_numpy(logits).double().log_softmax(-1) for logits in (wanted, given))
    return float((p.exp() * (p - q)).sum(-1).mean())


if __name__ == "__main__":
    run_command(main)
