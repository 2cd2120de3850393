"""A teacher that is a file: an `.onnx`, `.tflite` or `.pt2` file as a module, run by its own runtime.

The runtime runs in its own process (`benchmarks.host_process`). A file whose batch size is not fixed gets one clip
at a time, so that its outputs do not depend on other clips.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.any_file import Interface, OpenTensor, any_file
from benchmarks.device import SessionFailed, Unavailable
from benchmarks.host_process import Worker
from compress.teacher_settings import LAYOUTS, FileInput, FileOutput
from models.spec import ClipSpec, LabelSpec, Modality

_LEAST = 1e-7
"""Smaller probabilities are raised to this before their logarithm is taken."""
_BEYOND = 1e-3
"""Tolerance of the range of probabilities."""


class FileNetwork(nn.Module):
    """Logits `N K` of each label column from a file, for inputs of a `ClipSpec`. Not trainable."""

    file: Tensor

    def __init__(
        self,
        path: Path,
        spec: ClipSpec,
        *,
        inputs: Mapping[Modality, FileInput],
        outputs: Mapping[str, FileOutput],
    ) -> None:
        super().__init__()
        self.path, self.spec = path, spec
        self._given_inputs, self._given_outputs = inputs, outputs
        self._session: _Session | None = None
        digest = hashlib.sha256(path.read_bytes()).digest()
        self.register_buffer("file", torch.frombuffer(bytearray(digest), dtype=torch.uint8))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Raises `ValueError` for a file that does not match the clips, and if its runtime fails or crashes."""
        session = self.opened()
        arrays = {name: x.detach().cpu().numpy() for name, x in zip(self.spec.inputs, inputs, strict=True)}
        try:
            columns = session.logits(arrays, clips=len(inputs[0]))
        except SessionFailed as error:
            self._session = None
            raise ValueError(str(error)) from error
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        return tuple(torch.from_numpy(column) for column in columns)

    def opened(self) -> _Session:
        """The running file, opened at the first call and checked against the clips."""
        if self._session is None:
            worker = Worker(any_file(self.path))
            closing = weakref.finalize(self, worker.__exit__, None)
            try:
                interface = worker.open(threads=torch.get_num_threads())
                inputs = _bound_inputs(self.spec, self._given_inputs, interface)
                batched = any("N" in one.layout for one in inputs)
                outputs = _bound_outputs(self.spec, self._given_outputs, interface, batched=batched)
                session = _Session(worker=worker, interface=interface, inputs=inputs, outputs=outputs)
                _check_batches(session)
            except (SessionFailed, Unavailable) as error:
                closing()
                raise ValueError(f"{self.path} cannot be opened: {error}") from error
            except ValueError as error:
                closing()
                raise ValueError(f"{self.path}: {error}") from error
            self._session = session
        return self._session


@dataclass(frozen=True, kw_only=True)
class _Input:
    """One input of the clips, and the input of the file that takes it."""

    name: Modality
    place: int
    tensor: OpenTensor
    given: FileInput

    @property
    def layout(self) -> str:
        return self.given.layout_of(self.name)

    @property
    def takes_frames(self) -> bool:
        """Whether the file takes single frames."""
        return self.name == "clip" and "T" not in self.layout

    @property
    def batch(self) -> int | None:
        """The fixed batch size; 1 without a batch axis, None for any."""
        return self.tensor.shape[self.layout.index("N")] if "N" in self.layout else 1

    def items(self, x: np.ndarray) -> np.ndarray:
        """Values of clips, or of all their frames, in the file's order of axes after the batch."""
        axes = LAYOUTS[self.name][0]
        if self.name == "clip":
            low, high = self.given.range
            x = low + (high - low) * x
            for values, apply in ((self.given.mean, np.subtract), (self.given.std, np.divide)):
                if values is not None:
                    x = apply(x, np.array(values, np.float32).reshape(1, 3, 1, 1, 1))
        if self.takes_frames:
            x = x.swapaxes(1, 2).reshape(-1, x.shape[1], *x.shape[3:])
            axes = "NCHW"
        if "C" not in self.layout and "C" in axes:
            x, axes = x[:, 0], axes.replace("C", "")
        order = "N" + self.layout.replace("N", "")
        return x.transpose([axes.index(axis) for axis in order])

    def arranged(self, items: np.ndarray) -> np.ndarray:
        """Some of `items` as one input of the file."""
        if "N" not in self.layout:
            return items[0]
        return np.moveaxis(items, 0, self.layout.index("N"))


