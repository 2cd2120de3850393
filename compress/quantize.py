"""`quantize`: int8 weights and activations by a row of `QUANTIZATION_METHODS`.

The result is the torch int8 reference: the graph that every exported int8 file must reproduce.
Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"; the flow is torchao's PT2E.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from benchmarks.clips.clip_set import ClipSet
from compress.artifact import Artifact, Form
from compress.command.progress import bar
from compress.quantization import QUANTIZATION_METHODS
from compress.quantization.method import Task
from compress.stage import Context, StageResult
from compress.training import MAX_EPOCHS, TrainConfig, batch_notes
from export.capture.graph import capture
from export.capture.stepping import step_network
from export.lower import lower
from export.quantize.ranges import RANGES

_OF_EVERY_METHOD = ("scheme", "method", "calibration_clips", "batch")


class QuantizeConfig(TrainConfig):
    """Settings of one `quantize` stage; settings that its method does not use are refused."""

    scheme: Literal["w8a8"] = Field(default="w8a8", description="int8 weights (per channel) and activations.")
    method: Literal[tuple(QUANTIZATION_METHODS)] = Field(  # type: ignore[valid-type]
        default="ptq", description="ptq calibrates; qat calibrates, then trains with simulated quantization."
    )
    calibration_clips: int = Field(
        default=128, ge=1, le=1_000_000, description="Number of training clips for calibrating the ranges."
    )
    ranges: Literal[tuple(RANGES)] = Field(  # type: ignore[valid-type]
        default="mse",
        description="Limits of int8 activations: mse has the least squared error, minmax clips nothing, percentile "
        "clips a share of the values, kl has the least divergence.",
    )
    percentile: float = Field(
        default=99.99,
        gt=50,
        lt=100,
        description="With ranges percentile: percent of the values below the upper limit and above the lower one.",
    )
    weight_ranges: Literal["minmax", "mse"] = Field(
        default="minmax", description="Limits of the weights of each output channel."
    )
    epochs: int = Field(default=2, ge=1, le=MAX_EPOCHS, description="Epochs of quantization-aware training.")
    learning_rate: float = Field(
        default=5e-5, ge=1e-8, le=10, description="Peak learning rate of quantization-aware training."
    )

    @property
    def trains(self) -> bool:
        """Whether the method trains."""
        return QUANTIZATION_METHODS[self.method].trains

    @model_validator(mode="after")
    def _settings_of_the_method(self) -> Self:
        if self.trains and self.calibration_clips < self.batch:
            raise ValueError(
                f"calibration_clips is {self.calibration_clips}, less than one batch of {self.batch} clips"
            )
        used = (*_OF_EVERY_METHOD, *QUANTIZATION_METHODS[self.method].settings)
        for name, field in type(self).model_fields.items():
            if name not in used and getattr(self, name) != field.default:
                able = [one for one, method in QUANTIZATION_METHODS.items() if name in method.settings]
                raise ValueError(
                    f"{name} is for method {' or '.join(able)} only; method {self.method} does not use it"
                )
        row = RANGES[self.ranges]
        if (
            self.percentile != type(self).model_fields["percentile"].default
            and "percentile" not in row.settings
        ):
            ranges = " or ".join(name for name, one in RANGES.items() if "percentile" in one.settings)
            raise ValueError(f"percentile is for ranges {ranges} only; ranges {self.ranges} does not use it")
        return self


def quantize(artifact: Artifact, config: QuantizeConfig, context: Context) -> StageResult:
    """The int8 reference of the student for single clips, and for single frames if it streams."""
    from export.quantize.int8_reference import calibrate, convert, prepare, transfer
    from export.quantize.step_reference import step_reference

    model = copy.deepcopy(artifact.model).cpu().eval()
    clips = context.data.train.for_spec(artifact.spec)
    method = QUANTIZATION_METHODS[config.method]
    batch = min(config.batch, len(clips))
    if not method.trains:
        batch = min(batch, config.calibration_clips)

    def batches(name: str = "calibration") -> Iterator[tuple[Tensor, ...]]:
        return _calibration_batches(clips, config=config, batch=batch, context=context, name=name)

    ranges = method.ranges(config)
    prepared = prepare(_lowered(model, artifact, batch=batch), qat=method.trains, ranges=ranges)
    calibrate(prepared, batches())
    task = Task(spec=artifact.spec, config=config, context=context, batches=batches)
    decision = method.decide(prepared, task)
    single = prepare(_lowered(model, artifact, batch=1), qat=method.trains, ranges=ranges)
    transfer(prepared, single)
    reference = convert(single)
    step = None
    if artifact.streams:
        network, example = step_network(model, artifact.spec.example()[0])
        step = step_reference(single, capture(network, example), qat=method.trains)
    notes: tuple[str, ...] = (
        f"ranges from {_steps(clips, config=config, batch=batch) * batch} training clips",
        *decision.notes,
    )
    if method.trains:
        notes += batch_notes(config, clips)
    return StageResult(
        artifact=replace(artifact, model=reference, form=Form.QUANTIZED, step=step),
        curve=decision.curve,
        notes=notes,
    )


def _lowered(model: nn.Module, artifact: Artifact, *, batch: int) -> torch.fx.GraphModule:
    return lower(capture(model, artifact.spec.example(batch=batch)))


def _steps(clips: ClipSet, *, config: QuantizeConfig, batch: int) -> int:
    """Number of full batches of calibration clips."""
    return min(config.calibration_clips, len(clips)) // batch


def _calibration_batches(
    clips: ClipSet, *, config: QuantizeConfig, batch: int, context: Context, name: str
) -> Iterator[tuple[Tensor, ...]]:
    """Yields full batches of random calibration clips, preprocessed as on a device (centre crop)."""
    generator = torch.Generator().manual_seed(context.seed)
    order = torch.randperm(len(clips), generator=generator).tolist()
    steps = _steps(clips, config=config, batch=batch)
    with bar(context.console, f"quantize: {name}") as report:
        report(0, steps)
        for step in range(steps):
            yield clips.batch(order[step * batch : (step + 1) * batch])
            report(step + 1, steps)
