"""Published sizes of students, which the documentation compares with those of this project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published network: a row of `models.STUDENTS`, its options and clip, and the figures."""

    network: str
    frames: int
    size: int
    classes: int
    parameters: float
    macs: float
    """Multiply-adds for one clip."""
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""
    """Reason for a difference, if any."""


_KOEPUEKLUE = "Köpüklü et al. 2019, table 8"
_WITH_BATCHNORM = "the table includes the operations of BatchNorm"

PUBLISHED: tuple[Published, ...] = (
    Published(
        network="mobilenet3d_v1",
        frames=16,
        size=112,
        classes=600,
        parameters=3.91e6,
        macs=241e6,
        source=_KOEPUEKLUE,
        remark=_WITH_BATCHNORM,
    ),
    Published(
        network="mobilenet3d",
        frames=16,
        size=112,
        classes=600,
        parameters=3.12e6,
        macs=561e6,
        source=_KOEPUEKLUE,
        remark=_WITH_BATCHNORM,
    ),
    Published(
        network="mobilenet3d_v3",
        options={"kernel_frames": 1},
        frames=1,
        size=224,
        classes=1000,
        parameters=5.48e6,
        macs=217e6,
        source="MobileNetV3-Large, authors' model zoo; parameters: torchvision",
        remark="its 2D form; no 3D form is published",
    ),
    Published(
        network="shufflenet3d",
        frames=16,
        size=112,
        classes=600,
        parameters=1.91e6,
        macs=195e6,
        source=_KOEPUEKLUE,
        remark=_WITH_BATCHNORM,
    ),
    Published(
        network="x3d_xs",
        frames=4,
        size=160,
        classes=400,
        parameters=3.76e6,
        macs=0.60e9,
        source="Feichtenhofer 2020; MACs: author's model zoo",
    ),
    Published(
        network="x3d_s",
        frames=13,
        size=160,
        classes=400,
        parameters=3.76e6,
        macs=1.96e9,
        source="Feichtenhofer 2020; MACs: author's model zoo",
    ),
    Published(
        network="x3d_m",
        frames=16,
        size=224,
        classes=400,
        parameters=3.76e6,
        macs=4.73e9,
        source="Feichtenhofer 2020; MACs: author's model zoo",
    ),
    Published(
        network="tsm",
        frames=8,
        size=224,
        classes=1000,
        parameters=3.50e6,
        macs=8 * 300e6,
        source="MobileNetV2 for every frame: Sandler et al. 2018, table 4; parameters: torchvision",
    ),
    Published(
        network="movinet_a0",
        options={"factorised": False},
        frames=50,
        size=172,
        classes=600,
        parameters=3.1e6,
        macs=2.7e9,
        source="Kondratyuk et al. 2021; MACs: authors' model zoo",
    ),
    Published(
        network="movinet_a1",
        options={"factorised": False},
        frames=50,
        size=172,
        classes=600,
        parameters=4.6e6,
        macs=6.0e9,
        source="Kondratyuk et al. 2021; MACs: authors' model zoo",
    ),
    Published(
        network="movinet_a2",
        options={"factorised": False},
        frames=50,
        size=224,
        classes=600,
        parameters=4.8e6,
        macs=10.3e9,
        source="Kondratyuk et al. 2021; MACs: authors' model zoo",
        remark="the channels of the authors' code, which do not reproduce their figures",
    ),
)
"""Published sizes of all students that have them."""
