"""Passes of coremltools that store weights in another form, as part of the one conversion.

`coremltools.optimize.coreml` applies them to a converted model, which it converts again with the default passes;
one of these fails on networks that normalise their input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coremltools import PassPipeline


def compress_weights(passes: PassPipeline, name: str, config: Any) -> None:
    """Adds the pass `compression::<name>` for all weights; `config` is one of `coremltools.optimize.coreml`."""
    import coremltools.optimize.coreml as optimize

    passes.append_pass(f"compression::{name}")
    passes.set_options(f"compression::{name}", {"config": optimize.OptimizationConfig(global_config=config)})
