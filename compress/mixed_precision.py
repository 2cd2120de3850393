"""Mixed precision of the `quantize` stage: which layers stay in float, and what int8 costs in each of them.

Layers are chosen greedily by a row of `BOUNDS`: the layer that costs most when it alone is int8 goes to float
first, and the network is measured again after every change. The costs of single layers do not add up: only their
order is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, fx

from benchmarks.clips.clip_set import ClipSet
from compress.command.progress import bar
from compress.quantization import BOUNDS
from compress.quantization.float_search import FloatSearch, Networks, Trial, batches_of
from compress.stage import Context
from compress.training import TrainConfig
from export.quantize.layer_names import matching
from models.spec import ClipSpec

if TYPE_CHECKING:
    from export.quantize.sensitivity import Sensitivity, SwitchedGraph

NAMED = 5
"""Number of layers that a note names."""


class SensitivityConfig(BaseModel):
    """Settings of the sensitivity analysis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clips: int = Field(
        default=128, ge=1, le=1_000_000, description="Number of validation clips that measure each layer."
    )


class MixedPrecisionConfig(TrainConfig):
    """Keys of `quantize` that choose layers to keep in float."""

    sensitivity: bool | SensitivityConfig = Field(
        default=False, description="Measure the cost of int8 in every layer, for the report."
    )
    float_layers: tuple[Annotated[str, Field(min_length=1, max_length=400)], ...] = Field(
        default=(),
        max_length=10_000,
        description="Layers that stay in float: names of modules, or patterns such as `blocks.*.gate`.",
    )
    max_drop_pp: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Keep layers in float until validation top-1 is at most this many points below the float "
        "student.",
    )
    max_size_bytes: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000_000,
        description="Keep the most sensitive layers in float while weights, scales and biases take at most this "
        "many bytes; files add their own overhead.",
    )

    max_latency_ms: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="Keep the most sensitive layers in float while the median latency of one clip is at most this "
        "many milliseconds, in `runtime` on this machine with one thread.",
    )
    max_latency: float | None = Field(
        default=None,
        ge=0.01,
        lt=1,
        description="The same as a share of the latency of the float student.",
    )
    runtime: Literal["onnx", "tflite", "executorch"] = Field(
        default="onnx", description="Runtime of max_latency_ms and max_latency."
    )

    @property
    def bound(self) -> str | None:
        """The key of the bound that decides how many layers stay in float."""
        return next((name for name in BOUNDS if getattr(self, name) is not None), None)

    @property
    def is_timed(self) -> bool:
        """Whether the bound is a latency."""
        return self.max_latency_ms is not None or self.max_latency is not None

    @property
    def is_mixed(self) -> bool:
        """Whether layers may stay in float."""
        return bool(self.float_layers) or self.bound is not None

    @property
    def measured_clips(self) -> int | None:
        """Number of validation clips for the analysis of all layers; None without one."""
        if isinstance(self.sensitivity, SensitivityConfig):
            return self.sensitivity.clips
        needed = self.sensitivity or self.bound is not None
        return SensitivityConfig().clips if needed else None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        given = [name for name in BOUNDS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} each decide which layers stay in float; give one of them"
            )
        if not self.is_timed and self.runtime != type(self).model_fields["runtime"].default:
            raise ValueError(
                f"runtime {self.runtime} has no effect without max_latency_ms or max_latency; omit it"
            )
        return self


