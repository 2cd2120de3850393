"""The form in which ONNX Runtime's integer kernels run networks that mix frames.

They are fast where one convolution does much for each value that it writes, since rounding a result costs as much
as several products; where channels are multiples of those that they take at once; and where nothing has to be
transposed. So a depthwise kernel over space and time is one convolution here, not a sum of one for each frame that
it sees, the first convolution of a network reads planes gathered in one go, and linear layers over tokens multiply
matrices.

    bare -> recognise -> taps, gathered -> rounded -> rows, gathered, flat

`bare`, `recognise` and `rounded` are those of `export.layout.stream_order`.
"""

from export.layout.tap_fusion.program import lower

__all__ = ["lower"]
