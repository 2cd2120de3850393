"""Intermediate features of a network by name, for losses on more than the logits.

`embedding` is the input of the classifiers; any other name is the dotted name of a module, such as
`video.layers.3`, and means the output of that module. Of a module that is called several times, the last output
counts.

A feature has one row per clip, channels first: `N C`, maps of pictures `N C H W`, maps of clips `N C T H W`.
Outputs of networks on single frames, `N*T C ...`, become `N C T ...`. Three axes are tokens or steps `N L C`, and
become `N C L`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.graph import CodeGen

from models.heads import heads_of
from models.spec import ClipSpec, as_tuple

EMBEDDING = "embedding"
_KEY = "features"
"""Key of a captured graph's `meta`: the shapes of the features, by name, that it returns after its logits."""
_SHOWN = 12
"""Largest number of names in a message."""


@contextmanager
def watched(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """In this context, a mapping with the named features of the last forward pass.

    A captured graph has no modules; it returns the features that it was captured with (`with_features`), which are
    kept from its outputs. Raises `ValueError` for unknown names and for outputs that are not one tensor.
    """
    found: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        if isinstance(model, fx.GraphModule):
            hooks.callback(_watch_outputs(model, names, found).remove)
        elif names:
            clips = _Clips()
            hooks.callback(model.register_forward_pre_hook(clips.count).remove)
            for name in names:
                hooks.callback(_watch(model, name, found, clips).remove)
        yield found


class _Clips:
    """The number of clips in the current forward pass."""

    number = 0

    def count(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.number = len(inputs[0])


def _watch(model: nn.Module, name: str, found: dict[str, Tensor], clips: _Clips) -> Any:
    check_names(model, [name])
    if name == EMBEDDING:

        def keep_given(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            found[name] = _per_clip(given[0], name, clips=clips.number)

        return heads_of(model).register_forward_pre_hook(keep_given)

    def keep_output(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        found[name] = _per_clip(output, name, clips=clips.number)

    return model.get_submodule(name).register_forward_hook(keep_output)


def check_names(model: nn.Module, names: Sequence[str]) -> None:
    """Raises `ValueError` for names that `model` does not have, with the names it has, nearest first."""
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        like = sorted(known, key=lambda one: -difflib.SequenceMatcher(None, name, one).ratio())
        shown = ", ".join(like[:_SHOWN]) + (f" and {len(like) - _SHOWN} more" if len(like) > _SHOWN else "")
        if name == EMBEDDING:
            try:
                heads_of(model)
            except ValueError as error:
                raise ValueError(f"{error}; name one of its modules instead of {name}: {shown}") from error
        elif name not in known:
            raise ValueError(
                f"{type(model).__name__} has no module {name!r}; its modules, nearest first: {shown}; "
                f"{EMBEDDING} is the input of its classifiers"
            )


def _per_clip(output: Any, name: str, *, clips: int) -> Tensor:
    """The output of a module with one row per clip and channels first."""
    if not isinstance(output, Tensor):
        raise ValueError(
            f"the module {name!r} returns {type(output).__name__}; name one that returns one tensor"
        )
    if output.dim() < 2 or output.dim() > 5 or len(output) % clips:
        raise ValueError(
            f"the module {name!r} returns a tensor of shape {list(output.shape)} for {clips} clips; name one with "
            "a row per clip or per frame, and at most 5 axes"
        )
    is_by_frame = len(output) > clips
    if output.dim() == 3:
        tokens = output.unflatten(0, (clips, -1)).flatten(1, 2) if is_by_frame else output
        return tokens.transpose(1, 2)
    return output.unflatten(0, (clips, -1)).movedim(1, 2) if is_by_frame else output


def feature_sizes(
    model: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """The shape of each named feature for one clip, without the batch axis; `model` must be in eval mode.

    Raises `ValueError` for unknown names and for modules that the forward pass does not call.
    """
    if isinstance(model, fx.GraphModule):
        return {name: model.meta[_KEY][name] for name in names}
    if not names:
        return {}
    with watched(model, names) as found, torch.no_grad():
        model(*inputs)
    for name in names:
        if name not in found:
            raise ValueError(f"the forward pass of {type(model).__name__} does not call its module {name!r}")
    return {name: tuple(found[name].shape[1:]) for name in names}


class WithFeatures(nn.Module):
    """A network that returns its named features after its logits, so that both come from one forward pass."""

    def __init__(self, model: nn.Module, names: Sequence[str], *, columns: int) -> None:
        super().__init__()
        self.network = model  # as in `StepNetwork`, so that layers keep their names
        self.names = tuple(names)
        self.columns = columns

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Returns the logits of the first `columns` columns, then the features."""
        with watched(self.network, self.names) as found:
            outputs = as_tuple(self.network(*inputs))[: self.columns]
        return outputs + tuple(found[name] for name in self.names)


def mark_features(graph: fx.GraphModule, sizes: dict[str, tuple[int, ...]]) -> None:
    """Declares the last outputs of a graph, which was captured from `WithFeatures`, to be features of `sizes`.

    `sizes` are in the order of the outputs.
    """
    graph.meta[_KEY] = dict(sizes)


def drop_features(graph: fx.GraphModule) -> None:
    """Removes the features from the outputs of a graph, in place, and all that computes only them.

    What remains takes the inputs of the network as before and returns a tuple of logits.
    """
    count = len(graph.meta.pop(_KEY, ()))
    if not count:
        return
    output = graph.graph.output_node()
    kept: Any = tuple(output.args[0])[:-count]  # type: ignore[arg-type]
    output.args = (kept,)
    graph.graph.set_codegen(CodeGen())  # the captured calling convention still has the features
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()


def _watch_outputs(graph: fx.GraphModule, names: Sequence[str], found: dict[str, Tensor]) -> Any:
    """Splits the outputs of a graph into logits and features."""
    has = list(graph.meta.get(_KEY, ()))
    for name in names:
        if name not in has:
            raise ValueError(
                f"the feature {name!r} is not among the outputs of the captured graph, which are the logits and "
                f"{', '.join(has) or 'no features'}"
            )

    def split(_: nn.Module, __: Any, outputs: Any) -> Any:
        if not has:
            return outputs
        found.update(zip(has, outputs[-len(has) :], strict=True))
        return tuple(outputs[: -len(has)])

    return graph.register_forward_hook(split)


def example_of(model: nn.Module, spec: ClipSpec) -> tuple[Tensor, ...]:
    """Example inputs of a network on its device."""
    device = next(model.parameters(), torch.empty(0)).device
    return tuple(x.to(device) for x in spec.example())
