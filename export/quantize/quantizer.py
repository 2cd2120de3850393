"""Decides which values of a lowered graph are int8 and which share one scale: the rules of scheme `w8a8`.

Weights of convolutions and linear layers: int8 per output channel, symmetric, -127..127; in 7 bits (-64..64, but
for depthwise layers) where a target needs it (`export.targets`). Activations: int8 per tensor, affine, -128..127.
Biases stay float here; backends store them as int32 with scale (input * weight).

The other rules follow from what XNNPACK, ONNX Runtime and TensorFlow Lite all run:

- A clamp (ReLU, ReLU6, ...) after a convolution, linear layer or sum is part of it: only the clamped value is
  int8.
- Reshapes, permutations, slices and max pooling pass on their input values, so they keep the scale, as their
  integer kernels require; so does a convolution that only moves frames (one-hot taps), which is then exact in int8.
  Nothing is rounded after them in calibration and training; `convert` repeats their scale for the backends.
- The sum of a convolution's temporal taps shares one scale with the taps as long as further taps are added to it:
  if a tap reads a zero frame from the padding, the other is passed on unchanged.
- Average pooling and concatenation have one scale for all inputs and outputs, as their integer kernels require.
- Hard-swish, SiLU and similar activations take and return int8 and compute in float: TensorFlow Lite has integer
  kernels for them, XNNPACK has not, and a float convolution before them would cost more. Sigmoid, hard-sigmoid,
  softmax and tanh have the fixed output scales that TensorFlow Lite prescribes.
- The network's float inputs and its logits are int8 too, with ranges that cover all observed values: int8 logits
  add far less noise than the layers before them, and the whole network stays one integer partition. Constants that
  are multiplied with and added to an input, as in the normalisation of clips, are applied before its rounding.
- In a step program (`export.capture.stepping`) past frames take the scale of the concatenation, so that they are
  rounded once; arithmetic with other states (running means) stays float, since sums over many frames would lose
  their small steps in int8.
- Attention scores, which are computed in float, stay float up to the end of their softmax: int8 would take its
  range from the -1e30 of a mask, and round most of a softmax over hundreds of values to 0.
- Everything else (LayerNorm, products of values, recurrences) stays float.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import fx
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpecBase,
    Quantizer,
    SharedQuantizationSpec,
)

from export.quantize.observers import CALIBRATED, Ranges

aten = torch.ops.aten

ANNOTATION = "quantization_annotation"
"""Key of a node's meta for its PT2E annotation."""

PASSES_ON = "passes_int8_on"
"""Key of a node's meta: whether its results are int8 input values."""

WEIGHTED = (aten.conv1d.default, aten.conv2d.default, aten.linear.default)
SUMS = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor)
CLAMPS = (
    aten.relu.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.clamp.default,
    aten.clamp_min.default,
)
KEEPS_VALUES = (
    aten.reshape.default,
    aten.view.default,
    aten.flatten.using_ints,
    aten.permute.default,
    aten.transpose.int,
    aten.slice.Tensor,
    aten.select.int,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.expand.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.max_pool2d.default,
    aten.upsample_nearest2d.vec,
)
"""Operators whose results are values of their inputs."""

ONE_SCALE = (
    aten.cat.default,
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default,
    aten.pad.default,
    aten.constant_pad_nd.default,
)
MEANS = (aten.mean.dim,)
CURVES = (
    aten.hardswish.default,
    aten.silu.default,
    aten.gelu.default,
    aten.leaky_relu.default,
    aten.elu.default,
)
FIXED_RANGE: dict[Any, tuple[float, int]] = {
    aten.sigmoid.default: (1 / 256, -128),
    aten.hardsigmoid.default: (1 / 256, -128),
    aten.softmax.int: (1 / 256, -128),
    aten.tanh.default: (1 / 128, 0),
}
"""Operators whose output has this scale and zero point for any input."""

SOFTMAXES = (aten.softmax.int, aten.log_softmax.int)
CHANGES_SCORES = (*SUMS, *KEEPS_VALUES, aten.div.Tensor, aten.where.self)
"""Operators that scale, mask and reshape the scores of a softmax."""


