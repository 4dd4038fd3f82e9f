"""Where every random decision of the step loop is drawn, so that a test can enumerate them all."""

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
    """Decisions drawn from a generator of the request's own, so that batch mates change nothing."""

    def __init__(self, seed: int):
        self._generator = torch.Generator().manual_seed(seed)

    def choose(self, weights: Tensor) -> int:
        return int(torch.multinomial(weights, 1, generator=self._generator))

    def accept(self, probability: float) -> bool:
        return probability >= 1 or torch.rand((), generator=self._generator, dtype=torch.float64).item() < probability
