"""How far a student's law is from its teacher's: plain functions over probabilities, a value a position.

``student`` and ``teacher`` are [n, outcomes], rows summing to 1; results are [n], in nats or in probability.
Gradients on the student's logits z, with S its law and T the teacher's (learning.md, section 1; checked in
tests/training/test_losses.py):

========================  ===================================================================
forward_kl                S_i - T_i
reverse_kl                S_i (ln(S_i / T_i) - KL(S || T))
jensen_shannon            (1 - beta) S_i (ln(S_i / M_i) - KL(S || M)),  M = beta T + (1 - beta) S
total_variation           -S_i (1[S_i < T_i] - sum of S where S < T)
lk_hybrid                 lambda times the first plus (1 - lambda) times the last
========================  ===================================================================
"""

import torch
from torch import Tensor

_FLOOR = 1e-9  # keeps logarithms of what a law leaves out finite


def _log(law: Tensor) -> Tensor:
    return law.clamp(min=_FLOOR).log()


def forward_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student), [n]: covers all that the teacher says."""
    entropy: Tensor = torch.special.xlogy(teacher, teacher).sum(dim=-1)
    return entropy - (teacher * _log(student)).sum(dim=-1)


def reverse_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(student || teacher), [n]: keeps to the teacher's modes."""
    distance: Tensor = (student * (_log(student) - _log(teacher))).sum(dim=-1)
    return distance


def jensen_shannon(student: Tensor, teacher: Tensor, beta: float = 0.5) -> Tensor:
    """beta KL(teacher || M) + (1 - beta) KL(student || M) with M = beta teacher + (1 - beta) student, [n].

    The generalised Jensen-Shannon divergence of GKD (Agarwal et al. 2024, eq. 1). The released OSD calls
    0.9 KL + 0.1 reverse KL, which has no mixture M, a JSD; this is not that.

    Args:
        beta: above 0 and below 1; the two laws are interchangeable at 0.5.
    """
    middle = beta * teacher + (1 - beta) * student
    # reverse_kl: where the student's law is 0, xlogy in forward_kl would have no gradient in it.
    return beta * forward_kl(middle, teacher) + (1 - beta) * reverse_kl(student, middle)


def total_variation(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the L1 distance, [n]: 1 - the chance that rejection sampling accepts."""
    return 0.5 * (student - teacher).abs().sum(dim=-1)


def lk_hybrid(student: Tensor, teacher: Tensor, eta: float = 3.0) -> Tensor:
    """lambda forward_kl + (1 - lambda) total_variation with lambda = exp(-eta * acceptance), [n].

    Lambda is held constant and taken position by position. Where the student is still poor KL leads, whose
    gradient does not vanish; where it is good total variation does, which is the rate of rejection itself.
    """
    distance = total_variation(student, teacher)
    weight = torch.exp(-eta * (1 - distance.detach()))
    return weight * forward_kl(student, teacher) + (1 - weight) * distance
