"""The record of a stage, stored with its result and included in the report."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, with_config

# Pydantic takes TypedDict from typing_extensions only, before Python 3.12.
from typing_extensions import TypedDict


@with_config(ConfigDict(use_attribute_docstrings=True, extra="allow"))
class StageRecord(TypedDict):
    """Record of one stage."""

    name: str
    """The verb, or `teacher`."""
    path: str
    """Place in the recipe: `stages.0.distill`, or `teacher`."""
    seconds: float
    """Elapsed time, in the run that executed it."""
    cpu_seconds: NotRequired[float | None]
    """Processor time of all threads and child processes."""
    busy: NotRequired[str | None]
    """Message if other programs loaded the machine meanwhile, so that `seconds` is less meaningful; else null."""
    cached: NotRequired[bool]
    """Whether the result is from an earlier run."""
    threads: NotRequired[Annotated[int, Field(ge=0)]]
    """Number of torch threads; another number changes the rounding of sums, and therefore the weights."""
    before: dict[str, Any]
    after: dict[str, Any]
    """`top1`, `parameters`, `macs` and `tasks`, each as in `models`; `correct`, the number of correctly classified
    test clips by label column; for `distill` with `baseline: true`, `labels_only_top1` and `labels_only_correct`,
    those of the same student trained on the labels alone; for `prune`, `pruning`, what was asked and reached; for a
    teacher with `weighting: uncertainty`, `task_weights`, the learned weight of every task; for `quantize`, where
    asked for, `sensitivity`, the cost of int8 in every layer, and `mixed_precision`, the layers in float with their
    reasons and the trials of the search."""
    config: NotRequired[dict[str, Any]]
    weights_sha256: NotRequired[str]
    """SHA-256 of all weights after the stage; equal hashes mean equal networks."""
    curve: NotRequired[list[dict[str, float | None]]]
    """One row per epoch of a training stage."""
    notes: NotRequired[list[str]]
