"""How many tokens to propose for each request, so that the whole batch yields most tokens a unit of time."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decoding.request import Request

_PROBE_EVERY = 32  # steps after which a request that nobody drafts for is tried again with one token


@dataclass(frozen=True, slots=True)
class StepCosts:
    """Costs on this machine, in target runs over one row.

    Attributes:
        target: rows of a target run -> cost, measured at some row counts and interpolated between them.
        draft: requests drafted for at once -> cost of one draft step, likewise.
    """

    target: Mapping[int, float]
    draft: Mapping[int, float]

    def target_run(self, rows: int) -> float:
        """Cost of a target run over ``rows`` rows."""
        return interpolate(self.target, rows)

    def draft_step(self, requests: int) -> float:
        """Cost of one draft step for ``requests`` requests; 0 for none."""
        return interpolate(self.draft, requests) if requests else 0.0


def interpolate(measured: Mapping[int, float], at: int) -> float:
    """Linear between measured points, beyond the last one with the slope of the last two; a single one is constant."""
    points = sorted(measured)
    if len(points) == 1:
        return measured[points[0]]
    right = min(max(bisect_left(points, at), 1), len(points) - 1)
    low, high = points[right - 1], points[right]
    return measured[low] + (measured[high] - measured[low]) * (at - low) / (high - low)


class LengthController:
    """Picks lengths by marginal gain.

    A token at depth j of request i is worth S_i(j) = alpha_i^j, the chance that it is accepted. The most
    valuable tokens are added one by one while (requests + sum of S) / (draft steps + target run) grows:
    the best set for its size is always the largest S, and it is closed under "the token before".

    Lengths depend on earlier steps only, never on this step's proposals, so they leave the law unchanged.

    Args:
        costs: measured on this machine.
        longest: most tokens to propose for one request.
    """

    def __init__(self, costs: StepCosts, longest: int = 8):
        self._costs, self._longest = costs, longest

    def lengths(
        self, requests: Sequence[Request], limits: Sequence[int], is_free: Sequence[bool], rows: int, emitting: int
    ) -> list[int]:
        """Tokens to propose for each request.

        Args:
            limits: most tokens that each can take.
            is_free: whether its proposals cost no draft step (prompt lookup).
            rows: rows that this step's target run has anyway.
            emitting: requests that get a token from it anyway.
        """
        chosen = [0] * len(requests)
        best = list(chosen)
        expected = float(emitting)
        best_rate = expected / self._costs.target_run(rows)
        for added, (gain, index) in enumerate(self._candidates(requests, limits), start=1):
            chosen[index] += 1
            expected += gain
            drafted = [length for length, free in zip(chosen, is_free, strict=True) if length and not free]
            drafting = max(drafted, default=0) * self._costs.draft_step(len(drafted))
            cost = self._costs.target_run(rows + added) + drafting
            if expected / cost > best_rate:
                best_rate, best = expected / cost, list(chosen)
        return [self._probe(*each) for each in zip(requests, best, limits, strict=True)]

    def _candidates(self, requests: Sequence[Request], limits: Sequence[int]) -> list[tuple[float, int]]:
        tokens = [
            (request.acceptance.alpha**depth, index)
            for index, (request, limit) in enumerate(zip(requests, limits, strict=True))
            for depth in range(1, min(limit, self._longest) + 1)
        ]
        return sorted(tokens, key=lambda token: -token[0])

    def _probe(self, request: Request, length: int, limit: int) -> int:
        """Without proposals nothing is learned, so now and then one token is tried."""
        request.acceptance.steps_without = 0 if length else request.acceptance.steps_without + 1
        if request.acceptance.steps_without < _PROBE_EVERY or limit < 1:
            return length
        request.acceptance.steps_without = 0
        return 1
