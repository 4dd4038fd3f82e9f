"""What each further draft is worth, and how many are recommended, from target runs paired by prompt."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_DRAWS = 2000
_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Gain:
    """Relative gain in tokens a target run, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """How many drafts, and the interval of that number."""

    k: int
    low: int
    high: int


class Worth:
    """Gains between numbers of drafts on the same held-out prompts.

    Args:
        runs: by number of drafts, ascending: target runs of every prompt under routing, [seeds, n].
        seed: of the bootstrap over prompts, whose draws are the same for all numbers; training seeds are averaged.
    """

    def __init__(self, runs: Mapping[int, Tensor], seed: int = 0):
        size = next(iter(runs.values())).size(-1)
        drawn = torch.randint(size, (_DRAWS, size), generator=torch.Generator().manual_seed(seed))
        self.numbers = tuple(sorted(runs))
        self._totals = {k: runs[k].double().sum(dim=-1) for k in self.numbers}  # [seeds]
        self._drawn = {k: runs[k].double()[:, drawn].sum(dim=-1) for k in self.numbers}  # [seeds, draws]

    def gain(self, k: int, over: int, level: float = _LEVEL) -> Gain:
        """Of ``k`` drafts over ``over`` drafts, with an interval of 1 - ``level``."""
        low, high = torch.quantile(self._gains(k, over), torch.tensor([level / 2, 1 - level / 2]).double()).tolist()
        return Gain(float((self._totals[over] / self._totals[k]).mean() - 1), low, high)

    def recommend(self) -> Recommendation:
        """The smallest number of drafts whose gain noise explains no better.

        Beginning with the fewest, a larger number takes the place of the one recommended so far if its gain over that
        is more than the noise: the distance from the gain to the lower end of its interval, at 1 - 0.05 / m for m
        comparisons. The interval is of what the same rule, with the same noise, recommends in draws of the prompts.
        """
        first, *others = self.numbers
        level = _LEVEL / max(1, len(others))
        found = first
        draws = torch.full((_DRAWS,), first)
        for k in others:
            noise = {before: _noise(self.gain(k, before, level)) for before in self.numbers if before < k}
            if self.gain(k, found).value > noise[found]:
                found = k
            better = torch.zeros(_DRAWS, dtype=torch.bool)
            for before, least in noise.items():
                better |= (draws == before) & (self._gains(k, before) > least)
            draws[better] = k
        low, high = torch.quantile(draws.double(), torch.tensor([0.025, 0.975]).double()).tolist()
        return Recommendation(found, math.floor(low), math.ceil(high))

    def _gains(self, k: int, over: int) -> Tensor:
        return (self._drawn[over] / self._drawn[k]).mean(dim=0) - 1


def _noise(gain: Gain) -> float:
    return max(0.0, gain.value - gain.low)
