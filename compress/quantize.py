"""`quantize`: int8 weights and activations by a row of `QUANTIZATION_METHODS`.

The result is the torch int8 reference: the graph that every exported int8 file must reproduce.
Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"; the flow is torchao's PT2E.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from benchmarks.clips.clip_set import ClipSet
from compress.artifact import Artifact, Form
from compress.command.progress import bar
from compress.mixed_precision import MIXED_PRECISION_KEYS, MixedPrecisionConfig, decide
from compress.quantization import QUANTIZATION_METHODS
from compress.stage import Context, StageResult
from compress.training import FLOAT_BATCH, MAX_EPOCHS, batch_notes, logits_of
from export.capture.graph import capture
from export.capture.stepping import step_network
from export.lower import lower


class QuantizeConfig(MixedPrecisionConfig):
    """Settings of one `quantize` stage; with `mode: ptq`, training settings other than `batch` are refused."""

    scheme: Literal["w8a8"] = Field(default="w8a8", description="int8 weights (per channel) and activations.")
    mode: Literal[tuple(QUANTIZATION_METHODS)] = Field(  # type: ignore[valid-type]
        default="ptq", description="ptq calibrates; qat calibrates, then trains with simulated quantization."
    )
    calibration_clips: int = Field(
        default=128, ge=1, le=1_000_000, description="Number of training clips for calibrating the ranges."
    )
    epochs: int = Field(default=2, ge=1, le=MAX_EPOCHS, description="Epochs of quantization-aware training.")
    learning_rate: float = Field(
        default=2e-4, ge=1e-8, le=10, description="Peak learning rate of quantization-aware training."
    )

    @property
    def trains(self) -> bool:
        """Whether the method trains."""
        return QUANTIZATION_METHODS[self.mode].trains

    @model_validator(mode="after")
    def _trains_or_not(self) -> Self:
        if self.trains and self.calibration_clips < self.batch:
            raise ValueError(
                f"calibration_clips is {self.calibration_clips}, less than one batch of {self.batch} clips"
            )
        if not self.trains:
            used = {"scheme", "mode", "calibration_clips", "batch", *MIXED_PRECISION_KEYS}
            able = " or ".join(name for name, method in QUANTIZATION_METHODS.items() if method.trains)
            for name, field in type(self).model_fields.items():
                if name not in used and getattr(self, name) != field.default:
                    raise ValueError(f"{name} is for mode {able} only; mode {self.mode} does not train")
        return self


def quantize(artifact: Artifact, config: QuantizeConfig, context: Context) -> StageResult:
    """The int8 reference of the student for single clips, and for single frames if it streams."""
    from export.quantize.int8_reference import calibrate, convert, prepare, transfer
    from export.quantize.mixed_precision import keep_float
    from export.quantize.step_reference import step_reference

    model = copy.deepcopy(artifact.model).cpu().eval()
    clips = context.data.train.for_spec(artifact.spec)
    method = QUANTIZATION_METHODS[config.mode]
    batch = min(config.batch, len(clips))
    if not method.trains:
        batch = min(batch, config.calibration_clips)
    prepared = prepare(_lowered(model, artifact, batch=batch), qat=method.trains)
    calibrate(prepared, _calibration_batches(clips, config=config, batch=batch, context=context))
    curve = method.decide(prepared, artifact.spec, config, context)
    single = prepare(_lowered(model, artifact, batch=1), qat=method.trains)
    transfer(prepared, single)
    notes: tuple[str, ...] = (
        f"ranges from {_steps(clips, config=config, batch=batch) * batch} training clips",
    )
    figures: dict[str, Any] = {}
    float_layers: tuple[str, ...] = ()
    if config.is_mixed or config.sensitivity:
        floats = partial(logits_of, artifact.model, batch=FLOAT_BATCH, device=context.device)
        decision = decide(prepared, artifact.spec, config, context, batch=batch, floats=floats)
        float_layers, figures = decision.float_layers, decision.figures()
        notes += decision.notes
    step = None
    if artifact.streams:
        network, example = step_network(model, artifact.spec.example()[0])
        program = capture(network, example)
        step = step_reference(single, program, qat=method.trains, float_layers=float_layers)
    keep_float(single, float_layers)
    reference = convert(single)
    if method.trains:
        notes += batch_notes(config, clips)
    return StageResult(
        artifact=replace(artifact, model=reference, form=Form.QUANTIZED, step=step),
        curve=curve,
        notes=notes,
        figures=figures,
    )


def _lowered(model: nn.Module, artifact: Artifact, *, batch: int) -> torch.fx.GraphModule:
    return lower(capture(model, artifact.spec.example(batch=batch)))


def _steps(clips: ClipSet, *, config: QuantizeConfig, batch: int) -> int:
    """Number of full batches of calibration clips."""
    return min(config.calibration_clips, len(clips)) // batch


def _calibration_batches(
    clips: ClipSet, *, config: QuantizeConfig, batch: int, context: Context
) -> Iterator[tuple[Tensor, ...]]:
    """Yields full batches of random calibration clips, preprocessed as on a device (centre crop)."""
    generator = torch.Generator().manual_seed(context.seed)
    order = torch.randperm(len(clips), generator=generator).tolist()
    steps = _steps(clips, config=config, batch=batch)
    with bar(context.console, "quantize: calibration") as report:
        report(0, steps)
        for step in range(steps):
            yield clips.batch(order[step * batch : (step + 1) * batch])
            report(step + 1, steps)
