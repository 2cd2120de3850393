"""Settings of distillation: one section of a recipe for all training stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    create_model,
    model_serializer,
    model_validator,
)

from compress.distillation import LOSSES
from compress.distillation.loss import LayerSettings, LossSettings, Weight

MAX_LAYERS = 32
"""Largest number of uses of one loss."""


class Losses(BaseModel):
    """Distillation losses by name; their weighted sum counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _one_or_more(self) -> Self:
        if not any(True for _ in self.chosen()):
            raise ValueError(f"no distillation loss is named; choose from {', '.join(LOSSES)}")
        return self

    @model_serializer(mode="wrap")
    def _chosen_only(self, dump: Any) -> dict[str, Any]:
        return {name: value for name, value in dump(self).items() if value is not None}

    def chosen(self) -> Iterator[tuple[str, str, LossSettings]]:
        """A name for every loss of the recipe, its row of `LOSSES` and its settings.

        The name is that of the row, and `features_2`, `features_3`, ... for further uses of it.
        """
        for row in LOSSES:
            given = getattr(self, row, None)
            for number, one in enumerate(given if isinstance(given, tuple) else (given,), start=1):
                if one is not None:
                    yield row if number == 1 else f"{row}_{number}", row, one


def _annotation(settings: type[LossSettings]) -> Any:
    """The settings of a loss, or its weight alone; several in a list if they name layers."""
    kinds: list[Any] = [Annotated[settings, Tag("settings")]]
    weight_alone = not any(field.is_required() for field in settings.model_fields.values())
    if weight_alone:
        kinds.insert(0, Annotated[Weight, Tag("weight")])
    if issubclass(settings, LayerSettings):
        several = Annotated[tuple[settings, ...], Field(min_length=1, max_length=MAX_LAYERS)]  # type: ignore[valid-type]
        kinds.append(Annotated[several, Tag("several")])
    if len(kinds) == 1:
        return settings

    def kind(value: Any) -> str:
        if weight_alone and isinstance(value, int | float) and not isinstance(value, bool):
            return "weight"
        return "several" if isinstance(value, list | tuple) and len(kinds) > 1 + weight_alone else "settings"

    return Annotated[_union(kinds), Discriminator(kind), AfterValidator(_with_defaults(settings))]


def _union(kinds: list[Any]) -> Any:
    joined = kinds[0]
    for one in kinds[1:]:
        joined = joined | one
    return joined


def _with_defaults(settings: type[LossSettings]) -> Callable[[Any], Any]:
    return lambda value: settings(weight=value) if isinstance(value, int | float) else value


if TYPE_CHECKING:
    NamedLosses = Losses
else:
    NamedLosses = create_model(
        "Losses",
        __base__=Losses,
        __module__=__name__,
        __doc__=Losses.__doc__,
        **{
            name: (_annotation(row.settings), Field(default=None, description=row.settings.__doc__))
            for name, row in LOSSES.items()
        },
    )


class DistillationConfig(BaseModel):
    """Distillation in all training stages: distill, recovery after pruning, and quantization-aware training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label_weight: float = Field(
        default=0.1,
        ge=0,
        le=1e6,
        description="Weight of the cross-entropy with the labels, beside the weights of the losses. A label column "
        "that the teacher lacks has weight 1.",
    )
    correct_only: bool = Field(
        default=False,
        description="The teacher counts only for clips that it classifies correctly; others are learned from the "
        "labels alone, with weight 1.",
    )
    losses: NamedLosses = Field(
        default_factory=lambda: NamedLosses.model_validate({"kd": {}}),
        description="Distillation losses: settings, or the weight alone, and for losses on layers also a list of "
        "settings. By default `kd` alone.",
    )