class EdgeQuantizer(Quantizer):
    """Annotates a lowered graph for `prepare_pt2e` / `prepare_qat_pt2e` by the rules at the top of this file."""

    def __init__(self, ranges: Ranges = CALIBRATED, *, states: Collection[str] = ()) -> None:
        super().__init__()
        self._ranges = ranges
        self._states = frozenset(states)
        """Names of the inputs that are outputs of the previous frame's call."""
        self._sums_of_states: set[fx.Node] = set()
        self._scores: set[fx.Node] = set()
        """Nodes that only softmaxes use."""
        self._origins: dict[fx.Node, fx.Node] = {}
        """Nodes that pass int8 values on -> the node whose output was rounded to int8."""

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Annotates every node with int8 inputs or outputs; returns `model` itself."""
        self._scores = _scores(model.graph)
        for node in model.graph.nodes:
            annotation = self._annotation(node, model)
            node.meta[PASSES_ON] = node in self._origins
            if annotation is None:
                continue
            node.meta[ANNOTATION] = annotation
            if annotation.output_qspec is not None:
                self._origins[node] = node
        return model

    def validate(self, model: fx.GraphModule) -> None:
        """Raises RuntimeError for a convolution or linear layer that would stay float."""
        for node in model.graph.nodes:
            if node.target in WEIGHTED and ANNOTATION not in node.meta:
                raise RuntimeError(
                    f"{node.name} ({node.target}) would stay float: its weight is not a constant"
                )

    def _annotation(self, node: fx.Node, model: fx.GraphModule) -> QuantizationAnnotation | None:
        if not _is_float(node):
            return None
        if node.name in self._states or self._adds_to_state(node):
            return None
        if _prepares(node):
            ready = any(not _prepares(user) for user in node.users)
            return QuantizationAnnotation(output_qspec=self._ranges.edge) if ready else None
        if node.op != "call_function":
            return None
        inputs = [source for source in node.all_input_nodes if _is_float(source)]
        if self._passes_on(node, inputs) or self._attends(node, inputs):
            return None
        if node.target in WEIGHTED:
            return self._weighted(node, inputs, model)
        if node.target in CLAMPS and _ends_in_clamp(inputs[0]):
            return QuantizationAnnotation(output_qspec=self._output(node))
        if _is_partial_sum(node):
            return self._one_scale(node, inputs)
        if node.target in SUMS:
            output = None if _ends_in_clamp(node) else self._output(node)
            return QuantizationAnnotation(input_qspec_map=self._inputs(inputs), output_qspec=output)
        if node.target in ONE_SCALE or node.target in CLAMPS:
            return self._one_scale(node, inputs)
        if node.target in MEANS or node.target in CURVES:
            return QuantizationAnnotation(
                input_qspec_map=self._inputs(inputs), output_qspec=self._output(node)
            )
        if node.target in FIXED_RANGE:
            return QuantizationAnnotation(input_qspec_map=self._inputs(inputs), output_qspec=_fixed(node))
        return None

    def _adds_to_state(self, node: fx.Node) -> bool:
        """Whether `node` is a sum or a product with a state, or with such a sum, and so stays float."""
        found = node.target in SUMS and any(
            source.name in self._states or source in self._sums_of_states for source in node.all_input_nodes
        )
        if found:
            self._sums_of_states.add(node)
        return found

    def _passes_on(self, node: fx.Node, inputs: list[fx.Node]) -> bool:
        """Whether the results of `node` are int8 input values; records their origin."""
        if node.target not in KEEPS_VALUES and node.target is not aten.cat.default:
            return False
        origins = {self._origins.get(source) for source in inputs}
        if len(origins) == 1 and None not in origins:
            self._origins[node] = origins.pop()  # type: ignore[assignment]
        return node.target in KEEPS_VALUES or node in self._origins

    def _attends(self, node: fx.Node, inputs: list[fx.Node]) -> bool:
        """Whether `node` is the softmax of float scores, or scales or masks such scores."""
        in_softmax = node.target in SOFTMAXES or (node.target in SUMS and node in self._scores)
        return in_softmax and any(source not in self._origins for source in inputs)

    def _weighted(
        self, node: fx.Node, inputs: list[fx.Node], model: fx.GraphModule
    ) -> QuantizationAnnotation | None:
        source, weight = inputs[:2]
        if weight.op != "get_attr":
            return None
        dense = None if _is_depthwise(node) else self._ranges.dense
        read = {**self._inputs([source]), weight: dense or self._ranges.weight}
        if _only_moves_frames(node, model) and source in self._origins:
            self._origins[node] = self._origins[source]
            return QuantizationAnnotation(input_qspec_map=read)
        return QuantizationAnnotation(
            input_qspec_map=read, output_qspec=None if _ends_in_clamp(node) else self._output(node)
        )

    def _one_scale(self, node: fx.Node, inputs: list[fx.Node]) -> QuantizationAnnotation:
        """One scale for all inputs and outputs of `node`; its inputs are rounded to that scale directly."""
        roots = {source: self._root(source) for source in inputs}
        known = [root for root in self._origins if root in roots.values()]  # in the order of the graph
        leader: Any = known[0] if known else (inputs[0], node)
        read: dict[fx.Node, QuantizationSpecBase | None] = {}
        for source, root in roots.items():
            if root is None:
                is_leader = leader == (source, node)
                read[source] = self._ranges.activation if is_leader else SharedQuantizationSpec(leader)
            elif root is not leader:
                root.meta[ANNOTATION].output_qspec = SharedQuantizationSpec(leader)
        return QuantizationAnnotation(input_qspec_map=read, output_qspec=SharedQuantizationSpec(leader))

    def _root(self, node: fx.Node) -> fx.Node | None:
        """The node that determines the scale of `node`; None if that scale cannot be shared."""
        root = self._origins.get(node)
        while root is not None:
            spec = root.meta[ANNOTATION].output_qspec
            if not isinstance(spec, SharedQuantizationSpec):
                return root if spec is self._ranges.activation else None
            shared = spec.edge_or_node
            if not isinstance(shared, fx.Node):
                return None
            root = shared
        return None

    def _inputs(self, sources: list[fx.Node]) -> dict[fx.Node, QuantizationSpecBase | None]:
        """Specs of the inputs of a node, where they are not int8 already."""
        return {source: self._ranges.activation for source in sources if source not in self._origins}

    def _output(self, node: fx.Node) -> QuantizationSpecBase:
        gives_logits = any(user.op == "output" for user in node.users)
        return self._ranges.edge if gives_logits else self._ranges.activation


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _scores(graph: fx.Graph) -> set[fx.Node]:
    """Values that only softmaxes use, possibly scaled, masked and moved in between."""
    found: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.target in CHANGES_SCORES and all(
            user.target in SOFTMAXES or user in found for user in node.users
        ):
            found.add(node)
    return found


def _prepares(node: fx.Node) -> bool:
    """Whether `node` is a float input of the network, or one that constants have been added to or multiplied
    with."""
    if not _is_float(node) or node.op == "placeholder":
        return _is_float(node)
    computed = [source for source in node.all_input_nodes if source.op != "get_attr"]
    if len(computed) != 1 or not _prepares(computed[0]):
        return False
    return _is_with_constant(node) or (
        node.target in KEEPS_VALUES and any(map(_is_with_constant, node.users))
    )


def _is_with_constant(node: fx.Node) -> bool:
    """Whether `node` adds or multiplies a constant."""
    return node.target in SUMS and sum(source.op != "get_attr" for source in node.all_input_nodes) == 1


def _ends_in_clamp(node: fx.Node) -> bool:
    """Whether a clamp is the only user of this layer or sum, so that the two are one operator."""
    users = list(node.users)
    return node.target in (*WEIGHTED, *SUMS) and len(users) == 1 and users[0].target in CLAMPS


def _is_partial_sum(node: fx.Node) -> bool:
    """Whether `node` adds taps of a convolution and is itself added to another of them."""
    if node.target is not aten.add.Tensor or [user.target for user in node.users] != [aten.add.Tensor]:
        return False
    return all(_is_partial_sum(source) or _is_tap(source) for source in node.all_input_nodes)


def _is_tap(node: fx.Node) -> bool:
    """Whether `node` is a convolution without bias that has one user, possibly moved and reshaped."""
    while node.target in KEEPS_VALUES and len(node.users) == 1:
        node = node.all_input_nodes[0]
    has_bias = len(node.args) > 2 and node.args[2] is not None
    return node.target is aten.conv2d.default and not has_bias and len(node.users) == 1


def _is_depthwise(node: fx.Node) -> bool:
    """Whether a convolution has one group per output channel, of one input channel each."""
    weight: Any = node.args[1]
    outputs, inputs = weight.meta["val"].shape[:2]
    return len(node.args) > 6 and node.args[6] == outputs > inputs == 1


def _only_moves_frames(node: fx.Node, model: fx.GraphModule) -> bool:
    """Whether a convolution copies: no bias, constant weights, and one tap of weight 1 for every output channel."""
    buffers = dict(model.named_buffers())
    weight: Any = node.args[1]
    if node.target is not aten.conv2d.default or weight.target not in buffers:
        return False
    has_bias = len(node.args) > 2 and node.args[2] is not None
    taps = buffers[weight.target].flatten(1)
    return not has_bias and bool(((taps == 0) | (taps == 1)).all() and (taps.sum(1) == 1).all())


def _fixed(node: fx.Node) -> FixedQParamsQuantizationSpec:
    scale, zero_point = FIXED_RANGE[node.target]
    return FixedQParamsQuantizationSpec(
        dtype=torch.int8,
        scale=scale,
        zero_point=zero_point,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
    )
