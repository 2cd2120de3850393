"""Intermediate features of a network by name, for losses on more than the logits.

`embedding` is the input of the classifiers, `N F`; any other name is the dotted name of a module, such as
`video.layers.3`, and means the output of that module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.heads import heads_of
from models.spec import ClipSpec, as_tuple

EMBEDDING = "embedding"


@contextmanager
def watched(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """In this context, a mapping with the named features of the last forward pass.

    Raises `ValueError` for unknown names; a captured graph has none.
    """
    found: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name in names:
            hooks.callback(_watch(model, name, found).remove)
        yield found


def _watch(model: nn.Module, name: str, found: dict[str, Tensor]) -> Any:
    if isinstance(model, torch.fx.GraphModule):
        raise ValueError(
            f"the feature {name!r} is not available in a captured graph, which has no modules: quantization-aware "
            "training supports only losses on logits"
        )
    if name == EMBEDDING:

        def keep_given(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            found[name] = given[0]

        return heads_of(model).register_forward_pre_hook(keep_given)
    try:
        module = model.get_submodule(name)
    except AttributeError:
        known = [EMBEDDING, *(child for child, _ in model.named_children())]
        raise ValueError(
            f"{type(model).__name__} has no feature {name!r}; its top-level modules are "
            f"{', '.join(known[1:])}, and {EMBEDDING} is the input of its classifiers"
        ) from None

    def keep_output(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        found[name] = output

    return module.register_forward_hook(keep_output)


def feature_sizes(model: nn.Module, spec: ClipSpec, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The shape of each named feature for one clip, without the batch axis; `model` must be in eval mode."""
    if not names:
        return {}
    device = next(model.parameters(), torch.empty(0)).device
    with watched(model, names) as found, torch.no_grad():
        model(*(x.to(device) for x in spec.example()))
    return {name: tuple(value.shape[1:]) for name, value in found.items()}


class WithFeatures(nn.Module):
    """A network that returns its named features after its logits, so that both come from one forward pass."""

    def __init__(self, model: nn.Module, names: Sequence[str], *, columns: int) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)
        self.columns = columns

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Returns the logits of the first `columns` columns, then the features."""
        with watched(self.model, self.names) as found:
            outputs = as_tuple(self.model(*inputs))[: self.columns]
        return outputs + tuple(found[name] for name in self.names)
