"""Outputs of a teacher on disk: one file per teacher and view, with one record of fp16 numbers per clip.

The file is memory-mapped, so that a training keeps only the records of its batch in memory. A record has all logits
of a label column, or its `top_k` largest probabilities with their classes and the mean probability of the others.

Source: Shen & Xing 2022, "A Fast Knowledge Distillation Framework for Visual Recognition", section 3.3 (marginal
smoothing); Wu et al. 2022, "TinyViT", section 3.1 (sparse logits).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compress.criterion import Outputs

_LARGEST = float(np.finfo(np.float16).max)
_WHOLE, _TOP, _CLASSES, _OTHERS, _FEATURE = "logits", "top", "classes", "others", "feature"


@dataclass(frozen=True, kw_only=True)
class RecordShape:
    """What a record holds."""

    classes: tuple[int, ...]
    """Number of classes of each label column."""
    top_k: int | None = None
    """Number of stored classes of each column; a column of no more classes is stored whole, as are all by
    default."""
    features: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shape of each feature of one clip."""

    def is_whole(self, column: int) -> bool:
        """Whether all logits of a label column are stored."""
        return self.top_k is None or self.classes[column] <= self.top_k

    @property
    def dtype(self) -> np.dtype:
        """The structured type of a record."""
        fields: list[tuple[str, object, tuple[int, ...]]] = []
        for column, count in enumerate(self.classes):
            if self.is_whole(column):
                fields.append((f"{_WHOLE}{column}", np.float16, (count,)))
                continue
            assert self.top_k is not None
            fields += [
                (f"{_TOP}{column}", np.float16, (self.top_k,)),
                (f"{_CLASSES}{column}", np.min_scalar_type(count - 1), (self.top_k,)),
                (f"{_OTHERS}{column}", np.float16, ()),
            ]
        fields += [(f"{_FEATURE}{k}", np.float16, shape) for k, shape in enumerate(self.features.values())]
        return np.dtype(fields)

    def records(self, outputs: Outputs) -> np.ndarray:
        """Outputs of N clips as `N` records. Raises `ValueError` for values outside the range of fp16."""
        found = np.zeros(len(outputs.logits[0]), self.dtype)
        for column, logits in enumerate(outputs.logits):
            if self.is_whole(column):
                found[f"{_WHOLE}{column}"] = _half(logits, "logits")
                continue
            assert self.top_k is not None
            logarithms = logits.double().log_softmax(1)
            top, chosen = logarithms.topk(self.top_k, dim=1)
            others = logarithms.scatter(1, chosen, -torch.inf).logsumexp(1)
            share = others - np.log(self.classes[column] - self.top_k)
            found[f"{_TOP}{column}"] = _half(top, "logarithms of probabilities")
            found[f"{_CLASSES}{column}"] = chosen.numpy()
            found[f"{_OTHERS}{column}"] = _half(share, "logarithms of probabilities")
        for k, name in enumerate(self.features):
            found[f"{_FEATURE}{k}"] = _half(outputs.features[name], f"values of the feature {name}")
        return found

    def outputs(self, records: np.ndarray, *, device: torch.device) -> Outputs:
        """The outputs that records hold, float32.

        Of a column stored in part, the logits are the logarithms of the probabilities, equal for all other classes.
        """

        def read(name: str) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(records[name], np.float32)).to(device)

        columns = []
        for column, count in enumerate(self.classes):
            if self.is_whole(column):
                columns.append(read(f"{_WHOLE}{column}"))
                continue
            chosen = torch.from_numpy(records[f"{_CLASSES}{column}"].astype(np.int64)).to(device)
            others = read(f"{_OTHERS}{column}").unsqueeze(1).repeat(1, count)
            columns.append(others.scatter(1, chosen, read(f"{_TOP}{column}")))
        features = {name: read(f"{_FEATURE}{k}") for k, name in enumerate(self.features)}
        return Outputs(logits=tuple(columns), features=features)

    def kept(self, records: np.ndarray) -> Iterator[tuple[int, float, float]]:
        """For each column stored in part: its index, and mean and minimum of the stored probability of a clip."""
        for column in range(len(self.classes)):
            if not self.is_whole(column):
                mass = np.exp(records[f"{_TOP}{column}"].astype(np.float64)).sum(1)
                yield column, float(mass.mean()), float(mass.min())


def _half(values: Tensor, what: str) -> np.ndarray:
    largest = float(values.abs().max()) if prod(values.shape) else 0.0
    if largest > _LARGEST:
        raise ValueError(
            f"the teacher gives {what} of up to {largest:.3g}; they are stored in fp16, whose largest number is "
            f"{_LARGEST:g}: scale the outputs of the teacher"
        )
    return values.cpu().numpy().astype(np.float16)


@dataclass(frozen=True, kw_only=True)
class CachedOutputs:
    """Outputs of a teacher for all clips of a split under one view, read from disk batch by batch."""

    records: np.ndarray
    """Memory-mapped records, one per clip."""
    shape: RecordShape

    @classmethod
    def open(cls, path: Path, shape: RecordShape, *, clips: int) -> CachedOutputs:
        """Maps a file of records. Raises `ValueError` if it is too short for that many clips."""
        return cls(records=np.memmap(path, shape.dtype, mode="r", shape=(clips,)), shape=shape)

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.records)

    def of(self, clips: Sequence[int], *, device: torch.device) -> Outputs:
        """The outputs for some of the clips, on the device."""
        return self.shape.outputs(self.records[list(clips)], device=device)
