"""Brings features of different networks to one grid of positions.

Features are `N C`, `N C L`, `N C H W` or `N C T H W` (`compress.features`).
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from compress.distillation.loss import Size


def pooled(feature: Tensor) -> Tensor:
    """The mean over all positions, `N C`."""
    return feature.flatten(2).mean(2) if feature.dim() > 2 else feature


def same_grid(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both features with the same positions.

    Every axis is averaged down to the smaller of the two sizes (adaptive average pooling, as in the official code
    of attention transfer), so nothing is interpolated. Frames beside a clip: the clip is averaged over time.
    Features whose axes have no counterpart, such as tokens `N C L` beside a map, are averaged over all positions.
    """
    if {student.dim(), teacher.dim()} == {4, 5}:
        student, teacher = (x.mean(2) if x.dim() == 5 else x for x in (student, teacher))
    if student.dim() != teacher.dim():
        return pooled(student), pooled(teacher)
    grid = [min(pair) for pair in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    return _averaged(student, grid), _averaged(teacher, grid)


def has_common_positions(student: Size, teacher: Size) -> bool:
    """Whether `same_grid` leaves more than one mean for two sizes `C ...`."""
    lengths = {len(student), len(teacher)}
    return min(lengths) > 1 and (len(lengths) == 1 or lengths == {3, 4})


def _averaged(feature: Tensor, grid: list[int]) -> Tensor:
    if list(feature.shape[2:]) == grid:
        return feature
    pool: Any = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[len(grid)]
    return pool(feature, grid)