MIXED_PRECISION_KEYS = frozenset(MixedPrecisionConfig.model_fields) - frozenset(TrainConfig.model_fields)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The layers that stay in float."""

    float_layers: tuple[str, ...]
    reasons: dict[str, str]
    """Why each of them does."""
    trials: tuple[Trial, ...]
    sensitivity: Sensitivity | None
    layers: int
    """Number of layers of the network."""
    weight_bytes: int
    notes: tuple[str, ...]

    def figures(self) -> dict[str, Any]:
        """Figures for the record of the stage."""
        found: dict[str, Any] = {
            "mixed_precision": {
                "float_layers": list(self.float_layers),
                "reasons": self.reasons,
                "trials": [asdict(trial) for trial in self.trials],
                "layers": self.layers,
                "weight_bytes": self.weight_bytes,
            }
        }
        if self.sensitivity is not None:
            found["sensitivity"] = self.sensitivity.to_dict()
        return found


def decide(
    prepared: fx.GraphModule,
    spec: ClipSpec,
    config: MixedPrecisionConfig,
    context: Context,
    *,
    batch: int,
    floats: Callable[[ClipSet], tuple[Tensor, ...]],
    networks: Networks,
) -> Decision:
    """The layers of `prepared`, a calibrated or trained graph for `batch` clips, that stay in float.

    `floats` gives the logits of the float student; `networks` are those of its files. Raises ValueError for a
    pattern in `float_layers` without a layer, and for a bound that cannot be met.
    """
    from export.quantize.sensitivity import SwitchedGraph

    graph = SwitchedGraph(prepared)
    chosen = matching(config.float_layers, graph.names)
    validation = context.data.validation.for_spec(spec)
    if config.measured_clips is not None and not len(validation):
        raise ValueError(
            "there are no validation clips, which measure the layers; give the data a validation split"
        )
    sensitivity = _sensitivity(graph, validation, config, context, batch=batch)
    measured = () if sensitivity is None else sensitivity.layers
    search = FloatSearch(
        graph=graph,
        validation=validation,
        batch=batch,
        floats=floats,
        networks=networks,
        context=context,
        chosen=tuple(chosen),
        order=tuple(one.layer for one in measured if one.layer not in chosen),
    )
    reasons = dict.fromkeys(chosen, "named in float_layers")
    notes: list[str] = []
    if config.max_drop_pp is not None:
        notes += _resolution(config.max_drop_pp, len(validation))
    if config.bound is not None:
        reasons |= BOUNDS[config.bound](search, config)
        notes += search.notes
    kept = tuple(name for name in graph.names if name in reasons)
    size = graph.weight_bytes(kept)
    if config.is_mixed:
        notes.append(_summary(kept, graph, size, search.trials))
    return Decision(
        float_layers=kept,
        reasons={name: reasons[name] for name in kept},
        trials=tuple(search.trials),
        sensitivity=sensitivity,
        layers=len(graph.names),
        weight_bytes=size,
        notes=tuple(notes),
    )


def _sensitivity(
    graph: SwitchedGraph, validation: ClipSet, config: MixedPrecisionConfig, context: Context, *, batch: int
) -> Sensitivity | None:
    from export.quantize.sensitivity import analyse

    if config.measured_clips is None:
        return None
    count = min(config.measured_clips, len(validation))
    # The split may be sorted by class.
    clips = validation.subset(torch.linspace(0, len(validation) - 1, count).round().long().tolist())
    with bar(context.console, "quantize: sensitivity of layers") as report:
        return analyse(graph, batches_of(clips, batch), clips.labels, progress=report)


def _resolution(limit_pp: float, clips: int) -> list[str]:
    if limit_pp >= 100 / clips:
        return []
    return [
        f"max_drop_pp {limit_pp:g} is finer than the {clips} validation clips resolve ({100 / clips:.2f} points "
        "each): no clip more may be misclassified"
    ]


def _summary(kept: tuple[str, ...], graph: SwitchedGraph, size: int, trials: list[Trial]) -> str:
    """The sentence of the report about the choice."""
    named = ", ".join(kept[:NAMED]) + (f" and {len(kept) - NAMED} more" if len(kept) > NAMED else "")
    text = f"{len(kept)} of {len(graph.names)} layers stay in float{': ' + named if kept else ''}"
    if trials:
        last = next(trial for trial in reversed(trials) if trial.float_layers == len(kept))
        text += f"; validation top-1 drop {last.drop_pp:.2f} points instead of {trials[0].drop_pp:.2f}"
        if last.latency_ms is not None:
            text += f"; latency {last.latency_ms:.3f} ms instead of {trials[0].latency_ms:.3f}"
    return f"{text}; weights {size} bytes instead of {graph.weight_bytes()}"
