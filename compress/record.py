"""What a stage did: kept beside its result, and told in the report."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import ConfigDict, Field, with_config

# Pydantic takes TypedDict from typing_extensions only, before Python 3.12.
from typing_extensions import TypedDict


@with_config(ConfigDict(use_attribute_docstrings=True, extra="allow"))
class StageRecord(TypedDict):
    """What one stage did."""

    name: str
    """The verb, or `teacher`."""
    path: str
    """Place in the recipe: `stages.0.distill`, or `teacher`."""
    seconds: float
    """Time that the work took, in the run that did it."""
    cpu_seconds: NotRequired[float | None]
    """Processor time within `seconds`, of all threads and of child processes."""
    busy: NotRequired[str | None]
    """A sentence if other programs kept the machine busy meanwhile, so that `seconds` says less; else null."""
    cached: NotRequired[bool]
    """Whether this run took the result from an earlier one."""
    threads: NotRequired[Annotated[int, Field(ge=0)]]
    """Of torch, while the stage was made; another number rounds sums otherwise, and gives other weights."""
    before: dict[str, Any]
    after: dict[str, Any]
    """`top1`, `parameters`, `macs` and `tasks`, each as in `models`; `correct`, how many test clips are right, by
    label column; of a `distill` with `baseline: true`, `labels_only_top1` and `labels_only_correct`, the same of
    the same student trained on the labels alone; `task_weights`, of a teacher with `weighting: uncertainty`, the
    learned weight of every task."""
    config: NotRequired[dict[str, Any]]
    weights_sha256: NotRequired[str]
    """Over all weights that the stage gave; equal hashes are equal networks."""
    curve: NotRequired[list[dict[str, float | None]]]
    """One row per epoch of a training stage."""
    notes: NotRequired[list[str]]
