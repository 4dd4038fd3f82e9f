"""What Hedge inside a request would have cost on a recorded answer, exactly.

Who proposes after s tokens is a function of the text (`router.hedge`), so the recursion of `training.replay.recursion`
holds with the acceptances of whoever that is: f(s) = 1 + sum over the ends s' of a proposal of P(s -> s') f(s').
Looks and changes of draft are counted by the same recursion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.costs import Floats, Prices
from router.hedge import HedgeRule, leaders
from training.replay import Acceptance


@dataclass(frozen=True, slots=True)
class HedgeRuns:
    """Expected counts of one answer.

    Attributes:
        runs: target runs by the draft that proposed, float64 [d].
        switches: changes of draft.
        reads: forwards of drafts that did not propose, to score them.
        rows: tokens that these read; the first time the prompt is among them.
    """

    runs: Floats
    switches: float
    reads: float
    rows: float

    def cost(self, prices: Prices, length: int, row: float | None = None) -> float:
        """In plain target runs, scoring included.

        Args:
            row: cost of each further row of a draft's forward, where the first one costs a draft step; without it,
                scoring costs nothing.
        """
        speculating = float(sum(runs * prices.runs(d)[length] for d, runs in enumerate(self.runs)))
        if row is None:
            return speculating
        step = float(np.mean(prices.draft))
        return speculating + self.reads * step + (self.rows - self.reads) * row


def hedge_runs(
    acceptances: Sequence[Acceptance], prior: Floats, length: int, rule: HedgeRule, prompt: int = 0
) -> HedgeRuns:
    """Replay Hedge on one answer.

    Args:
        acceptances: of every draft on that answer.
        prior: log-weights of the drafts, [d], -inf for those that are never scored (`router.hedge.log_prior`).
        length: tokens of a proposal.
        prompt: its tokens, which a draft reads before it is scored for the first time.

    Raises:
        ValueError: the acceptances are not of one answer.
    """
    size, first, most = acceptances[0].num_tokens, acceptances[0].first, acceptances[0].max_tokens
    if any((each.num_tokens, each.first, each.max_tokens) != (size, first, most) for each in acceptances):
        raise ValueError("the acceptances are of several answers")
    values = np.stack([each.values.numpy() for each in acceptances])
    who = leaders(prior, 1.0 - values, rule)
    others = int(np.isfinite(prior).sum()) - 1
    num_drafts = len(acceptances)
    after = np.zeros((size + 1, num_drafts + 3))  # expected counts from each place to the end; runs, then the rest
    for s in range(size - 1, -1, -1):
        room = max(0, min(length, most - 1 - s)) if s >= first else 0
        chances = _ends(values[who[s]], s, room)
        counts = np.zeros(num_drafts + 3)
        counts[who[s]] = 1.0
        for end, chance in chances:
            if end < size:
                counts += chance * after[end]
                counts[num_drafts] += chance * (who[end] != who[s])
                looks = rule.num_looks(end) - rule.num_looks(s)
                if looks and others:
                    counts[num_drafts + 1] += chance * others
                    unread = prompt if rule.num_looks(s) == 0 else 0
                    counts[num_drafts + 2] += chance * others * (looks * rule.chunk + unread)
        after[s] = counts
    found = after[0]
    return HedgeRuns(found[:num_drafts], *(float(each) for each in found[num_drafts:]))


def _ends(values: Floats, start: int, room: int) -> list[tuple[int, float]]:
    """Where a run that starts there may end, and how probably; nothing is proposed behind the answer's end."""
    found = []
    held = 1.0
    for depth in range(room):
        value = float(values[start + depth]) if start + depth < len(values) else 0.0
        if held * (1 - value):
            found.append((start + depth + 1, held * (1 - value)))
        held *= value
    if held:
        found.append((start + room + 1, held))
    return [(min(end, len(values)), chance) for end, chance in found]
