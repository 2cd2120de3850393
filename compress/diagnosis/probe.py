"""Linear probes, which bound the information that features have about a target.

For any predictor q, I(S; Y) >= H(Y) - E[-log q(Y | S)] (Barber & Agakov 2003, "The IM Algorithm"). The predictor is
a multinomial logistic regression; targets are probabilities, so that the soft predictions of a teacher are possible
targets as well as labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Weights of the squared norm of the coefficients; the folds select one."""
_FOLDS = 5
_ITERATIONS = 100


def information_bits(features: Tensor, targets: Tensor, *, seed: int = 0) -> float:
    """Lower bound of the mutual information between `features` `N F` and a target, in bits; at least 0.

    `targets`, `N K`, are the probabilities of the classes for each clip. The bound is evaluated on clips that the
    probe was not fitted to, by 5-fold cross-validation; the penalty with the largest bound counts.
    Raises `ValueError` for fewer clips than folds.
    """
    clips = len(features)
    if clips < _FOLDS:
        raise ValueError(f"a probe needs {_FOLDS} clips or more, there are {clips}")
    order = torch.randperm(clips, generator=torch.Generator().manual_seed(seed))
    marginal = targets.double().mean(0)
    entropy = -(marginal * marginal.clamp_min(1e-300).log()).sum()
    bounds = []
    for penalty in PENALTIES:
        losses = 0.0
        for fold in order.chunk(_FOLDS):
            rest = torch.ones(clips, dtype=torch.bool)
            rest[fold] = False
            losses += _held_out_loss(features, targets, fitted=rest, tested=fold, penalty=penalty)
        bounds.append((float(entropy) - losses / clips) / torch.log(torch.tensor(2.0)).item())
    return max(0.0, *bounds)


def _held_out_loss(
    features: Tensor, targets: Tensor, *, fitted: Tensor, tested: Tensor, penalty: float
) -> float:
    """Summed cross-entropy, in nats, of the clips `tested` under a probe of the clips `fitted`."""
    known, wanted = features[fitted].double(), targets[fitted].double()
    mean, deviation = known.mean(0), known.std(0).clamp_min(1e-6)
    known = (known - mean) / deviation
    weight = torch.zeros(known.shape[1], wanted.shape[1], dtype=torch.double, requires_grad=True)
    bias = torch.zeros(wanted.shape[1], dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(known @ weight + bias, wanted) + penalty * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        unseen = (features[tested].double() - mean) / deviation
        return float(F.cross_entropy(unseen @ weight + bias, targets[tested].double(), reduction="sum"))
