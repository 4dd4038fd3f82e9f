"""Hedge inside a request: which draft goes on, from the router's prediction and what the answer has shown so far.

With full information, as any draft can be scored on the tokens that the target has said (`learning.md`, section 5;
Freund and Schapire 1997): weights w_d ~ prior_d exp(-rate * sum of losses), where the loss of a token is the chance
that the draft would not have had it accepted. The heaviest draft proposes; nothing is drawn, so that the choice
after so many tokens is a function of the text, and replay says exactly what it costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.costs import Floats


@dataclass(frozen=True, slots=True)
class HedgeRule:
    """When drafts are scored and when another one takes over.

    Attributes:
        rate: of learning, eta.
        chunk: tokens of answer between two looks; a look costs a forward of every draft but the one that proposes.
        looks: after so many nothing is scored any more, and the choice stays.
        candidates: drafts that are scored at all, the most probable ones beforehand.
        lead: log-weight by which another draft must be ahead to take over.
        spread: tau, the difference of predicted cost a token that makes a draft e times less probable beforehand.
    """

    rate: float = 1.0
    chunk: int = 16
    looks: int = 2
    candidates: int = 2
    lead: float = 0.0
    spread: float = 0.03

    def __post_init__(self) -> None:
        if min(self.chunk, self.candidates) < 1 or min(self.looks, self.rate, self.lead) < 0 or self.spread <= 0:
            raise ValueError(f"{self} cannot be followed: chunk and candidates are 1 or more, spread is above 0")

    def num_looks(self, tokens: int) -> int:
        """Looks that are due after so many tokens of answer."""
        return min(tokens // self.chunk, self.looks)


def log_prior(costs: Sequence[float] | Floats, rule: HedgeRule) -> Floats:
    """Log-weights before the first token, float64 [d], from predicted costs a token; -inf for those never scored.

    Raises:
        ValueError: no cost is a number.
    """
    found = -np.asarray(costs, dtype=np.float64) / rule.spread
    if not np.isfinite(found).any():
        raise ValueError("no draft has a predicted cost")
    found = np.where(np.isfinite(found), found, -np.inf)
    order = np.argsort(-found, kind="stable")
    found[order[rule.candidates :]] = -np.inf
    return np.asarray(found - found.max())


def leader(prior: Floats, losses: Floats, current: int, rule: HedgeRule) -> int:
    """Who proposes from here on.

    Args:
        losses: summed over the tokens seen so far, [d].
        current: who has proposed until now.
    """
    weights = prior - rule.rate * losses
    best = int(weights.argmax())
    return best if weights[best] > weights[current] + rule.lead else current


def leaders(prior: Floats, losses: Floats, rule: HedgeRule) -> list[int]:
    """Who proposes after 0, 1, 2, ... n - 1 tokens of an answer.

    Args:
        losses: of each draft at each token, [d, n].
    """
    current = int(prior.argmax())
    found: list[int] = []
    for start in range(losses.shape[1]):
        if start and start % rule.chunk == 0 and start // rule.chunk <= rule.looks:
            current = leader(prior, losses[:, :start].sum(axis=1), current, rule)
        found.append(current)
    return found
