"""The form that ONNX Runtime's integer kernels run fastest for networks with temporal operators.

The kernels are fast if a convolution does much work per output value, since rounding a result costs as much as
several products; if channels are multiples of the kernels' block; and if nothing is transposed. So a depthwise
kernel over space and time is one convolution here, not a sum over its input frames, the first convolution of a
network reads planes gathered at once, and linear layers over tokens multiply matrices.

    bare -> recognise -> taps, gathered -> rounded -> rows, gathered, flat

`bare`, `recognise` and `rounded` are those of `export.layout.stream_order`.
"""

from export.layout.tap_fusion.program import lower

__all__ = ["lower"]
