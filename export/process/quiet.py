"""Keeps libraries from talking about themselves on the terminal of a command."""

from __future__ import annotations

import logging
import warnings


def silence_libraries() -> None:
    """Drops remarks of libraries about their own insides, which no user can act on."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")
    # torch.export looks at LSTM and GRU layers, which keep their weights in a list besides.
    warnings.filterwarnings("ignore", message=r"The tensor attributes? .*_flat_weights")
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
