"""Which values of a lowered graph are int8, and which of them share one scale: the rules of scheme `w8a8`.

Weights of convolutions and linear layers: int8 per output channel, symmetric, -127..127. Activations: int8 per
tensor, affine, -128..127. Biases stay float here; backends store them as int32 with scale (input * weight).

What XNNPACK, ONNX Runtime and TensorFlow Lite all run decides the rest:

- A clamp (ReLU, ReLU6, ...) behind a convolution, linear layer or sum is part of it: only the clamped value is int8.
- Reshapes, permutations, slices, pooling and concatenation keep the scale of what they read, as their integer
  kernels demand. So does a convolution that only moves frames (one-hot taps): a copy with one scale on both sides
  is exact in int8.
- Hard-swish, SiLU and other curves read int8 and write int8 and are computed in float in between: TensorFlow Lite
  has integer kernels for them, XNNPACK has not, and a float convolution before them would cost more. Sigmoid,
  hard-sigmoid, softmax and tanh have the fixed output scales that TensorFlow Lite prescribes.
- The network's float inputs and its logits are int8 too, with ranges that hold everything seen: logits in int8 add
  far less noise than the layers before them, and the whole network stays one integer partition.
- Everything else (LayerNorm, attention, recurrences) stays float.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torchao.quantization.pt2e.fake_quantize import FusedMovingAvgObsFakeQuantize
from torchao.quantization.pt2e.observer import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    QuantizationSpecBase,
    Quantizer,
    SharedQuantizationSpec,
)

aten = torch.ops.aten

ANNOTATION = "quantization_annotation"
"""Key of a node's meta under which PT2E looks for its annotation."""

WEIGHTED = (aten.conv1d.default, aten.conv2d.default, aten.linear.default)
SUMS = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor)
CLAMPS = (aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.clamp.default, aten.clamp_min.default)
SAME_SCALE = (
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
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default,
    aten.pad.default,
    aten.constant_pad_nd.default,
    aten.upsample_nearest2d.vec,
)
MEANS = (aten.mean.dim,)
CURVES = (
    aten.hardswish.default,
    aten.silu.default,
    aten.gelu.default,
    aten.leaky_relu.default,
    aten.elu.default,
)
FIXED_RANGE = {
    aten.sigmoid.default: (1 / 256, -128),
    aten.hardsigmoid.default: (1 / 256, -128),
    aten.softmax.int: (1 / 256, -128),
    aten.tanh.default: (1 / 128, 0),
}
"""Operators whose output has this scale and zero point, whatever they read."""


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """How ranges are found: `activation` inside the network, `edge` at its inputs and outputs, and `weight`."""

    activation: QuantizationSpec
    edge: QuantizationSpec
    weight: QuantizationSpec


def _int8(observer: Any, *, per_channel: bool = False) -> QuantizationSpec:
    if per_channel:
        return QuantizationSpec(
            dtype=torch.int8,
            quant_min=-127,
            quant_max=127,
            qscheme=torch.per_channel_symmetric,
            ch_axis=0,
            observer_or_fake_quant_ctr=observer,
        )
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=observer,
    )


CALIBRATED = Ranges(
    activation=_int8(HistogramObserver),
    edge=_int8(MinMaxObserver),
    weight=_int8(PerChannelMinMaxObserver, per_channel=True),
)
"""Post-training: ranges of activations with the least squared error on the calibration clips."""

TRAINED = Ranges(
    activation=_int8(FusedMovingAvgObsFakeQuantize.with_args(observer=MovingAverageMinMaxObserver)),
    edge=_int8(FusedMovingAvgObsFakeQuantize.with_args(observer=MovingAverageMinMaxObserver)),
    weight=_int8(
        FusedMovingAvgObsFakeQuantize.with_args(
            observer=MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0
        ),
        per_channel=True,
    ),
)
"""Quantization-aware training: fake quantization with moving averages of the extremes, weights as they are now."""


