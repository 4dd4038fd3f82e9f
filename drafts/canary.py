"""Whether a draft that has just taken over does worse than the one before it, on the requests that it serves.

Replay on held-out traces has said yes before; this catches what replay cannot see: a damaged cache, lost precision,
traffic of another kind, a promotion by hand. Every position at which the new draft was tested while serving has an
answer: right or wrong. The old draft reads the finished text once and says at the same positions what it would have
proposed. The difference, a request at a time, goes into a one-sided CUSUM (Page 1954; `learning.md`, section 4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from decoding.model import LanguageModel
from decoding.request import Origin
from decoding.span import Span


@dataclass(frozen=True, slots=True)
class CanaryRule:
    """When to go back.

    Attributes:
        slack: standard deviations of one request's difference that are let pass each time.
        limit: sum of what was not, in the same unit. By Siegmund's approximation (1985) two drafts that are
            equally good reach 8 once in 19,000 requests; a fall by one standard deviation does in about 16.
        burn_in: requests from which the deviation is estimated before the first look.
        most_requests: that a version is watched for.
        least_speedup: a hard floor, of tokens over what they cost in plain runs, over ``floor_requests``.
    """

    slack: float = 0.5
    limit: float = 8.0
    burn_in: int = 15
    most_requests: int = 300
    least_speedup: float = 1.0
    floor_requests: int = 50


_LEAST_DEVIATION = 0.02  # of a request's share of right tokens: the first few may agree by chance


class Cusum:
    """One-sided: rises with shortfalls, never under zero."""

    def __init__(self, rule: CanaryRule):
        self._rule = rule
        self._early: list[float] = []
        self._count, self._mean, self._squares = 0, 0.0, 0.0
        self.height = 0.0

    def add(self, shortfall: float) -> bool:
        """Whether the limit is passed with this request's shortfall."""
        self._count += 1
        step = shortfall - self._mean
        self._mean += step / self._count
        self._squares += step * (shortfall - self._mean)
        if self._count < self._rule.burn_in:
            self._early.append(shortfall)
            return False
        deviation = max(_LEAST_DEVIATION, math.sqrt(self._squares / (self._count - 1)))
        for each in (*self._early, shortfall):
            self.height = max(0.0, self.height + each / deviation - self._rule.slack)
        self._early.clear()
        return self.height > self._rule.limit

    @property
    def count(self) -> int:
        """Requests so far."""
        return self._count

    @property
    def mean(self) -> float:
        """Mean shortfall."""
        return self._mean


@dataclass(slots=True)
class Checks:
    """Where one request's draft was put to the test: places in its answer, and whether it was right there."""

    places: list[int] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)

    def add(self, first: int, origins: Sequence[Origin]) -> None:
        """One step's tokens, of which the first stands at place ``first`` of the answer; the draft had proposed.

        An accepted token was right; a correction stands where it was wrong. What a proposal held beyond its first wrong
        token was never looked at.
        """
        for place, origin in enumerate(origins, start=first):
            if origin in (Origin.DRAFT, Origin.CORRECTED):
                self.places.append(place)
                self.right.append(origin is Origin.DRAFT)


def shortfall(before: LanguageModel, token_ids: Sequence[int], prompt_length: int, found: Checks) -> float:
    """Share of the tested places at which the draft before would have been right, less that of the one that serves.

    Of greedy answers this is exact: both are right where their most probable token is the target's.

    Args:
        before: with a free slot that holds the text.
        token_ids: prompt and answer.
    """
    slot = before.cache.allocate()
    try:
        best = before.argmax(before.forward([Span(slot, list(token_ids[:-1]), logits_from=prompt_length - 1)]))
    finally:
        before.cache.release(slot)
    old = sum(best[place] == token_ids[prompt_length + place] for place in found.places)
    return (old - sum(found.right)) / len(found.places)
