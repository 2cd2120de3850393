"""The training settings of a recipe, shared by all trainings."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmarks.clips.augmentation import AugmentationSettings
from benchmarks.clips.corruptions import CORRUPTIONS
from compress.training.optimizers import OPTIMIZERS

MAX_EPOCHS = 10_000
FLOAT_BATCH = 32
"""Batch size for inference of float networks."""
LEAST_CLIPS = 2
"""Smallest size of a training set: a BatchNorm needs two clips for a variance."""


class TrainConfig(BaseModel):
    """How a network is trained: a linear warm-up, then a half cosine down to zero."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    epochs: int = Field(ge=1, le=MAX_EPOCHS, description="Passes over the training clips.")
    batch: int = Field(
        default=32,
        ge=2,
        le=8_192,
        description="Clips per step, or all training clips if fewer; the incomplete last batch is dropped.",
    )
    optimizer: Literal[tuple(OPTIMIZERS)] = Field(  # type: ignore[valid-type]
        default="adamw",
        description="`adamw`, `sgd` with Nesterov momentum, or `dot`: gradient descent with separate momenta for "
        "labels and teacher. `sgd` and `dot` need their own `learning_rate` and `weight_decay`.",
    )
    learning_rate: float = Field(
        default=3e-3, ge=1e-8, le=10, description="Peak learning rate; the default is for `adamw`."
    )
    first_layer_learning_rate: float = Field(
        default=1.0,
        ge=1e-4,
        le=1,
        description="Learning rate of the first layer, as a share of `learning_rate`. It grows geometrically with "
        "depth to the full rate at the classifiers; 0.1 is usual for pretrained weights.",
    )
    warmup: float = Field(
        default=0.05,
        ge=0,
        le=0.9,
        description="Share of all steps in which the learning rate rises to its peak.",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of `sgd` and `dot`.")
    dot_delta: float = Field(
        default=0.075,
        ge=0,
        lt=1,
        description="`dot` has the momentum `momentum - dot_delta` for the labels and `momentum + dot_delta` for "
        "the teacher.",
    )
    weight_decay: float = Field(
        default=0.02,
        ge=0,
        le=10,
        description="Decay of weight matrices and kernels; the default is for `adamw`.",
    )
    clip_grad_norm: float | None = Field(
        default=5.0, gt=0, le=1e6, description="Largest norm of the gradient; null does not clip it."
    )
    ema: float | None = Field(
        default=None,
        ge=0.5,
        lt=1,
        description="Decay per step of an exponential moving average of the weights, such as 0.999. The average is "
        "validated and becomes the result; its BatchNorm statistics are re-estimated on the training clips.",
    )
    select: Literal["last", "best"] = Field(
        default="last",
        description="Epoch whose weights are the result: the last one, or the one with the best validation top-1. "
        "With few validation clips, `best` selects by chance.",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        le=MAX_EPOCHS,
        description="Stop after this many epochs without a better validation top-1; needs `select: best`.",
    )
    amp: bool = Field(
        default=True,
        description="Compute in bfloat16 where a CUDA or MPS device supports it (autocast). On a CPU, and in "
        "quantization-aware training, all is float32.",
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of each label spread over all classes; helps with label noise.",
    )
    views: Literal["fresh"] | Annotated[int, Field(ge=0, le=1_000)] = Field(
        default=4,
        description="Number of augmentations per clip, one per epoch in turn, with cached outputs of the teacher. "
        "`fresh` draws a new one in every epoch, and the teacher runs in every step; 0 trains on the centre crop.",
    )
    augmentation: AugmentationSettings = Field(
        default=AugmentationSettings(), description="How training clips are augmented."
    )
    corruptions: tuple[Literal[tuple(CORRUPTIONS)], ...] = Field(  # type: ignore[valid-type]
        default=(),
        max_length=len(CORRUPTIONS),
        description="Corruptions, one of which is applied to every second clip; the teacher gets clean clips.",
    )

    @property
    def trains(self) -> bool:
        """Whether these settings train anything."""
        return self.epochs > 0

    @model_validator(mode="after")
    def _augmentations_need_views(self) -> Self:
        if self.corruptions and not self.views:
            raise ValueError("corruptions are part of the augmentations, but views is 0; give 1 or more")
        if self.augmentation != AugmentationSettings() and not self.views:
            raise ValueError(
                "augmentation has settings, but views is 0, which trains on the centre crop; give 1 or more"
            )
        return self

    @model_validator(mode="after")
    def _optimizer_has_its_settings(self) -> Self:
        if self.optimizer == "adamw" and self.momentum != type(self).model_fields["momentum"].default:
            raise ValueError("momentum is for the optimizers sgd and dot; adamw has none")
        if self.optimizer != "dot" and self.dot_delta != type(self).model_fields["dot_delta"].default:
            raise ValueError(f"dot_delta is for optimizer dot only; optimizer is {self.optimizer}")
        if (
            self.optimizer == "dot"
            and not 0 <= self.momentum - self.dot_delta <= self.momentum + self.dot_delta < 1
        ):
            raise ValueError(
                f"momentum {self.momentum:g} and dot_delta {self.dot_delta:g} give the momenta "
                f"{self.momentum - self.dot_delta:g} and {self.momentum + self.dot_delta:g}; both must be at "
                "least 0 and less than 1"
            )
        missing = [name for name in ("learning_rate", "weight_decay") if name not in self.model_fields_set]
        if self.optimizer != "adamw" and missing:
            raise ValueError(
                f"optimizer {self.optimizer} needs {' and '.join(missing)}, whose defaults are for adamw; usual "
                "values are learning_rate 0.05 and weight_decay 0.0005"
            )
        return self

    @model_validator(mode="after")
    def _patience_selects(self) -> Self:
        if self.patience is not None and self.select != "best":
            raise ValueError(
                f"patience {self.patience} stops some epochs after the best one, whose weights need select: best"
            )
        return self
