"""`quantize`: integer weights, and with `w8a8` activations, by a row of `QUANTIZATION_METHODS`.

The result is a graph in torch that every exported file of the scheme must reproduce.
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
from torch import Tensor
from torch.export import ExportedProgram

from benchmarks.clips.clip_set import ClipSet
from compress.artifact import Artifact, Form
from compress.command.progress import bar
from compress.distillation.criterion import Layers, teaching_notes
from compress.features import WithFeatures, drop_features, feature_sizes, mark_features
from compress.mixed_precision import MIXED_PRECISION_KEYS, MixedPrecisionConfig, decide
from compress.quantization import QUANTIZATION_METHODS
from compress.quantization.equalization import equalize
from compress.quantization.float_search import Networks
from compress.quantization.method import Decision, Task
from compress.stage import Context, StageResult
from compress.training import FLOAT_BATCH, MAX_EPOCHS, batch_notes, logits_of, selection_notes
from export.capture.graph import capture
from export.capture.stepping import step_network
from export.lower import lower
from export.quantize.activation_equalization import equalize_activations, note
from export.quantize.grid import LEAST_GROUP, MOST_GROUP
from export.quantize.layer_names import matching
from export.quantize.ranges import RANGES
from export.quantize.weight_only import WEIGHT_SCHEMES

_OF_W8A8 = (
    "weight_bits",
    "ranges",
    "percentile",
    "weight_ranges",
    "equalize_activations",
    *MIXED_PRECISION_KEYS,
)
"""Keys that schemes with float activations do not use."""

_OF_EVERY_METHOD = (
    "scheme",
    "method",
    "calibration_clips",
    "batch",
    "equalize_activations",
    "group_size",
    "weight_bits",
    *MIXED_PRECISION_KEYS,
)


class QuantizeConfig(MixedPrecisionConfig):
    """Settings of one `quantize` stage; settings that its method does not use are refused."""

    scheme: Literal["w8a8", "w8", "w4"] = Field(
        default="w8a8",
        description="w8a8 has int8 weights (per channel) and activations; w8 and w4 have integer weights and float "
        "activations, for which a stage is needed only to choose a method.",
    )
    method: Literal[tuple(QUANTIZATION_METHODS)] = Field(  # type: ignore[valid-type]
        default="ptq",
        description="ptq calibrates; adaround also learns which weights to round up; qat trains with simulated "
        "quantization; lsq learns the step sizes, too.",
    )
    group_size: int | None = Field(
        default=None,
        ge=LEAST_GROUP,
        le=MOST_GROUP,
        description="Of scheme w4: largest number of weights of an output channel that share a scale, such as 64; "
        "by default all of them do.",
    )
    weight_bits: Literal[7, 8] | None = Field(
        default=None,
        description="Of scheme w8a8: bits of the weights; 7, except for depthwise layers, where 16-bit sums of "
        "products must not saturate. By default 7 if `export.target` is a processor that needs it (x86-64-avx2), "
        "else 8.",
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
    equalize: bool = Field(
        default=False,
        description="Cross-layer equalization of weights, where only ReLU and pooling are between two layers.",
    )
    equalize_activations: bool = Field(
        default=True,
        description="Enlarge channels whose activations use a small part of the range of their tensor in front of "
        "depthwise layers, where only ReLU, ReLU6 or pooling is between two layers.",
    )
    correct_bias: bool = Field(
        default=False,
        description="Corrects biases so that every channel keeps its mean over the calibration clips.",
    )
    iterations: int = Field(
        default=1_000, ge=10, le=1_000_000, description="Steps of adaround for each layer."
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
        if self.ema is not None and self.trains:
            raise ValueError(
                f"ema is {self.ema}, but quantized weights belong to their ranges and have no average; omit it"
            )
        if self.trains and self.calibration_clips < self.batch:
            raise ValueError(
                f"calibration_clips is {self.calibration_clips}, less than one batch of {self.batch} clips"
            )
        able = [one for one, method in QUANTIZATION_METHODS.items() if self.scheme in method.schemes]
        if self.method not in able:
            raise ValueError(
                f"method {self.method} does not give {self.scheme}; methods that do: {', '.join(able)}"
            )
        used = (*_OF_EVERY_METHOD, *QUANTIZATION_METHODS[self.method].settings)
        for name, field in type(self).model_fields.items():
            if name not in used and getattr(self, name) != field.default:
                able = [one for one, method in QUANTIZATION_METHODS.items() if name in method.settings]
                raise ValueError(
                    f"{name} is for method {' or '.join(able)} only; method {self.method} does not use it"
                )
            if name in _OF_W8A8 and self.scheme in WEIGHT_SCHEMES and getattr(self, name) != field.default:
                raise ValueError(f"{name} is for scheme w8a8 only; scheme {self.scheme} does not use it")
        if self.group_size is not None and self.scheme != "w4":
            raise ValueError(f"group_size is for scheme w4 only; scheme {self.scheme} does not use it")
        row = RANGES[self.ranges]
        if (
            self.percentile != type(self).model_fields["percentile"].default
            and "percentile" not in row.settings
        ):
            ranges = " or ".join(name for name, one in RANGES.items() if "percentile" in one.settings)
            raise ValueError(f"percentile is for ranges {ranges} only; ranges {self.ranges} does not use it")
        return self


def quantize(artifact: Artifact, config: QuantizeConfig, context: Context) -> StageResult:
    """The student in its scheme for single clips, and in int8 for single frames if it streams."""
    model = copy.deepcopy(artifact.model).cpu().eval()
    clips = context.data.train.for_spec(artifact.spec)
    method = QUANTIZATION_METHODS[config.method]
    batch = min(config.batch, len(clips))
    if not method.trains:
        batch = min(batch, config.calibration_clips)
    notes: list[str] = []
    if config.equalize:
        pairs = equalize(model, artifact.spec.example())
        notes.append(f"cross-layer equalization of {pairs} pairs of layers with ReLU between them")
    weights_only = config.scheme in WEIGHT_SCHEMES
    if config.equalize_activations and not weights_only:
        scaled = equalize_activations(
            model,
            capture(model, artifact.spec.example(batch=batch)),
            _calibration_batches(clips, config=config, batch=batch, context=context),
        )
        if scaled:
            notes.append(note(scaled))
    make = _stored_weights if weights_only else _integers
    network, step, decision = make(
        replace(artifact, model=model),
        config,
        Task(
            spec=artifact.spec,
            config=config,
            context=context,
            batches=lambda: _calibration_batches(clips, config=config, batch=batch, context=context),
        ),
        batch=batch,
    )
    notes += decision.notes
    if method.trains:
        notes += (
            *batch_notes(config, clips),
            *selection_notes(config, decision.curve),
            *teaching_notes(artifact.spec, context),
        )
    return StageResult(
        artifact=replace(artifact, model=network, form=Form.QUANTIZED, step=step),
        curve=decision.curve,
        figures=decision.figures,
        notes=(f"{_steps(clips, config=config, batch=batch) * batch} training clips for calibration", *notes),
    )


_Made = tuple[torch.fx.GraphModule, ExportedProgram | None, Decision]
"""The network for clips, the one for frames, and the decision of the method."""


def _integers(artifact: Artifact, config: QuantizeConfig, task: Task, *, batch: int) -> _Made:
    """The int8 reference."""
    from export.quantize.int8_reference import calibrate, convert, prepare, transfer
    from export.quantize.mixed_precision import keep_float
    from export.quantize.observers import weight_bits_note
    from export.quantize.step_reference import step_reference

    method = QUANTIZATION_METHODS[config.method]
    weight_bits = config.weight_bits or 8
    ranges = method.ranges(config).with_weights_of(weight_bits)
    single = prepare(_lowered(artifact, batch=1), qat=method.trains, ranges=ranges)
    layers = Layers.of(task.context.distillation).student if method.trains and task.context.teachers else ()
    prepared = prepare(_lowered(artifact, batch=batch, layers=layers), qat=method.trains, ranges=ranges)
    if layers:
        mark_features(prepared, feature_sizes(artifact.model, artifact.spec.example(), layers))
        _require_same_graph(prepared, single, layers=layers)
    calibrate(prepared, task.batches())
    decision = _with_corrected_biases(prepared, method.decide(prepared, task), task)
    drop_features(prepared)
    transfer(prepared, single)
    float_layers: tuple[str, ...] = ()
    if config.is_mixed or config.sensitivity:
        floats = partial(logits_of, artifact.model, batch=FLOAT_BATCH, device=task.context.device)
        mixed = decide(
            prepared,
            artifact.spec,
            config,
            task.context,
            batch=batch,
            floats=floats,
            networks=Networks(model=artifact.model, single=single, spec=artifact.spec),
        )
        float_layers = mixed.float_layers
        decision = replace(
            decision, notes=(*decision.notes, *mixed.notes), figures={**decision.figures, **mixed.figures()}
        )
    step = None
    if artifact.streams:
        network, example = step_network(artifact.model, artifact.spec.example()[0])
        program = capture(network, example)
        step = step_reference(single, program, qat=method.trains, float_layers=float_layers)
    keep_float(single, float_layers)
    decision = replace(decision, notes=(*decision.notes, *weight_bits_note(weight_bits)))
    return convert(single), step, decision


def _stored_weights(artifact: Artifact, config: QuantizeConfig, task: Task, *, batch: int) -> _Made:
    """The network with float activations and the weights of its files."""
    from export.quantize.grid import group_notes
    from export.quantize.int8_reference import transfer
    from export.quantize.weight_only import store_weights, weight_grids

    graph = _lowered(artifact, batch=batch)
    grids = weight_grids(graph, scheme=config.scheme, group_size=config.group_size)
    notes = group_notes(grids, dict(graph.named_parameters()), group_size=config.group_size)
    task = replace(task, grids=grids)
    decision = QUANTIZATION_METHODS[config.method].decide(graph, task)
    decision = _with_corrected_biases(graph, decision, task)
    decision = replace(decision, notes=(*decision.notes, *notes))
    single = _lowered(artifact, batch=1)
    transfer(graph, single)
    return store_weights(single, scheme=config.scheme, grids=grids), None, decision


def _with_corrected_biases(graph: torch.fx.GraphModule, decision: Decision, task: Task) -> Decision:
    """Corrects biases if the stage asks for it."""
    from export.quantize.bias_correction import correct_biases

    config: Any = task.config
    if not config.correct_bias:
        return decision
    count = correct_biases(graph, task.batches(), grids=task.grids)
    return replace(decision, notes=(*decision.notes, f"biases of {count} layers corrected"))


def check_rounded_layers(artifact: Artifact, layers: tuple[str, ...]) -> None:
    """Raises ValueError for layers that losses cannot use while the student is trained with quantization."""
    from export.quantize.int8_reference import prepare

    plain, found = (prepare(_lowered(artifact, batch=1, layers=own), qat=True) for own in ((), layers))
    mark_features(found, feature_sizes(artifact.model, artifact.spec.example(), layers))
    _require_same_graph(found, plain, layers=layers)


def check_float_layers(artifact: Artifact, patterns: tuple[str, ...]) -> None:
    """Raises ValueError for a pattern without a layer in the graph that int8 is decided on, before any training."""
    from export.quantize.int8_reference import prepare
    from export.quantize.layers import layers_of

    matching(patterns, dict.fromkeys(layers_of(prepare(_lowered(artifact, batch=1))).values()))


def _lowered(artifact: Artifact, *, batch: int, layers: tuple[str, ...] = ()) -> torch.fx.GraphModule:
    """The lowered network for a batch size; it returns its features of `layers` after the logits."""
    network = artifact.model
    if layers:
        network = WithFeatures(network, layers, columns=len(artifact.spec.labels))
    return lower(capture(network, artifact.spec.example(batch=batch)))


def _require_same_graph(
    with_features: torch.fx.GraphModule, single: torch.fx.GraphModule, *, layers: tuple[str, ...]
) -> None:
    """Raises ValueError if returning its features changes what a graph rounds, before it is trained."""
    plain = copy.deepcopy(with_features)
    drop_features(plain)
    operators = [
        [str(node.target) for node in one.graph.nodes if node.op == "call_function"]
        for one in (plain, single)
    ]
    if operators[0] != operators[1] or plain.state_dict().keys() != single.state_dict().keys():
        raise ValueError(
            f"the distillation losses use the layers {', '.join(layers)} of the student, one of which lies between "
            "operators that int8 computes as one, such as a convolution and its BatchNorm or activation; name the "
            "module that contains them, or use `method: ptq`"
        )


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
