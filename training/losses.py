"""Distillation losses over sparse targets: the teacher's top-m probabilities and the mass of the rest.

All tensors are flat over positions; every loss is a mean over them, in nats or in probability.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_FLOOR = 1e-9  # keeps the logarithm of an empty tail finite


@dataclass(frozen=True, slots=True)
class SparseTargets:
    """The teacher's law at n positions: ``token_ids`` and ``probs`` [n, m], most probable first.

    The tail, everything outside the m tokens, is one bucket of mass 1 - sum of ``probs``.
    """

    token_ids: Tensor
    probs: Tensor

    @property
    def tail(self) -> Tensor:
        """Mass outside the m tokens, [n]."""
        return (1 - self.probs.sum(dim=-1)).clamp(min=0)


def _bucketed(logits: Tensor, targets: SparseTargets) -> tuple[Tensor, Tensor]:
    """Student and teacher laws over the m tokens and the tail bucket, both [n, m + 1]."""
    student = logits.softmax(dim=-1).gather(-1, targets.token_ids)
    student = torch.cat([student, (1 - student.sum(dim=-1, keepdim=True)).clamp(min=0)], dim=-1)
    return student, torch.cat([targets.probs, targets.tail[:, None]], dim=-1)


def forward_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) a position, [n], over bucketed laws [n, m + 1]."""
    cross = (teacher * student.clamp(min=_FLOOR).log()).sum(dim=-1)
    entropy: Tensor = torch.special.xlogy(teacher, teacher).sum(dim=-1)
    return entropy - cross


def total_variation(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the L1 distance a position, [n]: 1 - the acceptance rate at temperature 1 (exact as m -> V)."""
    return 0.5 * (student - teacher).abs().sum(dim=-1)


def lk_hybrid(logits: Tensor, targets: SparseTargets, eta: float = 3.0) -> Tensor:
    """lambda KL + (1 - lambda) TV with lambda = exp(-eta * acceptance), position by position.

    Where the draft is still poor KL leads, whose gradient does not vanish; where it is good TV does,
    which is the rate of rejection itself.

    Args:
        logits: student, [n, vocab_size].
    """
    student, teacher = _bucketed(logits, targets)
    distance = total_variation(student, teacher)
    weight = torch.exp(-eta * (1 - distance.detach()))
    return (weight * forward_kl(student, teacher) + (1 - weight) * distance).mean()


def argmax_cross_entropy(logits: Tensor, targets: SparseTargets) -> Tensor:
    """Cross-entropy against the teacher's most probable token: what greedy verification rewards."""
    return torch.nn.functional.cross_entropy(logits, targets.token_ids[:, 0])


@torch.no_grad()
def acceptance(logits: Tensor, targets: SparseTargets) -> tuple[float, float]:
    """Acceptance at temperature 0 (argmax agreement) and at temperature 1 (1 - TV), means over positions."""
    greedy = (logits.argmax(dim=-1) == targets.token_ids[:, 0]).float().mean()
    return float(greedy), 1 - float(total_variation(*_bucketed(logits, targets)).mean())
