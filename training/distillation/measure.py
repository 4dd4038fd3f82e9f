"""What a draft is worth on held-out text: acceptance, teacher-forced, at temperature 0 and 1, and by position."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.distillation.examples import Examples
from training.distillation.rows import all_rows, collate, epoch_batches, student_logits
from training.distillation.vocabulary import restrict
from training.losses import LOSSES, agreement

POSITIONS = 8


@dataclass(frozen=True)
class Figures:
    """Means over the tokens that have laws; every text is the target's own.

    Attributes:
        alpha_t0, alpha_t1: chance that a drafted token is accepted given that its position was reached, at
            temperature 0 and 1; the second is an upper bound where laws have tails.
        loss: forward KL in nats a token, over buckets, with the whole head: without a token it is infinite.
        by_position_t0, by_position_t1: chance that the first, second, ... token of a draft is accepted, with
            drafts beginning everywhere.
        tokens: how many were looked at.
    """

    alpha_t0: float
    alpha_t1: float
    loss: float
    by_position_t0: tuple[float, ...]
    by_position_t1: tuple[float, ...]
    tokens: int

    @property
    def score(self) -> float:
        """What training maximises: the mean of alpha at temperature 0 and 1."""
        return (self.alpha_t0 + self.alpha_t1) / 2

    def metrics(self) -> dict[str, float]:
        """Under the names of MLflow's chart groups (ux.md, section 4)."""
        named = {
            "acceptance/alpha": self.alpha_t0,
            "acceptance/alpha_t1": self.alpha_t1,
            "loss/validation": self.loss,
        }
        named |= {f"acceptance/position/{place}": value for place, value in enumerate(self.by_position_t0, start=1)}
        return named | {
            f"acceptance/position_t1/{place}": value for place, value in enumerate(self.by_position_t1, start=1)
        }

    def document(self) -> dict[str, object]:
        """For JSON, which knows no tuples."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Figures":
        """What `document` gave, after JSON."""
        lists = {key: tuple(document[key]) for key in ("by_position_t0", "by_position_t1")}
        return cls(**{**document, **lists})


@torch.no_grad()
def measure(
    student: nn.Module,
    held_out: Sequence[Examples],
    vocabulary: Sequence[int] | None = None,
    tokens_per_batch: int = 2048,
) -> Figures:
    """Figures of ``student`` on examples that it has not learned from.

    Args:
        vocabulary: all that the student may emit; None is everything.
    """
    student.eval()
    device = next(student.parameters()).device
    greedy: list[Tensor] = []
    sampled: list[Tensor] = []
    losses: list[Tensor] = []
    for rows in epoch_batches(all_rows(held_out), tokens_per_batch, seed=1, epoch=0):
        if not rows:
            break
        batch = collate(rows, device)
        logits = student_logits(student, batch)
        losses.append(LOSSES["forward_kl"](logits, batch.targets))
        logits = restrict(logits, vocabulary)
        for kept, values in zip((greedy, sampled), agreement(logits, batch.targets), strict=True):
            kept += torch.split(values.cpu(), batch.lengths)
    return Figures(
        alpha_t0=_mean(greedy),
        alpha_t1=_mean(sampled),
        loss=_mean(losses),
        by_position_t0=by_position(greedy),
        by_position_t1=by_position(sampled),
        tokens=sum(len(text) for text in greedy),
    )


def by_position(chances: Sequence[Tensor], positions: int = POSITIONS) -> tuple[float, ...]:
    """Chance that a draft's first, second, ... token is accepted, over all places where it fits.

    Args:
        chances: of each token of a text, text after text.
    """
    means = []
    runs = list(chances)
    for place in range(positions):
        if place:  # a run of place + 1 tokens is accepted if all its tokens are
            pairs = zip(runs, chances, strict=True)
            runs = [run[: len(text) - place] * text[place:] for run, text in pairs if len(text) > place]
            chances = [text for text in chances if len(text) > place]
        if not runs:
            break
        means.append(_mean(runs))
    return tuple(means)


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.cat(list(values)).mean()) if values else 0.0
