"""A running estimate of how far one request's proposals get."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_FADE = 0.9  # a proposal: text changes its character, so old evidence must go
_PRIOR_WEIGHT = 4.0  # proposals that the starting figure is worth; they fade like others
_SHRINKAGE = 3.0  # proposals that the mean over positions is worth at each single one
_HARDLY = 0.02  # a chance that is no reason to propose anything
_PATIENCE, _MOST_PATIENCE = 32, 512  # steps without a proposal before the next try
_CERTAIN = 0.99  # no prior is surer than that
_HEAVY = 1e100


@dataclass(frozen=True, slots=True)
class Prior:
    """What a drafter's proposals came to elsewhere, such as a draft version's figures in the registry.

    Attributes:
        alpha: chance that a proposed token of a greedy answer is accepted, given that its position was reached.
        alpha_t1: the same at temperature 1; None where it is not known.
        by_position: chances that the tokens at positions 1, 2, .. of a greedy answer's proposal are accepted, each with
            all before it: above 0, never rising; empty where they are not known.
    """

    alpha: float = 0.65
    alpha_t1: float | None = None
    by_position: tuple[float, ...] = ()

    def at(self, temperature: float) -> float:
        """Alpha at a request's temperature: on the line between the figures at 0 and 1, beyond 1 that at 1.

        The nearer of the two would err by half their difference around 0.5, and jump there.
        """
        if self.alpha_t1 is None:
            return self.alpha
        share = min(1.0, max(0.0, temperature))
        return (1 - share) * self.alpha + share * self.alpha_t1

    def chances(self, temperature: float) -> list[float]:
        """Chances of acceptance by position, given that it was reached; one for all where positions are not known.

        Only greedy answers are counted by position, so at other temperatures all are scaled as alpha is.
        """
        if not self.by_position:
            return [self.at(temperature)]
        scale = self.at(temperature) / self.alpha
        pairs = pairwise((1.0, *self.by_position))
        return [min(_CERTAIN, scale * reached / before) for before, reached in pairs]


class AcceptanceEstimate:
    """What one drafter may expect of one request: chances of acceptance by position.

    Positions are shrunk towards their common mean, so that a depth that was seldom reached, or never
    proposed, is guessed from the others.

    Args:
        prior: where to start: as if so many proposals had gone that way.
        temperature: of the request.
    """

    def __init__(self, prior: Prior | None = None, temperature: float = 0.0):
        self._weight = 1.0  # of the newest proposal: it grows where older ones would have to shrink
        self._accepted, self._reached, reached = list[float](), list[float](), _PRIOR_WEIGHT
        for chance in (prior or Prior()).chances(temperature):
            self._reached.append(reached)
            self._accepted.append(reached := reached * chance)
        self._all_accepted, self._all_reached = sum(self._accepted), sum(self._reached)
        self._survival: list[float] = []
        self._end = 0  # of the part of it that is worth anything
        self._steps_without, self._patience = 0, _PATIENCE

    @property
    def alpha(self) -> float:
        """Chance that a proposed token is accepted, given that its position was reached, over all positions."""
        return self._all_accepted / self._all_reached

    def survival(self, longest: int) -> Sequence[float]:
        """Chances that the tokens at positions 1 .. ``longest`` are accepted, each with all before it."""
        if len(self._survival) < longest:
            self._survival, self._end = self._chances(longest), 0
        return self._survival if len(self._survival) == longest else self._survival[:longest]

    def worthwhile(self, longest: int) -> Sequence[float]:
        """The same, but for the tail that is hardly ever reached: no controller would pay for it."""
        if len(self._survival) < longest:
            self._survival, self._end = self._chances(longest), 0
        survival, end = self._survival, self._end
        if not end:
            end = len(survival)
            while end > 1 and survival[end - 1] < _HARDLY:
                end -= 1
            self._end = end
        end = min(end, longest)
        return survival if len(survival) == end else survival[:end]

    def add(self, accepted: int, was_rejected: bool) -> None:
        """One verified proposal: tokens accepted, and whether one was refused after them."""
        deepest = accepted + was_rejected
        known, reached = self._accepted, self._reached
        while len(reached) < deepest:
            reached.append(0.0)
            known.append(0.0)
        self._weight = weight = self._weight / _FADE
        for position in range(accepted):
            known[position] += weight
            reached[position] += weight
        if was_rejected:
            reached[accepted] += weight
        self._all_accepted += accepted * weight
        self._all_reached += deepest * weight
        self._survival = []
        if weight > _HEAVY:
            self._lighten()

    def waits(self, was_proposed: bool) -> bool:
        """Whether a request without a proposal goes on without one; now and then, ever more seldom, it should not.

        Nothing is learned without proposals, so one is due after a while.
        """
        if was_proposed:
            self._steps_without, self._patience = 0, _PATIENCE
            return True
        self._steps_without += 1
        return self._steps_without < self._patience

    def tried(self) -> None:
        """A proposal was made although it did not seem to pay."""
        self._steps_without, self._patience = 0, min(2 * self._patience, _MOST_PATIENCE)

    def _lighten(self) -> None:
        """Divide all by the weight, before it overflows."""
        self._accepted = [value / self._weight for value in self._accepted]
        self._reached = [value / self._weight for value in self._reached]
        self._all_accepted, self._all_reached = sum(self._accepted), sum(self._reached)
        self._weight = 1.0

    def _chances(self, longest: int) -> list[float]:
        shrinkage = _SHRINKAGE * self._weight
        known = shrinkage * self.alpha
        chances, chance = [], 1.0
        for accepted, reached in zip(self._accepted, self._reached, strict=True):
            chance *= (accepted + known) / (reached + shrinkage)
            chances.append(chance)
        if len(chances) > longest:
            return chances[:longest]
        beyond = known / shrinkage  # the mean: what is deeper was never reached
        while len(chances) < longest:
            chances.append(chance := chance * beyond)
        return chances
