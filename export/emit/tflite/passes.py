"""The passes between translation and serialization, in order."""

from __future__ import annotations

from export.emit.tflite.delegated import clamp_by_product, repeat_by_sum
from export.emit.tflite.graph import Graph
from export.emit.tflite.integers import use_integers
from export.emit.tflite.narrow import lengthen_rows
from export.emit.tflite.padding import pad_max_pools
from export.emit.tflite.tidy import absorb_transpose, fuse_clamps, merge_reshapes, share
from export.emit.tflite.weights import store_as_float16, use_int4


def run_passes(graph: Graph, *, scheme: str) -> None:
    """Rewrites a translated graph in place into the form that the runtime runs fast."""
    fuse_clamps(graph)
    lengthen_rows(graph)
    merge_reshapes(graph)
    use_integers(graph)
    pad_max_pools(graph)
    fuse_clamps(graph)
    clamp_by_product(graph)
    repeat_by_sum(graph)
    merge_reshapes(graph)
    absorb_transpose(graph)
    if scheme == "fp16":
        store_as_float16(graph)
    elif scheme == "w4":
        use_int4(graph)
    share(graph)
