"""Distillation losses: from the student's logits and what is known of the teacher's law to a value a position.

All tensors are flat over positions. Row i of the logits is what the student says *before* it has seen the token
that row i of the targets is the law of; pairing the two is the business of `training.distillation.rows`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from training import divergences
from training.divergences import total_variation

__all__ = [
    "DIVERGENCES",
    "LOSSES",
    "DenseTargets",
    "Loss",
    "SparseTargets",
    "Targets",
    "acceptance",
    "agreement",
    "divergence",
    "mixture",
]


class Targets(Protocol):
    """What is known of the teacher's law at n positions."""

    @property
    def best(self) -> Tensor:
        """The teacher's most probable token, [n]."""
        ...

    def log_law(self, logits: Tensor) -> Tensor:
        """The student's log-probabilities of the tokens that are told apart, [n, tokens], from [n, vocab_size]."""
        ...

    def best_of(self, log_law: Tensor) -> Tensor:
        """Those of the teacher's most probable tokens, [n]."""
        ...

    def laws(self, log_law: Tensor) -> tuple[Tensor, Tensor]:
        """Student's and teacher's law over the same outcomes, both [n, outcomes]."""
        ...


class _LogProbs(torch.autograd.Function):
    """log softmax of a few tokens a row.

    Composed of torch's own functions the same takes twice as many passes over [n, vocab_size], which are most of a
    small draft's training.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, token_ids: Tensor) -> Tensor:
        total = logits.logsumexp(dim=-1, keepdim=True)
        ctx.save_for_backward(logits, token_ids, total)
        return logits.gather(-1, token_ids) - total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        logits, token_ids, total = ctx.saved_tensors
        found = (logits - total).exp_().mul_(-slope.sum(dim=-1, keepdim=True))
        return found.scatter_add_(-1, token_ids, slope), None


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

    def log_law(self, logits: Tensor) -> Tensor:
        found: Tensor = _LogProbs.apply(logits, self.token_ids)  # type: ignore[no-untyped-call]
        return found

    def best_of(self, log_law: Tensor) -> Tensor:
        return log_law[:, 0]

    def laws(self, log_law: Tensor) -> tuple[Tensor, Tensor]:
        student = log_law.exp()
        student = torch.cat([student, (1 - student.sum(dim=-1, keepdim=True)).clamp(min=0)], dim=-1)
        return student, torch.cat([self.probs, self.tail[:, None]], dim=-1)


@dataclass(frozen=True, slots=True)
class DenseTargets:
    """The teacher's whole law at n positions: ``probs`` [n, vocab_size]."""

    probs: Tensor

    @property
    def best(self) -> Tensor:
        return self.probs.argmax(dim=-1)

    def log_law(self, logits: Tensor) -> Tensor:
        return logits.log_softmax(dim=-1)

    def best_of(self, log_law: Tensor) -> Tensor:
        return log_law.gather(-1, self.best[:, None])[:, 0]

    def laws(self, log_law: Tensor) -> tuple[Tensor, Tensor]:
        return log_law.exp(), self.probs


Divergence = Callable[[Tensor, Tensor], Tensor]  # laws of student and teacher [n, outcomes] -> [n]
Loss = Callable[[Tensor, Targets], Tensor]  # logits [n, vocab_size] and targets -> [n]

DIVERGENCES: dict[str, Divergence] = {
    "forward_kl": divergences.forward_kl,
    "reverse_kl": divergences.reverse_kl,
    "jsd": partial(divergences.jensen_shannon, beta=0.5),
    "tvd": divergences.total_variation,
    "lk": divergences.lk_hybrid,
}


def divergence(name: str) -> Divergence:
    """The divergence of that name; ``jsd:0.1`` is `jsd` with another beta than 0.5.

    Raises:
        ValueError: there is none, or beta is not between 0 and 1.
    """
    kind, separator, beta = name.partition(":")
    if kind not in DIVERGENCES or (separator and kind != "jsd"):
        raise ValueError(f"there is no divergence {name}")
    if not separator:
        return DIVERGENCES[kind]
    try:
        share = float(beta)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ValueError(f"the beta of {name} is no number between 0 and 1")
    return partial(divergences.jensen_shannon, beta=share)


def mixture(name: str, argmax_weight: float = 0.0) -> Loss:
    """(1 - w) of a divergence plus w of cross-entropy with the teacher's most probable token.

    The latter is what greedy verification rewards. The name "argmax" is that cross-entropy alone.

    Raises:
        ValueError: as `divergence`.
    """
    between = None if name == "argmax" else divergence(name)

    def loss(logits: Tensor, targets: Targets) -> Tensor:
        log_law = targets.log_law(logits)
        if between is None:
            return -targets.best_of(log_law)
        value = between(*targets.laws(log_law))
        return (1 - argmax_weight) * value - argmax_weight * targets.best_of(log_law) if argmax_weight else value

    return loss


LOSSES: dict[str, Loss] = {name: mixture(name) for name in (*DIVERGENCES, "argmax")}


@torch.no_grad()
def agreement(logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Chance that each position is accepted, [n] twice: at temperature 0 (argmax, 0 or 1) and at temperature 1.

    With sparse targets the second is an upper bound, above the truth by at most the smaller of the two tails.
    """
    return (logits.argmax(dim=-1) == targets.best).float(), 1 - total_variation(*targets.laws(targets.log_law(logits)))


def acceptance(logits: Tensor, targets: Targets) -> tuple[float, float]:
    """Means of `agreement` over positions."""
    greedy, sampled = agreement(logits, targets)
    return float(greedy.mean()), float(sampled.mean())
