"""The training loop of teachers, distillation, recovery after pruning and quantization-aware training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from benchmarks.clips.clip_set import ClipSet
from compress.command.kept_memory import kept_memory
from compress.command.progress import bar
from compress.criterion import Batch, Criterion, Outputs
from compress.faster_conv3d import faster_conv3d
from compress.features import watched
from compress.training.averaging import averaged, re_estimate_batch_norm
from compress.training.batches import epoch_seed, loaded, placed, planned
from compress.training.checkpoint import State
from compress.training.config import LEAST_CLIPS, TrainConfig
from compress.training.dot import DOT
from compress.training.evaluation import accuracy, logits_of
from compress.training.optimizer import optimizer_of, schedule, set_learning_rate
from compress.training.selection import Curve, is_over
from models.spec import as_tuple

M = TypeVar("M", bound=nn.Module)

OnStep = Callable[[int, int], object]
"""Called before every step with its number, from 0, and the number of steps of the whole training. After an
interruption, the first number is that of the first step of the resumed epoch."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Name, device, seed and folder of a training."""

    name: str
    device: torch.device
    seed: int
    folder: Path
    """Contains `checkpoint.pt` after every epoch, from which a killed training resumes."""
    console: Console
    workers: int | None = None
    """Number of processes that prepare batches; by default none on a CPU (`compress.training.batches`)."""


def fit(
    model: nn.Module,
    clips: ClipSet,
    *,
    criterion: Criterion,
    config: TrainConfig,
    validation: ClipSet,
    job: Job,
    on_step: OnStep | None = None,
) -> Curve:
    """Trains `model` in place and returns one row per epoch: `epoch`, `loss`, `learning_rate`, `validation_top1`.

    The result has the weights of the last or the best epoch, averaged over steps if the settings say so;
    `validation_top1`, the mean over the label columns, is that of the weights that would be the result.
    The parameters of `criterion` are trained and checkpointed with the same settings.

    The order of the clips, augmentations and all random numbers depend only on the seed and the epoch, so that a
    resumed training gives the weights of an uninterrupted one. A batch larger than the training set is reduced to
    it (see `batch_notes`). Raises `ValueError` for fewer than 2 training clips, for unknown features and for an
    average of a captured graph, and `FloatingPointError` if the loss is not finite.
    """
    if len(clips) < LEAST_CLIPS:
        raise ValueError(
            f"{job.name}: {len(clips)} training clip{'s' * (len(clips) != 1)}; training needs {LEAST_CLIPS} or "
            f"more, and dozens of clips per class for useful predictions"
        )
    size = min(config.batch, len(clips))
    steps = len(clips) // size
    total_steps = config.epochs * steps
    warmup = round(config.warmup * total_steps)
    model.to(job.device)
    criterion.to(job.device)
    optimizer = optimizer_of(
        model,
        criterion.parameters(),
        config,
        inputs=lambda: placed(clips.batch(range(size)), job.device),
    )
    learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    average = _average(model, config)
    result = average.module if average else model
    parts: dict[str, nn.Module | torch.optim.Optimizer] = {
        "model": model,
        "criterion": criterion,
        "optimizer": optimizer,
    }
    state = State(
        parts={**parts, "average": average} if average else parts, path=job.folder / "checkpoint.pt"
    )
    state.resume(job.name, device=job.device, console=job.console)

    def forward(inputs: tuple[Tensor, ...]) -> Outputs:
        with autocast(model, config, job.device):
            logits = as_tuple(model(*inputs))
        return Outputs(
            logits=tuple(column.float() for column in logits),
            features={name: value.float() for name, value in features.items()},
        )

    with ExitStack() as stack:
        report = stack.enter_context(bar(job.console, job.name, unit=" steps"))
        stack.enter_context(kept_memory())
        for network in dict.fromkeys((model, result)):
            stack.enter_context(_sooner(network, job.device))
        features = stack.enter_context(watched(model, criterion.features))
        stream = loaded(
            clips,
            _remaining(clips, size=size, config=config, seed=job.seed, first=len(state.curve)),
            device=job.device,
            workers=job.workers,
        )
        stack.callback(stream.close)
        report(len(state.curve) * steps, total_steps)
        while not is_over(state.curve, config):
            epoch = len(state.curve)
            torch.manual_seed(epoch_seed(job.seed, epoch))
            _set_training(model, True)
            total = 0.0
            for step in range(steps):
                batch, inputs = next(stream)
                position = epoch * steps + step
                rate = config.learning_rate * schedule(position, warmup=warmup, total=total_steps)
                set_learning_rate(optimizer, rate)
                if on_step:
                    on_step(position, total_steps)
                outputs = forward(placed(inputs, job.device))
                task, distillation = criterion.parts_of_mixed(outputs, _on(batch, job.device))
                loss = task + distillation
                if not torch.isfinite(loss):
                    raise FloatingPointError(
                        f"{job.name}: the loss became {loss.item()} in epoch {epoch + 1}, step {step + 1}; "
                        f"lower learning_rate (now {config.learning_rate})"
                    )
                if isinstance(optimizer, DOT):
                    optimizer.backward(task, distillation, max_norm=config.clip_grad_norm)
                else:
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()
                    if config.clip_grad_norm is not None:
                        nn.utils.clip_grad_norm_(learning, max_norm=config.clip_grad_norm)
                optimizer.step()
                if average:
                    average.update_parameters(model)
                total += loss.item()
                report(position + 1, total_steps)
            _set_training(result, False)
            found = accuracy(logits_of(result, validation, batch=size, device=job.device), validation)
            top1 = sum(column.top1 for column in found) / len(found)
            row = {"epoch": epoch + 1, "loss": total / steps, "learning_rate": rate, "validation_top1": top1}
            state.add(row, result=result, keep_best=config.select == "best")
            report.milestone(
                f"epoch {epoch + 1} of {config.epochs}, loss {total / steps:.3f}, "
                f"validation top-1 {100 * top1:.1f} %"
            )
        if state.best or average:
            model.load_state_dict(state.best or result.state_dict())
        _set_training(model, False)
        if average:
            # In random order: clips of a folder are sorted by class, and a batch of one class varies too little.
            batches = planned(clips, size=size, config=config, seed=job.seed, epoch=config.epochs)
            re_estimate_batch_norm(model, (placed(clips.batch(one.indices), job.device) for one in batches))
    return state.curve


