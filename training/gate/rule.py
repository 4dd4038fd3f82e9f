"""The figures of the gate, and where they put its two borders."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class GateRule:
    """When to promote and when to give up (`learning.md`, section 4).

    Attributes:
        alpha: chance, at most, that a candidate that is no better is ever promoted.
        margin: what counts as better: this share of the champion's cost.
        burn_in: requests before the first look; the bounds hold for large samples.
        most_requests: a candidate that has not won by then is refused.
        tuned_for: requests at which the bounds are tightest.
    """

    alpha: float = 0.05
    margin: float = 0.005
    burn_in: int = 30
    most_requests: int = 800
    tuned_for: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha is {self.alpha}; it must be between 0 and 0.5")
        if self.margin < 0:
            raise ValueError(f"margin is {self.margin}; it must be 0 or more")
        if not 2 <= self.burn_in <= self.most_requests:
            raise ValueError(f"burn_in is {self.burn_in}; it must be 2 to {self.most_requests}")

    def delta(self, champion: Tensor) -> Tensor:
        """The margin in target runs a token, after each request.

        Args:
            champion: its cost a token by request, [..., t].
        """
        return self.margin * champion.cumsum(-1) / counts(champion)


def counts(like: Tensor) -> Tensor:
    """1 to t, for [..., t]."""
    return torch.arange(1, like.size(-1) + 1, dtype=torch.float64)
