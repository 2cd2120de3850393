"""The training loop of teachers, distillation, recovery after pruning and quantization-aware training."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from rich.console import Console
from torch import Tensor, nn

from benchmarks.clips.clip_set import Augmentation, ClipSet
from benchmarks.clips.corruptions import CORRUPTIONS
from benchmarks.top1 import Accuracy, accuracy_of
from compress.command.progress import bar
from compress.command.sentence import in_a_sentence
from compress.command.user_code import user_code
from compress.conv3d_as_conv2d import conv3d_as_conv2d
from compress.criterion import Batch, Criterion, Outputs
from compress.features import watched
from compress.folders.writing import Damaged, read_sealed, write_sealed
from models.spec import ClipSpec, as_tuple

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
MAX_EPOCHS = 10_000
FLOAT_BATCH = 32
"""Batch size for inference of float networks."""
LEAST_CLIPS = 2
"""Smallest size of a training set: a BatchNorm needs two clips for a variance."""


class TrainConfig(BaseModel):
    """How a network is trained: AdamW, one-epoch warm-up, then a half cosine down to zero."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(ge=1, le=MAX_EPOCHS, description="Passes over the training clips.")
    batch: int = Field(
        default=32,
        ge=2,
        le=8_192,
        description="Clips per step, or all training clips if fewer; the incomplete last batch is dropped.",
    )
    learning_rate: float = Field(default=3e-3, ge=1e-8, le=10, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(
        default=0.02, ge=0, le=10, description="Decay of weight matrices and kernels."
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of each label spread over all classes; helps with label noise.",
    )
    views: int = Field(
        default=4,
        ge=0,
        le=1_000,
        description="Number of augmentations per clip, one per epoch in turn; 0 trains on the centre crop.",
    )
    corruptions: tuple[Literal[tuple(CORRUPTIONS)], ...] = Field(  # type: ignore[valid-type]
        default=(),
        max_length=len(CORRUPTIONS),
        description="Corruptions, one of which is applied to every second clip; the teacher gets clean clips.",
    )

    @property
    def trains(self) -> bool:
        """Whether these settings train anything."""
        return self.epochs > 0

    @model_validator(mode="after")
    def _corruptions_need_views(self) -> Self:
        if self.corruptions and not self.views:
            raise ValueError("corruptions are part of the augmentations, but views is 0; give 1 or more")
        return self


@dataclass(frozen=True, kw_only=True)
class Job:
    """Name, device, seed and folder of a training."""

    name: str
    device: torch.device
    seed: int
    folder: Path
    """Contains `checkpoint.pt` after every epoch, from which a killed training resumes."""
    console: Console


def fit(
    model: nn.Module,
    clips: ClipSet,
    *,
    criterion: Criterion,
    config: TrainConfig,
    validation: ClipSet,
    job: Job,
    on_step: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, float], ...]:
    """Trains `model` in place and returns one row per epoch: `epoch`, `loss`, `learning_rate`, `validation_top1`.

    The parameters of `criterion` are trained and checkpointed with the same settings. `on_step(step, steps)` is
    called before every step, with its number from 0 and the number of all steps.

    The order of the clips, augmentations and all random numbers depend only on the seed and the epoch, so that a
    resumed training gives the weights of an uninterrupted one. A batch larger than the training set is reduced to
    it (see `batch_notes`). Raises `ValueError` for fewer than 2 training clips and for unknown features, and
    `FloatingPointError` if the loss is not finite.
    """
    if len(clips) < LEAST_CLIPS:
        raise ValueError(
            f"{job.name}: {len(clips)} training clip{'s' * (len(clips) != 1)}; training needs {LEAST_CLIPS} or "
            f"more, and dozens of clips per class for useful predictions"
        )
    batch_size = min(config.batch, len(clips))
    steps = len(clips) // batch_size
    model.to(job.device)
    criterion.to(job.device)
    learning = [p for p in (*criterion.parameters(), *model.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(_parameter_groups(learning, config), lr=config.learning_rate)
    state = _State(model=model, criterion=criterion, optimizer=optimizer)
    curve = state.resume(job)
    with (
        bar(job.console, job.name, unit=" steps") as report,
        _sooner(model, job.device),
        watched(model, criterion.features) as features,
    ):
        report(len(curve) * steps, config.epochs * steps)
        for epoch in range(len(curve), config.epochs):
            torch.manual_seed(_epoch_seed(job.seed, epoch))
            _set_training(model, True)
            total = 0.0
            for step, batch in enumerate(
                _batches(clips, size=batch_size, config=config, seed=job.seed, epoch=epoch)
            ):
                position = epoch * steps + step
                if on_step is not None:
                    on_step(position, config.epochs * steps)
                rate = config.learning_rate * _schedule(position, warmup=steps, total=config.epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                inputs = clips.batch(batch.indices, augmentation=batch.augmentation)
                logits = as_tuple(model(*_placed(inputs, job.device)))
                loss = criterion(Outputs(logits=logits, features=dict(features)), _on(batch, job.device))
                if not torch.isfinite(loss):
                    raise FloatingPointError(
                        f"{job.name}: the loss became {loss.item()} in epoch {epoch + 1}, step {step + 1}; "
                        f"lower learning_rate (now {config.learning_rate})"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(learning, max_norm=5.0)
                optimizer.step()
                total += loss.item()
                report(position + 1, config.epochs * steps)
            _set_training(model, False)
            outputs = logits_of(model, validation, batch=batch_size, device=job.device)
            top1 = accuracy(outputs, validation)[0].top1
            curve += (
                {"epoch": epoch + 1, "loss": total / steps, "learning_rate": rate, "validation_top1": top1},
            )
            state.save(curve, job)
            report.milestone(
                f"epoch {epoch + 1} of {config.epochs}, loss {total / steps:.3f}, "
                f"validation top-1 {100 * top1:.1f} %"
            )
    _set_training(model, False)
    return curve


def batch_notes(config: TrainConfig, clips: ClipSet) -> tuple[str, ...]:
    """A note for a batch size that is larger than the training set."""
    if config.batch <= len(clips):
        return ()
    return (f"batch {config.batch} was reduced to the number of training clips, {len(clips)}",)


def logits_of(
    model: nn.Module,
    clips: ClipSet,
    *,
    batch: int,
    device: torch.device,
    augmentation: Augmentation | None = None,
    report: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, ...]:
    """Logits `N K` per label column, on the CPU; `model` must be in eval mode."""
    if next(model.parameters(), torch.empty(0)).device != device:
        model.to(device)
    parts: list[tuple[Tensor, ...]] = []
    if report:
        report(0, len(clips))
    with torch.no_grad():
        for start in range(0, len(clips), batch):
            indices = list(range(start, min(start + batch, len(clips))))
            # Captured graphs take only full batches: the last one is padded with a clip whose logits are dropped.
            whole = indices + [start] * (batch - len(indices))
            inputs = _placed(clips.batch(whole, augmentation=augmentation), device)
            columns = _columns(model, inputs, batch)
            parts.append(tuple(column[: len(indices)].cpu() for column in columns))
            if report:
                report(indices[-1] + 1, len(clips))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _columns(model: nn.Module, inputs: tuple[Tensor, ...], batch: int) -> tuple[Tensor, ...]:
    """The logits of a batch of a network, which may be user code. Raises ValueError for invalid outputs."""
    name = type(model).__name__
    with user_code(f"forward of {name} on {batch} clips", timed=False):
        try:
            columns = as_tuple(model(*inputs))
        except (RuntimeError, ValueError, MemoryError):
            raise
        except Exception as error:
            raise ValueError(f"forward of {name} on {batch} clips failed: {in_a_sentence(error)}") from error
    for column in columns:
        if not isinstance(column, Tensor):
            raise ValueError(f"{name} returns {type(column).__name__}; it must return tensors of logits")
        if column.ndim == 0 or len(column) != batch:
            raise ValueError(
                f"{name} returns logits of shape {list(column.shape)} for {batch} clips; it must return "
                "one row per clip"
            )
    return columns


def accuracy(logits: tuple[Tensor, ...], clips: ClipSet) -> list[Accuracy]:
    """Accuracy of each label column; outputs of further tasks follow and are ignored."""
    return [accuracy_of(column, labels) for column, labels in zip(logits, clips.labels.T, strict=False)]


def per_label(values: list[T], spec: ClipSpec, *, data: ClipSpec) -> T | dict[str, T]:
    """The values of a network for its label columns: by name if the data has several."""
    if len(data.labels) == 1:
        return values[0]
    return {label.name: value for label, value in zip(spec.labels, values, strict=True)}


def by_column(found: list[Accuracy], spec: ClipSpec) -> dict[str, int]:
    """Number of correctly classified clips, by label column."""
    return {label.name: one.correct for label, one in zip(spec.labels, found, strict=False)}


def _batches(clips: ClipSet, *, size: int, config: TrainConfig, seed: int, epoch: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(_epoch_seed(seed, epoch))
    order = torch.randperm(len(clips), generator=generator).tolist()
    augmentation = _augmentation(config, seed=seed, epoch=epoch)
    for start in range(0, len(clips) - size + 1, size):
        indices = order[start : start + size]
        yield Batch(indices=indices, augmentation=augmentation, labels=clips.labels[indices])


def augmentations_of(config: TrainConfig, *, seed: int) -> tuple[Augmentation | None, ...]:
    """The distinct clean augmentations of a training with this seed."""
    views = (
        _augmentation(config, seed=seed, epoch=epoch)
        for epoch in range(min(config.epochs, config.views or 1))
    )
    return tuple(dict.fromkeys(augmentation and augmentation.clean for augmentation in views))


def _augmentation(config: TrainConfig, *, seed: int, epoch: int) -> Augmentation | None:
    if not config.views:
        return None
    return Augmentation(number=epoch % config.views, seed=seed, corruptions=config.corruptions)


def _placed(inputs: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    """Moves inputs to the device; video is channels-last, which halves the time of a Conv3d step on a CPU."""
    return tuple(
        x.to(device, memory_format=torch.channels_last_3d) if x.dim() == 5 else x.to(device) for x in inputs
    )


def _sooner(model: nn.Module, device: torch.device) -> AbstractContextManager[None]:
    return conv3d_as_conv2d(model) if device.type == "cpu" else nullcontext()


def _on(batch: Batch, device: torch.device) -> Batch:
    return Batch(indices=batch.indices, augmentation=batch.augmentation, labels=batch.labels.to(device))


def drawn(build: Callable[[], M], *, seed: int) -> M:
    """Calls `build` with the random generator seeded: equal seeds give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _epoch_seed(seed: int, epoch: int) -> int:
    # Seeds of torch have 64 bits.
    return (seed * 100_003 + epoch) % 2**63


def _schedule(step: int, *, warmup: int, total: int) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine (Loshchilov & Hutter 2017, SGDR)."""
    if step < warmup and total > warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * max(0.0, progress)))


def _parameter_groups(learning: list[nn.Parameter], config: TrainConfig) -> list[dict[str, object]]:
    """Weight decay for kernels and matrices, none for biases and norms (He et al. 2019, "Bag of Tricks")."""
    return [
        {"params": [p for p in learning if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _set_training(model: nn.Module, training: bool) -> None:
    """`train()` / `eval()`; a captured graph has no modes, so its observers are switched instead."""
    if isinstance(model, torch.fx.GraphModule):
        from torchao.quantization.pt2e import disable_observer, enable_observer

        model.apply(enable_observer if training else disable_observer)
    else:
        model.train(training)


@dataclass(frozen=True, kw_only=True)
class _State:
    """The state of a training."""

    model: nn.Module
    criterion: Criterion
    optimizer: torch.optim.Optimizer

    def save(self, curve: tuple[dict[str, float], ...], job: Job) -> None:
        """Writes the checkpoint of the last epoch of the curve."""
        buffer = io.BytesIO()
        state = {name: part.state_dict() for name, part in self._parts().items()}
        torch.save({**state, "curve": list(curve)}, buffer)
        write_sealed(job.folder / "checkpoint.pt", buffer.getvalue())

    def resume(self, job: Job) -> tuple[dict[str, float], ...]:
        """Restores the checkpoint, if there is one; returns the rows of the completed epochs."""
        path = job.folder / "checkpoint.pt"
        if not path.is_file():
            return ()
        try:
            data = read_sealed(path)
        except Damaged as damage:
            job.console.print(f"  {job.name}: restarts, because {damage}", markup=False, soft_wrap=True)
            return ()
        state = torch.load(io.BytesIO(data), map_location=job.device, weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        job.console.print(f"  {job.name}: resumed after epoch {len(state['curve'])}")
        return tuple(state["curve"])

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {"model": self.model, "criterion": self.criterion, "optimizer": self.optimizer}
