"""Mixed precision of the `quantize` stage: which layers stay in float, and what int8 costs in each of them.

Layers are chosen greedily: the layer that costs most when it alone is int8 goes to float first, and the network is
measured again after every change. Layers that turn out not to be needed go back to int8, so that the result holds
the bound with no single layer to spare. The costs of single layers do not add up: only their order is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, fx

from benchmarks.clips.clip_set import ClipSet
from compress.command.progress import bar
from compress.stage import Context
from compress.training import TrainConfig, accuracy
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

    @property
    def is_mixed(self) -> bool:
        """Whether layers may stay in float."""
        return bool(self.float_layers) or self.max_drop_pp is not None or self.max_size_bytes is not None

    @property
    def measured_clips(self) -> int | None:
        """Number of validation clips for the analysis of all layers; None without one."""
        if isinstance(self.sensitivity, SensitivityConfig):
            return self.sensitivity.clips
        needed = self.sensitivity or self.max_drop_pp is not None or self.max_size_bytes is not None
        return SensitivityConfig().clips if needed else None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if self.max_drop_pp is not None and self.max_size_bytes is not None:
            raise ValueError(
                "max_drop_pp and max_size_bytes each decide which layers stay in float; give one of them"
            )
        return self


MIXED_PRECISION_KEYS = frozenset(MixedPrecisionConfig.model_fields) - frozenset(TrainConfig.model_fields)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One measurement of the search."""

    float_layers: int
    """Number of layers in float."""
    changed: str
    """The layer that was changed since the measurement before; empty for the first."""
    into: str
    """`float`, `int8`, or empty for the first."""
    drop_pp: float
    """Top-1 points below the float student on all validation clips, in the worst label column."""
    weight_bytes: int


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
) -> Decision:
    """The layers of `prepared`, a calibrated or trained graph for `batch` clips, that stay in float.

    `floats` gives the logits of the float student. Raises ValueError for a pattern in `float_layers` without a
    layer, and for a `max_drop_pp` or `max_size_bytes` that cannot be met.
    """
    from export.quantize.sensitivity import SwitchedGraph

    graph = SwitchedGraph(prepared)
    chosen = list(matching(config.float_layers, graph.names))
    validation = context.data.validation.for_spec(spec)
    if config.measured_clips is not None and not len(validation):
        raise ValueError(
            "there are no validation clips, which measure the layers; give the data a validation split"
        )
    sensitivity = _sensitivity(graph, validation, config, context, batch=batch)
    search = _Search(graph, validation, batch=batch, floats=floats, context=context)
    reasons = dict.fromkeys(chosen, "named in float_layers")
    notes: list[str] = []
    if sensitivity is not None:
        order = [one.layer for one in sensitivity.layers if one.layer not in chosen]
        if config.max_drop_pp is not None:
            notes += _resolution(config.max_drop_pp, len(validation))
            reasons |= search.until_drop(config.max_drop_pp, chosen, order)
        elif config.max_size_bytes is not None:
            reasons |= search.while_fits(config.max_size_bytes, chosen, order)
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
        return analyse(graph, _batches(clips, batch), clips.labels, progress=report)


class _Search:
    """Measures choices of float layers on all validation clips."""

    def __init__(
        self,
        graph: SwitchedGraph,
        validation: ClipSet,
        *,
        batch: int,
        floats: Callable[[ClipSet], tuple[Tensor, ...]],
        context: Context,
    ) -> None:
        self.graph, self.validation, self.batch = graph, validation, batch
        self.floats, self.context = floats, context
        self.trials: list[Trial] = []

    def until_drop(self, limit_pp: float, chosen: list[str], order: list[str]) -> dict[str, str]:
        """Layers in float until the drop is at most `limit_pp`, with the reason of each; `chosen` stay in float."""
        of_float = _top1_pp(self.floats(self.validation), self.validation)
        kept = list(chosen)
        with bar(self.context.console, "quantize: layers in float") as report:
            report(0, len(order))

            def drop(changed: str = "", into: str = "") -> float:
                self.graph.switch(kept)
                given = self.graph.logits(_batches(self.validation, self.batch), len(self.validation))
                found = max(a - b for a, b in zip(of_float, _top1_pp(given, self.validation), strict=True))
                self._record(kept, found, changed, into)
                return found

            reached, without = drop(), {}
            for done, name in enumerate(order, start=1):
                if reached <= limit_pp:
                    break
                without[name] = reached
                kept.append(name)
                reached = drop(name, "float")
                report(done, len(order))
            if reached > limit_pp:
                raise ValueError(
                    f"max_drop_pp {limit_pp:g} cannot be met: with every layer in float, validation top-1 is "
                    f"{reached:.2f} points below the float student (resolution {100 / len(self.validation):.2f}); "
                    "allow more, or train more gently"
                )
            for name in reversed(list(without)[:-1]):
                place = kept.index(name)
                kept.remove(name)
                without[name] = drop(name, "int8")
                if without[name] > limit_pp:
                    kept.insert(place, name)
        return {
            name: f"max_drop_pp: without it the drop is {found:.2f} points"
            for name, found in without.items()
            if name in kept
        }

    def while_fits(self, limit_bytes: int, chosen: list[str], order: list[str]) -> dict[str, str]:
        """The first layers of `order` whose float weights fit into `limit_bytes`, with the reason of each."""
        least = self.graph.weight_bytes(chosen)
        if least > limit_bytes:
            raise ValueError(
                f"max_size_bytes {limit_bytes} cannot be met: the weights take {least} bytes with "
                f"{len(chosen)} layers in float"
            )
        reasons: dict[str, str] = {}
        for rank, name in enumerate(order, start=1):
            size = self.graph.weight_bytes([*chosen, *reasons, name])
            if size <= limit_bytes:
                reasons[name] = f"max_size_bytes: rank {rank} by sensitivity; {size} bytes with it"
        return reasons

    def _record(self, kept: list[str], drop_pp: float, changed: str, into: str) -> None:
        size = self.graph.weight_bytes(kept)
        trial = Trial(float_layers=len(kept), changed=changed, into=into, drop_pp=drop_pp, weight_bytes=size)
        self.trials.append(trial)


def _batches(clips: ClipSet, size: int) -> list[tuple[Tensor, ...]]:
    """All clips in batches of `size`; the last one is filled with its last clip."""
    indices = list(range(len(clips)))
    indices += indices[-1:] * (-len(indices) % size)
    return [clips.batch(indices[start : start + size]) for start in range(0, len(indices), size)]


def _top1_pp(logits: tuple[Tensor, ...], clips: ClipSet) -> list[float]:
    """Top-1 of every label column in points."""
    return [100 * column.top1 for column in accuracy(logits, clips)]


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
    return f"{text}; weights {size} bytes instead of {graph.weight_bytes()}"
