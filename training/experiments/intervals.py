"""Intervals over requests: the paired bootstrap, with training seeds averaged outside it."""

import torch
from torch import Tensor

_DRAWS = 2000


def gain_interval(tokens: Tensor, runs: Tensor, runs_before: Tensor, seed: int = 0) -> tuple[float, float, float]:
    """How many more tokens a target run, relative, and its 95 % interval, paired by request.

    Every seed's tokens a run are the ratio of sums over requests; the gain is the mean over seeds of the
    ratios of those.

    Args:
        tokens: of each request, [n].
        runs, runs_before: target runs with the draft and with the one that it is compared to, [seeds, n].
    """
    drawn = _draws(len(tokens), seed)
    mine, before = runs[:, drawn].sum(dim=-1), runs_before[:, drawn].sum(dim=-1)  # [seeds, draws]
    gains = (before / mine).mean(dim=0) - 1
    low, high = torch.quantile(gains, torch.tensor([0.025, 0.975], dtype=gains.dtype)).tolist()
    return float((runs_before.sum(dim=-1) / runs.sum(dim=-1)).mean() - 1), low, high


def _draws(size: int, seed: int) -> Tensor:
    """Requests of every draw, [draws, size]."""
    return torch.randint(size, (_DRAWS, size), generator=torch.Generator().manual_seed(seed))