def drawn(build: Callable[[], M], *, seed: int) -> M:
    """Calls `build` with the random generator seeded: equal seeds give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _remaining(clips: ClipSet, *, size: int, config: TrainConfig, seed: int, first: int) -> Iterator[Batch]:
    """The batches of all epochs from `first` on."""
    for epoch in range(first, config.epochs):
        yield from planned(clips, size=size, config=config, seed=seed, epoch=epoch)


def _average(model: nn.Module, config: TrainConfig) -> AveragedModel | None:
    if config.ema is None:
        return None
    if isinstance(model, torch.fx.GraphModule):
        raise ValueError(
            f"ema is {config.ema}, but a captured graph has ranges that belong to its current weights; leave it out"
        )
    return averaged(model, decay=config.ema)


def autocast(model: nn.Module, config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the device supports it; its range is that of float32, so that losses need no scaling."""
    able = device.type == "mps" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
    if not able or not config.amp or isinstance(model, torch.fx.GraphModule):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _sooner(model: nn.Module, device: torch.device) -> AbstractContextManager[None]:
    return faster_conv3d(model) if device.type == "cpu" else nullcontext()


def _on(batch: Batch, device: torch.device) -> Batch:
    return replace(batch, labels=batch.labels.to(device))


def _set_training(model: nn.Module, training: bool) -> None:
    """`train()` / `eval()`; a captured graph has no modes, so its observers are switched instead."""
    if isinstance(model, torch.fx.GraphModule):
        from torchao.quantization.pt2e import disable_observer, enable_observer

        model.apply(enable_observer if training else disable_observer)
    else:
        model.train(training)