class EdgeQuantizer(Quantizer):
    """Annotates a lowered graph for `prepare_pt2e` / `prepare_qat_pt2e` by the rules at the top of this file."""

    def __init__(self, ranges: Ranges = CALIBRATED) -> None:
        super().__init__()
        self._ranges = ranges

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Writes the annotation of every node that reads or gives int8; `model` itself is returned."""
        for node in model.graph.nodes:
            annotation = self._annotation(node, model)
            if annotation is not None:
                annotation._annotated = True
                node.meta[ANNOTATION] = annotation
        return model

    def validate(self, model: fx.GraphModule) -> None:
        """Raises RuntimeError for a convolution or linear layer that would stay float."""
        for node in model.graph.nodes:
            if node.target in WEIGHTED and ANNOTATION not in node.meta:
                raise RuntimeError(f"{node.name} ({node.target}) would stay float: its weight is not a constant")

    def _annotation(self, node: fx.Node, model: fx.GraphModule) -> QuantizationAnnotation | None:
        if node.op == "placeholder":
            return QuantizationAnnotation(output_qspec=self._ranges.edge) if _is_float(node) else None
        if node.op != "call_function" or not _is_float(node):
            return None
        inputs: list[fx.Node] = [n for n in node.all_input_nodes if _is_float(n)]
        spec = self._output(node)
        if node.target in WEIGHTED:
            weight = node.args[1]
            if weight.op != "get_attr":
                return None
            read = {inputs[0]: self._input(inputs[0]), weight: self._ranges.weight}
            if _only_moves_frames(node, model):
                spec = SharedQuantizationSpec((inputs[0], node))
            return QuantizationAnnotation(input_qspec_map=read, output_qspec=None if _clamped(node) else spec)
        if node.target in SUMS:
            read = {n: self._input(n) for n in inputs}
            return QuantizationAnnotation(input_qspec_map=read, output_qspec=None if _clamped(node) else spec)
        if node.target in CLAMPS:
            if _clamped(inputs[0]):
                return QuantizationAnnotation(output_qspec=spec)
            return self._shared(node, inputs)
        if node.target in SAME_SCALE or node.target is aten.cat.default:
            return self._shared(node, inputs)
        if node.target in (*MEANS, *CURVES):
            return QuantizationAnnotation(input_qspec_map={inputs[0]: self._input(inputs[0])}, output_qspec=spec)
        if node.target in FIXED_RANGE:
            scale, zero_point = FIXED_RANGE[node.target]
            fixed = FixedQParamsQuantizationSpec(
                dtype=torch.int8,
                scale=scale,
                zero_point=zero_point,
                quant_min=-128,
                quant_max=127,
                qscheme=torch.per_tensor_affine,
            )
            return QuantizationAnnotation(input_qspec_map={inputs[0]: self._input(inputs[0])}, output_qspec=fixed)
        return None

    def _shared(self, node: fx.Node, inputs: list[fx.Node]) -> QuantizationAnnotation:
        """One scale for everything `node` reads and gives: that of its first input."""
        first, *others = inputs
        share: QuantizationSpecBase = SharedQuantizationSpec((first, node))
        read = {first: self._input(first), **dict.fromkeys(others, share)}
        return QuantizationAnnotation(input_qspec_map=read, output_qspec=share)

    def _input(self, node: fx.Node) -> QuantizationSpec:
        return self._ranges.edge if node.op == "placeholder" else self._ranges.activation

    def _output(self, node: fx.Node) -> QuantizationSpecBase:
        gives_logits = any(user.op == "output" for user in node.users)
        return self._ranges.edge if gives_logits else self._ranges.activation


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _clamped(node: fx.Node) -> bool:
    """Whether a clamp is the only reader of this layer or sum, so that the two are one operator."""
    users = list(node.users)
    return node.target in (*WEIGHTED, *SUMS) and len(users) == 1 and users[0].target in CLAMPS


def _only_moves_frames(node: fx.Node, model: fx.GraphModule) -> bool:
    """Whether a convolution copies: no bias, and one tap of weight 1 for every output channel."""
    if node.target is not aten.conv2d.default or (len(node.args) > 2 and node.args[2] is not None):
        return False
    weight = model.get_buffer(node.args[1].target) if _is_buffer(node.args[1], model) else None
    return weight is not None and bool(((weight == 0) | (weight == 1)).all() and (weight.flatten(1).sum(1) == 1).all())


def _is_buffer(node: fx.Node, model: fx.GraphModule) -> bool:
    return node.target in dict(model.named_buffers())
