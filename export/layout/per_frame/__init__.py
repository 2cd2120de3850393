"""Per-frame form: a lowered float network in which every frame of a clip is a separate tensor, `(1, C, H, W)`.

Temporal operators then need no copy, transpose or padding: an output frame is the sum of convolutions over its
input frames, and taps that would only read zeros are omitted. ONNX Runtime keeps such values in its blocked layout
(NCHWc) from the first convolution to the last and adds them inside the convolution kernels; with frames in the
batch axis every temporal shift leaves that layout. The cost is more nodes, about frames x taps per layer; weights
are stored once (dense kernels of three taps as four, see `winograd`).

`rewrite` traverses the lowered graph, `frames` holds a value per frame, `rules` and `mixing` define how each
operator is written, `blocked` and `aligned` keep the result in the blocked layout; a `Style` holds the differences
between runtimes (`export.layout.stream_order` has XNNPACK's), `onnxruntime` has the one described here.
"""

from export.layout.per_frame.onnxruntime import to_per_frame

__all__ = ["to_per_frame"]
