"""Private APIs of LiteRT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compress.command.insides import Insides

WRITTEN_FOR = {"ai-edge-litert": "2.3.0"}

_inside = Insides(WRITTEN_FOR, __name__)


def runner(
    interpreter: Any, signature: Any, *, inputs: Sequence[int], outputs: Sequence[int]
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """Returns a function that runs the graph of one `signature` with the tensors `inputs` and `outputs`.

    The signature's own call reallocates all tensors in every inference, and the methods of the interpreter support
    only the first graph of a file; this function calls the implementation of both.
    """
    library, graph = _inside.of(interpreter, "_interpreter"), _inside.of(signature, "_subgraph_index")
    library.AllocateTensors(graph)

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        for index, array in zip(inputs, arrays, strict=True):
            library.SetTensor(index, array, graph)
        library.Invoke(graph)
        return [library.GetTensor(index, graph) for index in outputs]

    return run
