"""DOT: stochastic gradient descent with separate momenta for the labels and for the teacher.

Source: Zhao et al. 2023, "DOT: A Distillation-Oriented Trainer", algorithm 1; details as in its code
(megvii-research/mdistiller, `engine/dot.py`), whose momentum is 0.9 and delta 0.075.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

_TASK, _TEACHER = "task_momentum", "teacher_momentum"
"""Keys of the two buffers in the state of a parameter."""


class DOT(Optimizer):
    """SGD whose momentum is `momentum - delta` for the loss with the labels and `momentum + delta` for that with
    the teacher.

        optimizer.backward(task, distillation, max_norm=5.0)
        optimizer.step()

    With delta 0 it is SGD with momentum on the sum of the losses. A parameter that only one of the losses has a
    gradient for, such as a projector, has the momentum `momentum`. The decay of the weights belongs to the labels,
    or to the teacher for a parameter that only it trains.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        delta: float = 0.075,
        weight_decay: float = 0.0,
    ) -> None:
        """Raises `ValueError` if a momentum is not in 0..1."""
        if not 0 <= momentum - delta <= momentum + delta < 1:
            raise ValueError(
                f"momentum {momentum} and delta {delta} give the momenta {momentum - delta:g} and "
                f"{momentum + delta:g}; delta is at least 0, and both momenta must be at least 0 and less than 1"
            )
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "delta": delta, "weight_decay": weight_decay}
        )
        self._of_teacher: dict[nn.Parameter, Tensor] = {}

    def backward(self, task: Tensor, distillation: Tensor, *, max_norm: float | None = None) -> None:
        """Computes the gradients of both losses, for the next `step`.

        With `max_norm`, both are scaled by the factor that limits the norm of their sum. Afterwards `grad` of the
        parameters is that of the labels.
        """
        self.zero_grad(set_to_none=True)
        if distillation.requires_grad:
            distillation.backward(retain_graph=True)
        self._of_teacher = {p: p.grad for p in self._parameters() if p.grad is not None}
        self.zero_grad(set_to_none=True)
        if task.requires_grad:
            task.backward()
        if max_norm is not None:
            self._limit(max_norm)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates the parameters from the gradients of the last `backward`."""
        for group in self.param_groups:
            momentum, delta = group["momentum"], group["delta"]
            for p in group["params"]:
                of_task, of_teacher = p.grad, self._of_teacher.get(p)
                both = of_task is not None and of_teacher is not None
                for key, gradient, sign in ((_TASK, of_task, -1), (_TEACHER, of_teacher, 1)):
                    if gradient is None:
                        continue
                    if group["weight_decay"] and (key == _TASK or not both):
                        gradient = gradient.add(p, alpha=group["weight_decay"])
                    state = self.state[p]
                    kept = momentum + sign * delta if both else momentum
                    state[key] = gradient + kept * state[key] if key in state else gradient.clone()
                for key, gradient in ((_TASK, of_task), (_TEACHER, of_teacher)):
                    if gradient is not None:
                        p.add_(self.state[p][key], alpha=-group["lr"])
        self._of_teacher = {}

    @torch.no_grad()
    def _limit(self, max_norm: float) -> None:
        """Scales the gradients of both losses so that their sum has at most the norm `max_norm`."""
        sums = []
        for p in self._parameters():
            parts = [one for one in (p.grad, self._of_teacher.get(p)) if one is not None]
            if parts:
                sums.append(torch.stack(parts).sum(0))
        factor = max_norm / (nn.utils.get_total_norm(sums) + 1e-6)
        for gradient in (
            *(p.grad for p in self._parameters() if p.grad is not None),
            *self._of_teacher.values(),
        ):
            gradient.mul_(factor.clamp(max=1.0))

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.param_groups for p in group["params"]]
