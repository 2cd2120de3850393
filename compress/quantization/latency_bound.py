"""The bounds `max_latency_ms` and `max_latency`: the most sensitive layers in float that the latency allows.

A layer in float costs its own kernel, the conversions at its borders and fusions on both sides, so that costs of
single layers do not add up. The file is written and measured after every change, interleaved with the float file.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from compress.command.progress import bar
from compress.quantization.float_search import FloatSearch
from compress.timed_files import TimedFiles, remembered
from export.capture.graph import capture
from export.files import Variant

PATIENCE = 5
"""Number of layers in a row that do not fit after which the search ends."""


def most_that_fit(
    order: Sequence[str], cost: Callable[[list[str]], float], limit: float, *, patience: int = PATIENCE
) -> list[str]:
    """The names of `order` that are kept: each in turn, if the `cost` of all that are kept is at most `limit`.

    Ends after `patience` names in a row that do not fit.

    >>> ms = {"a": 3.0, "b": 9.0, "c": 1.0}
    >>> most_that_fit("abc", lambda names: sum(map(ms.get, names)), 5.0)
    ['a', 'c']
    """
    kept: list[str] = []
    missed = 0
    for name in order:
        if cost([*kept, name]) <= limit:
            kept.append(name)
            missed = 0
        else:
            missed += 1
            if missed == patience:
                break
    return kept


def while_fast(search: FloatSearch, config: Any) -> dict[str, str]:
    """The first layers in order with which the measured file meets `max_latency_ms`, or `max_latency`."""
    files = _Files(search, config)
    by_share = config.max_latency is not None
    key, limit = (
        ("max_latency", config.max_latency) if by_share else ("max_latency_ms", config.max_latency_ms)
    )
    limit_ms = limit * files.float_ms if by_share else limit
    where = f"{files.runtime} on {files.device}"
    if files.float_ms <= limit_ms:
        raise ValueError(
            f"{key} {limit:g} is met without int8: the float file takes {files.float_ms:.3f} ms in {where}; "
            "lower it, or remove the stage"
        )
    chosen = search.chosen
    reasons: dict[str, str] = {}
    ranks = {name: rank for rank, name in enumerate(search.order, start=1)}
    with bar(search.context.console, "quantize: latency with layers in float", unit=" files") as report:
        report(0, len(ranks))
        least = files.ms(chosen)
        search.drop_pp(chosen, latency_ms=least)
        if least > limit_ms:
            raise ValueError(
                f"{key} {limit:g} cannot be met: with {len(chosen)} layers in float, the int8 file takes "
                f"{least:.3f} ms in {where}, the float file {files.float_ms:.3f} ms; allow more, or prune before"
            )

        def cost(names: list[str]) -> float:
            kept, name = [*chosen, *names], names[-1]
            report(ranks[name] - 1, len(ranks))
            if not search.graph.rounds(kept):
                return float("inf")
            found = files.ms(kept)
            search.drop_pp(kept, changed=name, into="float", latency_ms=found)
            if found <= limit_ms:
                reasons[name] = f"{key}: rank {ranks[name]} by sensitivity; {found:.3f} ms with it"
            return found

        most_that_fit(search.order, cost, limit_ms)
    search.notes.append(
        f"latency of w8a8 files in {where}, one thread: at most {limit_ms:.3f} ms, the float file takes "
        f"{files.float_ms:.3f} ms"
    )
    tried = {one.changed for one in search.trials}
    if left := [name for name in search.order if name not in tried]:
        search.notes.append(
            f"{len(left)} layers were not measured in float: {PATIENCE} before them did not fit, or nothing "
            "else is int8"
        )
    return reasons


class _Files:
    """The latency of int8 files with some layers in float, by that of the float file in the same rounds."""

    def __init__(self, search: FloatSearch, config: Any) -> None:
        networks = search.networks
        self._networks, self._cache, self._name = networks, search.context.cache, config.runtime
        self._example = networks.spec.example()
        floats = capture(networks.model, self._example)
        self._float_code = floats.graph_module.code
        self._timed = TimedFiles(
            Variant(scheme="fp32", program=floats),
            networks.spec,
            runtime=config.runtime,
            device=None,
            seed=search.context.seed,
            stage="quantize",
            instead="choose another runtime, or the bound max_size_bytes",
        )
        self.float_ms, self.runtime, self.device = (
            self._timed.p50_ms,
            self._timed.runtime,
            self._timed.device,
        )

    def ms(self, names: Sequence[str]) -> float:
        """The median latency with the layers `names` in float."""
        single = self._networks.single
        parts = {
            "graphs": [self._float_code, single.code],
            "shapes": {name: list(value.shape) for name, value in single.state_dict().items()},
            "inputs": [list(one.shape) for one in self._example],
            "float_layers": sorted(names),
            "runtime": [self._name, self.runtime],
            "device": self._timed.device,
        }
        (share,) = remembered(self._cache, parts, lambda: self._timed.shares([self._variant(names)]))
        return float(share) * self.float_ms

    def _variant(self, names: Sequence[str]) -> Variant:
        from export.quantize.int8_reference import convert
        from export.quantize.mixed_precision import keep_float

        graph = copy.deepcopy(self._networks.single)
        keep_float(graph, names)
        return Variant(scheme="w8a8", program=torch.export.export(convert(graph), self._example))
