"""NNCF's post-training quantization for ONNX Runtime, an alternative to `export.quantize.quantizer`.

    python -m export.nncf_onnx my_nets:make_net --shape 1x3x16x112x112 --calibration clips.npy --out out/nncf

NNCF chooses ranges and which layers are int8, and corrects biases (its fast bias correction, arXiv:1906.04721,
section 4.2); with an accuracy metric it also reverts layers to float until the accuracy is within bounds. The file
then goes through Pocketreel's own passes, so that activations are uint8 and clamps, copies of frames and biases
have the forms of the kernels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from compress.command import FAILED, USAGE, only_reads_arguments
from compress.command.guard import exit_codes, run_command
from compress.command.terminal import output, print_error, problems
from compress.command.user_code import TIME_LIMIT_S, MemoryOption, set_limits

if not only_reads_arguments(__name__):
    import numpy as np
    import torch
    from torch import nn

    from compress.command.sentence import in_a_sentence
    from compress.folders.ledger import FolderRefused, check_names
    from export.capture.graph import capture, named_outputs
    from export.capture.inputs import describe_outputs, parse_inputs
    from export.capture.load_network import load_network
    from export.capture.prepare_network import copied
    from export.emit.onnx.session import open_session
    from export.lower import lower
    from export.manifest import FileSpec, TensorInfo, WrittenFile
    from export.out_folder import adding, check_folders
    from export.process.quiet import silence_libraries
    from export.samples import Samples, read_samples
    from export.trial import FLOAT, first_trial
    from export.verify.parity import compare

_FILES = ("float.onnx", "int8.onnx")
PIP_LINE = "pip install 'nncf>=3.4' onnx onnxruntime"

Sample = Mapping[str, "np.ndarray"]
"""One call of the file: input name -> array, batch size 1 included."""

Predictor = Callable[[Sample], "list[np.ndarray]"]
"""The outputs of a file for a sample."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Accuracy requirement of the int8 file."""

    measure: Callable[[Predictor], float]
    """Accuracy of a file with these outputs; larger is better. It is called some dozens of times."""
    max_drop: float = 0.01
    """Largest accuracy drop from the float file, in the units of `measure`."""


def quantize_with_nncf(
    onnx_path: Path, calibration: Sequence[Sample], *, out: Path, accuracy: Accuracy | None = None
) -> Path:
    """Writes the float file `onnx_path` as the int8 file `out`, its ranges from `calibration`.

    With `accuracy`, NNCF reverts the most costly layers to float, one by one, until the drop is within bounds; it
    measures nothing else. Raises ImportError without nncf, onnx or onnxruntime, ValueError without a sample, for a
    sample that does not fit the file, and for a file that is int8 already.
    """
    nncf, onnx = _import()
    model = onnx.load(onnx_path)
    _check(model, calibration, onnx_path)
    samples = nncf.Dataset([dict(sample) for sample in calibration])
    settings: dict[str, Any] = {
        # Activations asymmetric, weights symmetric, as the integer kernels require.
        "preset": nncf.QuantizationPreset.MIXED,
        "target_device": nncf.TargetDevice.CPU,
        "subset_size": len(calibration),
    }
    parameters = nncf.quantization.advanced_parameters
    advanced = nncf.AdvancedQuantizationParameters(
        # By default depthwise layers take a scale per channel, which ONNX Runtime has no kernels for, and the first
        # layer's weights lose a bit to prevent overflow on processors without VNNI.
        activations_quantization_params=parameters.QuantizationParameters(per_channel=False),
        overflow_fix=parameters.OverflowFix.DISABLE,
    )
    if accuracy is None:
        quantized = nncf.quantize(model, samples, advanced_parameters=advanced, **settings)
    else:
        measure = accuracy.measure
        quantized = nncf.quantize_with_accuracy_control(
            model,
            samples,
            samples,
            lambda file, _: (float(measure(predictor(file))), None),
            max_drop=accuracy.max_drop,
            advanced_quantization_parameters=advanced,
            **settings,
        )
    onnx.save(_tuned(quantized), out)
    return out


def quantize_file(written: WrittenFile, out: Path, *, calibration: Mapping[str, np.ndarray]) -> WrittenFile:
    """The int8 file of a float one, for the scheme `w8a8_nncf`; `calibration` has all inputs by name.

    Raises the errors of `quantize_with_nncf`.
    """
    import onnx_ir

    from export.emit.onnx.writer import with_needs
    from export.verify.coverage.on_onnxruntime import onnxruntime_coverage
    from export.verify.coverage.report import attempt

    count = len(next(iter(calibration.values())))
    calls = [{name: array[index] for name, array in calibration.items()} for index in range(count)]
    quantize_with_nncf(written.path, calls, out=out)
    coverage, unknown = attempt(lambda: onnxruntime_coverage(out, scheme="w8a8", places={}))
    note = f"quantized by NNCF with {count} calibration inputs: its ranges, layers and bias correction"
    quantized = replace(written, path=out, notes=(*written.notes, note, *unknown), coverage=coverage)
    return with_needs(quantized, onnx_ir.load(out))


