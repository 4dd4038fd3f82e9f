"""The price of proposing: which draft a request is worth, if any, at what steps cost now.

With chance alpha that a proposed token is accepted, a run of k proposed tokens emits E(alpha, k) = 1 + alpha + ... +
alpha^k and costs w(k) + k c plain runs (Leviathan et al. 2023, theorem 3.8, with w for runs that are not free):
S = E / (w + k c). The thresholds are those of `learning.md`, section 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

LEAST_SPEEDUP = 1.02  # below it a proposal is not worth its trouble
LEAST_GAIN = 1.01  # over the draft that would be taken otherwise; less is within the error of predictions


class Rule(StrEnum):
    """What decided."""

    CHOSEN = "chosen"  # the router's draft pays
    CHEAPER_DRAFT = "cheaper_draft"  # another topic's draft does, by more
    CHEAPER_GENERAL = "cheaper_general"  # the general draft costs as little
    CHEAPER_LOOKUP = "cheaper_lookup"  # no draft pays, copies do
    NO_GAIN = "no_gain"  # nothing pays


@dataclass(frozen=True, slots=True)
class Offer:
    """A way to propose.

    Attributes:
        name: of a draft, or ``lookup``.
        alpha: predicted chance that a proposed token is accepted, 0 to 1.
        step: cost c of a draft step in plain target runs; 0 for prompt lookup.
    """

    name: str
    alpha: float
    step: float

    def speedup(self, width: Sequence[float]) -> float:
        """S at the best length, 1 or more tokens; ``width``: w of runs with 0, 1, 2 .. K proposed tokens."""
        tokens, best = 1.0, 0.0
        for length in range(1, len(width)):
            tokens += self.alpha**length
            best = max(best, tokens / (width[length] + length * self.step))
        return best


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to propose with.

    Attributes:
        name: of the offer taken; None for nothing.
        rule: what decided.
        speedup: predicted; 1 for nothing.
    """

    name: str | None
    rule: Rule
    speedup: float = 1.0


def decide(
    chosen: Offer,
    width: Sequence[float],
    others: Sequence[Offer] = (),
    general: Offer | None = None,
    lookup: Offer | None = None,
) -> Verdict:
    """Weigh the router's choice against everything else.

    Where a draft pays, prompt lookup goes on beside it and is no rival: it proposes only where it finds a copy.

    Args:
        chosen: by the router; the general draft itself for queries of no topic.
        width: cost of a target run with 0, 1, 2 .. K proposed tokens relative to the first.
        others: further drafts with an acceptance predicted for this very query.
        general: the general draft with an acceptance predicted for this very query; its average over other queries
            would say nothing.
        lookup: prompt lookup with its usual acceptance where it finds something.
    """
    best, speedup, rule = chosen, chosen.speedup(width), Rule.CHOSEN
    for other in others:
        if (theirs := other.speedup(width)) > speedup * LEAST_GAIN and other.name != chosen.name:
            best, speedup, rule = other, theirs, Rule.CHEAPER_DRAFT
    if general is not None and general.name != best.name and (theirs := general.speedup(width)) * LEAST_GAIN > speedup:
        best, speedup, rule = general, theirs, Rule.CHEAPER_GENERAL
    if speedup > LEAST_SPEEDUP:
        return Verdict(best.name, Rule.CHOSEN if best.name == chosen.name else rule, speedup)
    if lookup is not None and (copies := lookup.speedup(width)) > LEAST_SPEEDUP:
        return Verdict(lookup.name, Rule.CHEAPER_LOOKUP, copies)
    return Verdict(None, Rule.NO_GAIN)
