"""Distillation losses: from the student's logits and what is known of the teacher's law to a value a position.

All tensors are flat over positions. Row i of the logits is what the student says *before* it has seen the token
that row i of the targets is the law of; pairing the two is the business of `training.distillation.rows`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from training import divergences
from training.divergences import forward_kl, total_variation

__all__ = [
    "LOSSES",
    "DenseTargets",
    "Loss",
    "SparseTargets",
    "Targets",
    "acceptance",
    "agreement",
    "argmax_cross_entropy",
    "forward_kl",
    "jensen_shannon",
    "lk_hybrid",
    "total_variation",
]


class Targets(Protocol):
    """What is known of the teacher's law at n positions."""

    @property
    def best(self) -> Tensor:
        """The teacher's most probable token, [n]."""
        ...

    def laws(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Student's and teacher's law over the same outcomes, both [n, outcomes], from logits [n, vocab_size]."""
        ...


@dataclass(frozen=True, slots=True)
class SparseTargets:
    """The teacher's law at n positions: ``token_ids`` and ``probs`` [n, m], most probable first.

    The tail, everything outside the m tokens, is one bucket of mass 1 - sum of ``probs``. Divergences over
    buckets never exceed those over tokens, and equal them as m -> vocab_size.
    """

    token_ids: Tensor
    probs: Tensor

    @property
    def best(self) -> Tensor:
        return self.token_ids[:, 0]

    @property
    def tail(self) -> Tensor:
        """Mass outside the m tokens, [n]."""
        return (1 - self.probs.sum(dim=-1)).clamp(min=0)

    def laws(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        student = logits.softmax(dim=-1).gather(-1, self.token_ids)
        student = torch.cat([student, (1 - student.sum(dim=-1, keepdim=True)).clamp(min=0)], dim=-1)
        return student, torch.cat([self.probs, self.tail[:, None]], dim=-1)


@dataclass(frozen=True, slots=True)
class DenseTargets:
    """The teacher's whole law at n positions: ``probs`` [n, vocab_size]."""

    probs: Tensor

    @property
    def best(self) -> Tensor:
        return self.probs.argmax(dim=-1)

    def laws(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return logits.softmax(dim=-1), self.probs


Loss = Callable[[Tensor, Targets], Tensor]  # logits [n, vocab_size] and targets -> [n]


def argmax_cross_entropy(logits: Tensor, targets: Targets) -> Tensor:
    """Cross-entropy against the teacher's most probable token, [n]: what greedy verification rewards."""
    return torch.nn.functional.cross_entropy(logits, targets.best, reduction="none")


def _over_laws(divergence: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    return lambda logits, targets: divergence(*targets.laws(logits))


def jensen_shannon(beta: float) -> Loss:
    """The loss `divergences.jensen_shannon` with the given beta."""
    return _over_laws(partial(divergences.jensen_shannon, beta=beta))


def lk_hybrid(logits: Tensor, targets: Targets, eta: float = 3.0) -> Tensor:
    """`divergences.lk_hybrid` over what is known of the teacher's law, [n]."""
    return divergences.lk_hybrid(*targets.laws(logits), eta=eta)


LOSSES: dict[str, Loss] = {
    "forward_kl": _over_laws(divergences.forward_kl),
    "reverse_kl": _over_laws(divergences.reverse_kl),
    "jsd": jensen_shannon(beta=0.5),
    "tvd": _over_laws(divergences.total_variation),
    "lk": lk_hybrid,
    "argmax": argmax_cross_entropy,
}


@torch.no_grad()
def agreement(logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Chance that each position is accepted, [n] twice: at temperature 0 (argmax, 0 or 1) and at temperature 1.

    With sparse targets the second is an upper bound, above the truth by at most the smaller of the two tails.
    """
    return (logits.argmax(dim=-1) == targets.best).float(), 1 - total_variation(*targets.laws(logits))


def acceptance(logits: Tensor, targets: Targets) -> tuple[float, float]:
    """Means of `agreement` over positions."""
    greedy, sampled = agreement(logits, targets)
    return float(greedy.mean()), float(sampled.mean())
