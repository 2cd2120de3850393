"""The form that XNNPACK runs fastest, in ExecuTorch and LiteRT, float and int8: per frame, in stream order.

XNNPACK has no 3D operators, and moving frames in the batch axis takes it as long as a convolution. Here every frame
of a clip is a separate tensor, as in `export.layout.per_frame`, so moving frames is free; and the operators are in
the order of a stream of frames, so the next layer reads the output of a layer while it is still in the cache. The
numbers are exactly those of the program, int8 rounding included.

It pays where depthwise or temporal convolutions mix frames between layers whose weights are small compared with
their frames, since the convolution of every frame packs its weights separately. The rest of the program is not
changed.

    bare -> recognise -> choose -> rewrite (`export.layout.per_frame`, with the rules here) -> rounded -> in_order
"""

from export.layout.stream_order.program import stream

__all__ = ["stream"]
