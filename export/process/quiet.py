"""Suppresses messages of libraries on the terminal of a command."""

from __future__ import annotations

import logging
import warnings


def silence_libraries() -> None:
    """Suppresses warnings of libraries about their internals, which no user can act on."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")
    # torch.export checks LSTM and GRU layers, which also keep their weights in a list.
    warnings.filterwarnings("ignore", message=r"The tensor attributes? .*_flat_weights")
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