def predictor(file: Any) -> Predictor:
    """The outputs of an ONNX file (a path, or a loaded model) in ONNX Runtime on one thread."""
    session = open_session(file if isinstance(file, Path) else file.SerializeToString())
    return lambda sample: session.run(None, dict(sample))


def _import() -> tuple[Any, Any]:
    try:
        import nncf
        import onnx
        import onnxruntime  # noqa: F401  NNCF runs the file to find its ranges
    except ImportError as error:
        raise ImportError(
            f"NNCF's quantization cannot be used here ({error}); install it with: {PIP_LINE}"
        ) from error
    nncf.set_log_level(logging.ERROR)
    return nncf, onnx


def _check(model: Any, calibration: Sequence[Sample], path: Path) -> None:
    if any(node.op_type in ("QuantizeLinear", "QLinearConv") for node in model.graph.node):
        raise ValueError(f"{path} is an int8 file already; give the float file, written in the scheme fp32")
    if not calibration:
        raise ValueError("there is no calibration sample; give at least one")
    wanted = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in model.graph.input
    }
    for sample in calibration:
        given = {name: tuple(array.shape) for name, array in sample.items()}
        if given != wanted:
            raise ValueError(f"a calibration sample has the inputs {given}; {path} takes {wanted}")


def _tuned(model: Any) -> Any:
    import onnx_ir as ir
    from onnx_ir.passes.common import ShapeInferencePass

    from export.emit.onnx.passes import tune_int8

    graph = ir.from_proto(model)
    ShapeInferencePass()(graph)
    tune_int8(graph)
    return ir.to_proto(graph)


def main(
    network: Annotated[
        str,
        typer.Argument(metavar="MODULE:FACTORY", help="The network, as for export.run.", show_default=False),
    ],
    shape: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]SHAPE[:RANGE]", help="One input, as for export.run.", show_default=False
        ),
    ],
    calibration: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Inputs that set the ranges: .npy or .npz, as for export.run.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for float.onnx and int8.onnx.", show_default=False)
    ],
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="State dict of the network.", show_default=False),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Revert layers to float until at most this share of the calibration inputs has another top-1 "
            "than in float.",
            show_default="no layer is reverted",
        ),
    ] = None,
    user_code_timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="How long one run of the network's code may take."),
    ] = TIME_LIMIT_S,
    user_code_memory: MemoryOption = None,
) -> None:
    """Writes a network as an int8 ONNX file with NNCF's ranges and biases, and compares it with torch.

    Exit codes: 0 the file is written; 2 an argument is wrong; 3 the network cannot be written.
    """
    silence_libraries()
    set_limits(seconds=user_code_timeout, gigabytes=user_code_memory)
    with exit_codes():
        check_folders(out)
        check_names(out, _FILES)
        described = parse_inputs(shape)
        samples = read_samples(calibration, described, what="calibration")
        model = load_network(network, weights=weights)
        calls = [
            {name: np.array(array[index]) for name, array in samples.arrays.items()}
            for index in range(samples.count)
        ]
        expected = first_trial(model, samples, fresh_copy=copied(model)).outputs[FLOAT][0]
    console = problems()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.add_task("NNCF", total=None)
        try:
            accuracy = None
            if max_drop is not None:
                accuracy = Accuracy(
                    measure=lambda predict: _agreement(predict, calls, expected), max_drop=max_drop
                )
            with adding(out, _FILES):
                floats = write_float(model, described, samples, out / "float.onnx")
                written = quantize_with_nncf(floats, calls, out=out / "int8.onnx", accuracy=accuracy)
        except FolderRefused as error:
            print_error(error)
            raise typer.Exit(USAGE) from None
        except (ValueError, ImportError, RuntimeError) as error:
            print_error(in_a_sentence(error))
            raise typer.Exit(FAILED) from None
    predict = predictor(written)
    parity = compare(expected, np.stack([predict(call)[0] for call in calls]))
    top1 = "" if parity.top1_agreement is None else f", top-1 agreement {parity.top1_agreement:.1%}"
    output().print(
        f"{written}: SQNR {parity.sqnr_db:.1f} dB to torch{top1} on {len(calls)} calibration inputs"
    )


def write_float(model: nn.Module, inputs: Sequence[TensorInfo], samples: Samples, path: Path) -> Path:
    """The network as a float file with batched frames, the form that can be quantized."""
    from export.emit.onnx.writer import write

    path.parent.mkdir(parents=True, exist_ok=True)
    example = samples.tensors(0)
    with torch.no_grad():
        outputs = describe_outputs(named_outputs(model(*example)))
    program = torch.export.export(lower(capture(model, example)), example)
    spec = FileSpec(inputs=tuple(inputs), outputs=outputs, classes=((),) * len(outputs), description={})
    return write(program, path, spec=spec, scheme="fp32").path


def _agreement(predict: Predictor, calls: Sequence[Sample], expected: np.ndarray) -> float:
    """Share of the calls with the top-1 class of `expected`."""
    given = np.stack([predict(call)[0] for call in calls])
    return float((given.argmax(-1) == expected.argmax(-1)).mean())


if __name__ == "__main__":
    run_command(main)
