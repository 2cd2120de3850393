"""The settings of pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from compress.pruning import PRUNING_CRITERIA
from compress.pruning.order import Scope
from compress.training import MAX_EPOCHS, TrainConfig

if TYPE_CHECKING:
    from benchmarks.device_settings import DeviceSettings

_SHARES = ("macs", "parameters", "latency")
_TARGETS = (*_SHARES, "size_bytes", "latency_ms")


class SparseTraining(BaseModel):
    """Training before the first cut that makes whole channels small."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(
        ge=1, le=MAX_EPOCHS, description="Epochs of it, in addition to those of the recovery."
    )
    weight: float = Field(
        default=1e-4,
        gt=0,
        le=10,
        description="Weight of the penalty on the squared norms of channels in the loss.",
    )


class PruneConfig(TrainConfig):
    """Settings of one `prune` stage: one target, or another `pattern`; training settings are for recovery."""

    macs: float | None = Field(
        default=None, ge=0.001, lt=1, description="Target: share of the MACs that remains, e.g. 0.55."
    )
    parameters: float | None = Field(
        default=None, ge=0.001, lt=1, description="Target: share of the parameters that remains."
    )
    size_bytes: int | None = Field(
        default=None,
        ge=1,
        le=10**12,
        description="Target: bytes of the weights in an exported file of `scheme`.",
    )
    latency: float | None = Field(
        default=None,
        ge=0.01,
        lt=1,
        description="Target: share of the latency of the unpruned network that remains.",
    )
    latency_ms: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="Target: median latency of one clip in milliseconds, with one thread.",
    )
    runtime: Literal["onnx", "tflite", "executorch"] = Field(
        default="onnx", description="Runtime in which latency is measured."
    )
    device: Any = Field(default="host", description="Device on which latency is measured.")
    scheme: Literal["fp32", "w8a8"] = Field(
        default="fp32", description="Scheme of the file whose latency or size is the target."
    )
    pattern: Literal["structured", "2:4", "unstructured"] = Field(
        default="structured",
        description="What is removed: whole channels, two of four weights, or single weights; the last two make "
        "compressed files smaller, not inference faster.",
    )
    sparsity: float | None = Field(
        default=None, gt=0, lt=1, description="Share of the weights that is set to zero, for `unstructured`."
    )
    criterion: Literal[tuple(PRUNING_CRITERIA)] = Field(  # type: ignore[valid-type]
        default="magnitude", description="Criterion for the importance of channels."
    )
    scope: Scope = Field(
        default="global",
        description="Whether importance is compared over all layers, or each loses the same share.",
    )
    isomorphic: bool = Field(
        default=False,
        description="Whether only groups of equal structure are compared; each kind loses the same share.",
    )
    steps: int = Field(
        default=1, ge=1, le=100, description="Number of cuts; the epochs of recovery are divided over them."
    )
    sparse_training: SparseTraining | None = Field(
        default=None, description="Group-sparse training before the first cut."
    )
    epochs: int = Field(default=4, ge=0, le=MAX_EPOCHS, description="Epochs of recovery; 0 skips it.")
    round_to: int = Field(
        default=8,
        ge=1,
        le=1_024,
        description="Channel counts remain multiples of this; halved for the last channels where the target would "
        "be missed by more than two points.",
    )
    max_pruning_ratio: float = Field(
        default=0.8, gt=0, lt=1, description="Largest share of channels removed from a layer, over all cuts."
    )

    @property
    def target(self) -> str:
        """The key of the target."""
        return next(name for name in _TARGETS if getattr(self, name) is not None)

    @property
    def is_timed(self) -> bool:
        """Whether the target is a latency."""
        return self.latency is not None or self.latency_ms is not None

    @property
    def measured_on(self) -> tuple[str, DeviceSettings] | None:
        """Name and settings of the device that measures latency; None for this machine."""
        return None

    @property
    def trains(self) -> bool:
        """Whether these settings train anything."""
        return self.epochs > 0 or self.sparse_training is not None

    def goal(self, original: float) -> float:
        """The cost to reach."""
        value = float(getattr(self, self.target))
        return value * original if self.target in _SHARES else value

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        given = [name for name in _TARGETS if getattr(self, name) is not None]
        if self.pattern == "structured" and len(given) != 1:
            raise ValueError(
                f"{len(given)} targets are given{': ' if given else ''}{', '.join(given)}; give exactly one of "
                f"{', '.join(_TARGETS)}"
            )
        if self.pattern == "structured" and self.sparsity is not None:
            raise ValueError("sparsity is for pattern unstructured; pattern structured has a target instead")
        if self.pattern == "unstructured" and self.sparsity is None:
            raise ValueError(
                "pattern unstructured needs sparsity, the share of the weights that is set to zero"
            )
        if self.pattern == "2:4" and self.sparsity is not None:
            raise ValueError(
                "sparsity is for pattern unstructured; pattern 2:4 sets half of the weights to zero"
            )
        return self

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.pattern != "structured":
            own = {"pattern", "sparsity", "steps", *({"scope"} if self.pattern == "unstructured" else ())}
            allowed = own | set(TrainConfig.model_fields)
            self._refuse(allowed, f"pattern {self.pattern} does not remove channels")
            return self
        timed = self.target in ("latency", "latency_ms")
        if not timed:
            most = {"scheme"} if self.target == "size_bytes" else set()
            self._refuse(
                set(type(self).model_fields) - ({"runtime", "device", "scheme"} - most),
                f"the target {self.target} is not measured in a runtime",
            )
        if self.isomorphic and self.scope == "layer":
            raise ValueError(
                "isomorphic compares layers of equal structure, scope layer none; give one of both"
            )
        if timed and (self.isomorphic or self.scope == "layer"):
            raise ValueError(
                f"the target {self.target} compares all layers by importance per millisecond; omit isomorphic "
                "and scope"
            )
        return self

    @model_validator(mode="after")
    def _epochs_for_every_cut(self) -> Self:
        if self.steps > 1 and self.epochs < self.steps:
            raise ValueError(
                f"steps is {self.steps}, but there are {self.epochs} epochs of recovery; give one or more for "
                "each cut"
            )
        return self

    def _refuse(self, allowed: set[str], reason: str) -> None:
        for name, field in type(self).model_fields.items():
            if name not in allowed and getattr(self, name) != field.default:
                raise ValueError(f"{name} has no effect: {reason}; omit it")
