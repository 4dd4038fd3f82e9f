"""Where every random decision of the step loop is drawn, so that a test can enumerate them all."""

import random
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class Randomness(Protocol):
    """Source of the random decisions of one request."""

    def choose(self, weights: Tensor) -> int:
        """An index of ``weights`` [n], with probability proportional to it."""
        ...

    def accept(self, probability: float) -> bool:
        """True with ``probability`` (1 or more is certain)."""
        ...


class SeededRandomness:
    """Decisions drawn from a generator of the request's own, so that batch mates change nothing.

    One uniform number a decision: choosing inverts the cumulative weights, which costs a twentieth of
    `torch.multinomial` and the same bits whether rows are drawn one by one or together (`choose_rows`).
    """

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def uniform(self) -> float:
        """A multiple of 2^-53 in [0, 1)."""
        return self._random.random()

    def choose(self, weights: Tensor) -> int:
        return choose_rows(weights[None], [self])[0]

    def accept(self, probability: float) -> bool:
        return probability >= 1 or self._random.random() < probability


def choose_rows(weights: Tensor, sources: Sequence[Randomness]) -> list[int]:
    """An index a row, with probability proportional to its weight; each row is decided by its own source.

    Seeded rows are drawn in one call. An index of weight zero is never drawn: the first place where the running
    sum exceeds u * total has a weight, and for u < 1 there is one, since in binary u * total < total even after
    rounding (u is at most 1 - 2^-53).

    Args:
        weights: [rows, n], no row all zero.
    """
    seeded = [source for source in sources if isinstance(source, SeededRandomness)]
    if len(seeded) < len(sources):
        return [source.choose(row) for source, row in zip(sources, weights, strict=True)]
    points = torch.tensor([[source.uniform()] for source in seeded], dtype=torch.float64, device=weights.device)
    cumulative = weights.cumsum(dim=-1, dtype=torch.float64)
    chosen: list[int] = torch.searchsorted(cumulative, points * cumulative[:, -1:], right=True)[:, 0].tolist()
    return chosen