@dataclass(frozen=True, kw_only=True)
class _Output:
    """One label column, and the output of the file that predicts it."""

    label: LabelSpec
    place: int
    tensor: OpenTensor
    given: FileOutput

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in the order of the file."""
        return self.given.classes or self.label.classes

    def rows(self, values: np.ndarray, *, items: int) -> np.ndarray:
        """The output of the file for a number of items, as rows of its classes."""
        if values.size != items * len(self.classes):
            raise ValueError(
                f"output {self.tensor.name!r} has shape {list(values.shape)} for a batch of {items}, but the label "
                f"column {self.label.name} needs [{items}, {len(self.classes)}]"
            )
        return values.reshape(items, len(self.classes))

    def logits(self, values: np.ndarray) -> np.ndarray:
        """Rows of the file's classes as logits of the column's classes."""
        if self.given.values == "probabilities":
            if values.min() < -_BEYOND or values.max() > 1 + _BEYOND:
                raise ValueError(
                    f"output {self.tensor.name!r} has values from {values.min():.3g} to {values.max():.3g}, which "
                    f"are no probabilities; set outputs.{self.label.name}.values to logits"
                )
            values = np.log(np.where(values < _LEAST, np.float32(_LEAST), values))
        places = {name: place for place, name in enumerate(self.classes)}
        return np.ascontiguousarray(values[:, [places[name] for name in self.label.classes]])


@dataclass(frozen=True, kw_only=True)
class _Session:
    """A running file."""

    worker: Worker
    interface: Interface
    inputs: tuple[_Input, ...]
    outputs: tuple[_Output, ...]

    def logits(self, arrays: Mapping[Modality, np.ndarray], *, clips: int) -> list[np.ndarray]:
        """Logits `N K` of each label column."""
        items = {one.place: one.items(arrays[one.name]) for one in self.inputs}
        (count,) = {len(x) for x in items.values()}
        of_clip = count // clips
        fixed = next((one.batch for one in self.inputs if one.batch is not None), None)
        step = fixed or of_clip
        rows: list[list[np.ndarray]] = [[] for _ in self.outputs]
        for start in range(0, count, step):
            places = np.minimum(
                np.arange(start, start + step), count - 1
            )  # the last batch repeats its last item
            given = [one.arranged(items[one.place][places]) for one in sorted(self.inputs, key=_place)]
            found = self.worker.run(given)
            for column, one in zip(rows, self.outputs, strict=True):
                column.append(one.rows(found[one.place], items=step)[: count - start])
        return [
            one.logits(np.concatenate(column).reshape(clips, of_clip, -1).mean(1))
            for column, one in zip(rows, self.outputs, strict=True)
        ]


def _place(one: _Input) -> int:
    return one.place


def _bound_inputs(
    spec: ClipSpec, given: Mapping[Modality, FileInput], interface: Interface
) -> tuple[_Input, ...]:
    found = []
    for name in spec.inputs:
        place = _find(given[name].name, interface.inputs, what=f"inputs.{name}")
        one = _Input(name=name, place=place, tensor=interface.inputs[place], given=given[name])
        _check_shape(one, spec)
        found.append(one)
    unmapped = [t.name for k, t in enumerate(interface.inputs) if k not in {one.place for one in found}]
    if unmapped or len({one.place for one in found}) < len(found):
        raise ValueError(
            f"the file has the inputs {_names(interface.inputs)}; inputs must map each of them once, and gives "
            f"{', '.join(one.tensor.name for one in found)}"
        )
    return tuple(found)


def _bound_outputs(
    spec: ClipSpec, given: Mapping[str, FileOutput], interface: Interface, *, batched: bool
) -> tuple[_Output, ...]:
    found = []
    for label in spec.labels:
        place = _find(given[label.name].name, interface.outputs, what=f"outputs.{label.name}")
        one = _Output(label=label, place=place, tensor=interface.outputs[place], given=given[label.name])
        missing = [name for name in label.classes if name not in one.classes]
        if missing:
            raise ValueError(
                f"outputs.{label.name}.classes lacks {len(missing)} of the {len(label.classes)} classes of the "
                f"column, the first is {missing[0]!r}"
            )
        shape = one.tensor.shape[1:] if batched else one.tensor.shape
        if None not in shape and [size for size in shape if size != 1] != [len(one.classes)]:
            raise ValueError(
                f"output {one.tensor.name!r} has shape {_shape(one.tensor.shape)}, but the label column "
                f"{label.name} needs [N, {len(one.classes)}], one number for each class; name the classes of the "
                f"file in their order by outputs.{label.name}.classes"
            )
        found.append(one)
    return tuple(found)


def _find(name: str | int | None, tensors: Sequence[OpenTensor], *, what: str) -> int:
    """The position of the tensor that a recipe names."""
    if name is None:
        if len(tensors) != 1:
            raise ValueError(
                f"the file has {len(tensors)} of them, {_names(tensors)}: name one by {what}.name"
            )
        return 0
    if isinstance(name, int):
        if name >= len(tensors):
            raise ValueError(f"{what}.name is {name}; the file has {len(tensors)}: {_names(tensors)}")
        return name
    places = [place for place, tensor in enumerate(tensors) if tensor.name == name]
    if not places:
        raise ValueError(f"{what}.name is {name!r}; the file has {_names(tensors)}")
    return places[0]


def _check_shape(one: _Input, spec: ClipSpec) -> None:
    axes = LAYOUTS[one.name][0]
    sizes: dict[str, int | None] = {**dict(zip(axes, spec.shape(one.name), strict=True)), "N": None}
    wanted = tuple(sizes[axis] for axis in one.layout)
    shape = one.tensor.shape
    if len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    ):
        return
    hint = "set its layout"
    if one.name == "clip" and len(shape) == len(wanted):
        of_file = dict(zip(one.layout, shape, strict=True))
        if of_file.get("C") == 3 and of_file["H"] == of_file["W"]:
            frames = {"frames": of_file["T"]} if of_file.get("T") else {}
            own = {**frames, "size": of_file["H"]}
            hint = f"set teacher.clip to {{{', '.join(f'{key}: {value}' for key, value in own.items())}}}"
    raise ValueError(
        f"input {one.tensor.name!r} has shape {_shape(shape)}, but the {one.name} has {_shape(wanted)} in layout "
        f"{one.layout}: {hint}"
    )


def _check_batches(session: _Session) -> None:
    fixed = {one.batch for one in session.inputs if one.batch is not None}
    if len(fixed) > 1:
        raise ValueError(f"its inputs have different batch sizes, {', '.join(map(str, sorted(fixed)))}")


def _names(tensors: Sequence[OpenTensor]) -> str:
    return ", ".join(f"{tensor.name} {_shape(tensor.shape)}" for tensor in tensors) or "none"


def _shape(sizes: Sequence[int | None]) -> str:
    return f"[{', '.join('N' if size is None else str(size) for size in sizes)}]"
