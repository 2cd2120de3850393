"""Insides of LiteRT."""

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
    """Runs the graph of one `signature`, whose tensors `inputs` and `outputs` are.

    The signature's own call allocates all tensors anew in every inference, and the interpreter's own methods know
    the first graph of a file alone: here is called what both of them call.
    """
    library, graph = _inside.of(interpreter, "_interpreter"), _inside.of(signature, "_subgraph_index")
    library.AllocateTensors(graph)

    def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        for index, array in zip(inputs, arrays, strict=True):
            library.SetTensor(index, array, graph)
        library.Invoke(graph)
        return [library.GetTensor(index, graph) for index in outputs]

    return run
