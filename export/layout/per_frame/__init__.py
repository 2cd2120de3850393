"""Frames apart: a lowered float network in which every frame of a clip is a tensor of its own, `(1, C, H, W)`.

What mixes frames then needs no copy, no transpose and no padding at all: an output frame is the sum of convolutions
over the frames that it sees, and taps that would only read zeros are not there. ONNX Runtime keeps such values in
its blocked layout (NCHWc) from the first convolution to the last and adds them up inside the convolution kernels;
with frames in the batch axis every move in time leaves that layout. The price is more nodes, about frames x taps
per layer; weights are stored once (dense kernels of three taps as four, see `winograd`).

`walk` goes through the lowered graph, `frames` holds a value apart, `rules` and `mixing` say how each operator is
written, `blocked` and `aligned` keep the result in the blocked layout; a `Style` is what differs between runtimes
(`export.layout.stream_order` has XNNPACK's), `onnxruntime` has the one described here.
"""

from export.layout.per_frame.onnxruntime import frames_apart

__all__ = ["frames_apart"]
