"""Arrays of inputs for calibration and parity: read from the user's file and checked, or random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from compress.folders.writing import naming
from export.manifest import TensorInfo

RANDOM: Final = "random"
"""Value that a user gives instead of a file for random inputs."""

RANDOM_COUNT = 16

_COARSE = 5
"""Random inputs are interpolated from this many values per axis: neighbouring pixels are similar, as in images."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """N inputs of a network."""

    arrays: Mapping[str, np.ndarray]
    """`N x shape` per input, in the order of the network's arguments."""
    source: str
    """Origin of the inputs, for messages."""

    @property
    def count(self) -> int:
        """N."""
        return len(next(iter(self.arrays.values())))

    def tensors(self, index: int) -> tuple[Tensor, ...]:
        """The inputs of one sample."""
        return tuple(torch.from_numpy(np.array(array[index])) for array in self.arrays.values())

    def some(self, most: int) -> Samples:
        """At most `most` samples, evenly spaced."""
        if self.count <= most:
            return self
        chosen = np.linspace(0, self.count - 1, most).round().astype(int)
        return Samples(
            arrays={name: array[chosen] for name, array in self.arrays.items()},
            source=f"{most} of {self.source}",
        )


def read_samples(path: Path, inputs: Sequence[TensorInfo], *, what: str) -> Samples:
    """The inputs in a `.npy` file (one input) or a `.npz` file (one array per input, by name).

    Arrays are `N x shape` of the input, without the leading 1 of the shape if given so: clips `N 3 T H W`. Large
    `.npy` files stay on disk. Raises FileNotFoundError, or ValueError that begins with `what`, for any other kind
    of file, shape or type, and for values that are not finite or outside the input's range.
    """
    if not path.is_file():
        why = "is not a regular file" if path.exists() else "there is no such file"
        raise FileNotFoundError(f"{what} {path}: {why}")
    stored = _read(path, where=f"{what} {path}")
    if isinstance(stored, np.ndarray):
        if len(inputs) > 1:
            names = ", ".join(info.name for info in inputs)
            raise ValueError(
                f"{what} {path}: the network has {len(inputs)} inputs; give a .npz file with the arrays {names}"
            )
        arrays = {inputs[0].name: stored}
    else:
        arrays = stored
    return check_samples(arrays, inputs, source=path.name, where=f"{what} {path}")


def _read(path: Path, *, where: str) -> np.ndarray | dict[str, np.ndarray]:
    """The contents of a file: the array of a `.npy`, the arrays of a `.npz` by name."""
    try:
        with naming(path):
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
            return stored if isinstance(stored, np.ndarray) else dict(stored)
    except OSError as error:
        if error.errno is not None:
            raise  # permission denied, or similar
        raise _damaged(where, error) from error
    except Exception as error:  # a damaged header makes NumPy's and zipfile's readers raise many types
        raise _damaged(where, error) from error


def _damaged(where: str, error: Exception) -> ValueError:
    message = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return ValueError(
        f"{where}: is not a .npy or .npz file of plain numbers, or is damaged; write one with numpy.save or "
        f"numpy.savez ({message})"
    )


def check_samples(
    arrays: Mapping[str, np.ndarray], inputs: Sequence[TensorInfo], *, source: str, where: str
) -> Samples:
    """The same arrays as `Samples`; raises ValueError, which begins with `where`, as `read_samples` does."""
    names = [info.name for info in inputs]
    if sorted(arrays) != sorted(names):
        raise ValueError(f"{where}: holds {', '.join(sorted(arrays))}; the inputs are {', '.join(names)}")
    checked = {info.name: _check(arrays[info.name], info, where=where) for info in inputs}
    counts = {name: len(array) for name, array in checked.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{where}: has different numbers of samples: {counts}; give as many of each input")
    count = len(checked[names[0]])
    return Samples(arrays=checked, source=f"{count} inputs of {source}")


def _check(array: np.ndarray, info: TensorInfo, *, where: str) -> np.ndarray:
    where = f"{where}: input {info.name!r}"
    wanted = f"N x {' x '.join(map(str, info.shape[1:] if info.shape[0] == 1 else info.shape))}"
    if array.ndim == len(info.shape) and info.shape[0] == 1:
        array = array[:, None]
    if array.shape[1:] != info.shape:
        raise ValueError(f"{where} has shape {list(array.shape)}; it must be {wanted}")
    if not len(array):
        raise ValueError(f"{where} has no samples; it must be {wanted} with N of at least 1")
    if not (array.dtype.kind == "i" if info.dtype == "int64" else array.dtype == np.float32):
        hint = " (8-bit pixels: divide by 255)" if array.dtype.kind in "ui" and info.dtype != "int64" else ""
        hint = (
            " (array.astype(numpy.float32))" if array.dtype.kind == "f" and info.dtype == "float32" else hint
        )
        raise ValueError(f"{where} is {array.dtype}; it must be {info.dtype}{hint}")
    for sample in array:  # one by one: the file may be larger than the memory
        low, high = float(sample.min()), float(sample.max())
        if not np.isfinite([low, high]).all():
            raise ValueError(f"{where} holds NaN or infinite values; remove them")
        if info.value_range is not None and not info.value_range[0] <= low <= high <= info.value_range[1]:
            bounds = f"{info.value_range[0]:g}..{info.value_range[1]:g}"
            raise ValueError(
                f"{where} has values in {low:g}..{high:g}, outside {bounds}; scale them to the network's range, "
                f"or specify the range: {info.name}={'x'.join(map(str, info.shape))}:LOW..HIGH"
            )
    return array.astype(np.int64) if info.dtype == "int64" else array


def random_samples(inputs: Sequence[TensorInfo], *, count: int = RANDOM_COUNT, seed: int = 0) -> Samples:
    """Random inputs, the same for the same seed: smooth images within each input's range, and random tokens."""
    generator = torch.Generator().manual_seed(seed)
    arrays = {
        info.name: torch.stack([_random(info, generator) for _ in range(count)]).numpy() for info in inputs
    }
    return Samples(arrays=arrays, source=f"{count} random inputs (smooth, seed {seed})")


def _random(info: TensorInfo, generator: torch.Generator) -> Tensor:
    if info.dtype == "int64":
        low, high = map(int, info.value_range or (0, 0))
        return torch.randint(low, high + 1, info.shape, generator=generator)
    axes = info.shape[2:]
    if not axes:
        values = torch.randn(info.shape, generator=generator)
    else:
        coarse = [min(size, _COARSE) for size in axes]
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(axes)]
        values = torch.randn([*info.shape[:2], *coarse], generator=generator)
        values = interpolate(values, size=axes, mode=mode, align_corners=True)
    if info.value_range is None:
        return values
    smallest, largest = info.value_range
    # The normal distribution's CDF: every part of the range occurs, its ends included.
    return smallest + (largest - smallest) * torch.special.ndtr(values)
