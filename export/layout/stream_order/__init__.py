"""The form that XNNPACK runs fastest, in ExecuTorch and LiteRT, float and int8: frames apart, one after the other.

XNNPACK has no 3D operators, and what moves frames in the batch axis costs it as much as a convolution. Here every
frame of a clip is a tensor of its own, as in `export.layout.per_frame`, so that moving frames is no work at all;
and the operators stand in the order in which a stream of frames would need them, so that what one layer writes the
next reads while it is still in the cache. The numbers stay exactly those of the program, int8 roundings included.

It pays where frames are mixed by depthwise or temporal convolutions between layers whose weights are small beside
their frames, since every frame's convolution packs weights of its own; the rest stays as it is.

    bare -> recognise -> choose -> walk (`export.layout.per_frame`, with the rules here) -> rounded -> in_order
"""

from export.layout.stream_order.program import stream

__all__ = ["stream"]
