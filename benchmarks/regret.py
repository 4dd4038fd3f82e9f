"""Regret of routers on a table of costs: counts, paired bootstrap over prompts, nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.costs import CostTable, Floats
from router.kinds.menu import Choices, Menu
from training.routing.bootstrap import DRAWS, paired

_PER = 1000.0  # tokens


@dataclass(frozen=True)
class Outcome:
    """What some prompts came to under a way to route them.

    Attributes:
        costs: in plain target runs, float64 [n].
        runs: target runs, float64 [n].
        is_best: share of routes that cost no more than the best draft, float64 [n]; NaN where a route has several.
    """

    costs: Floats
    runs: Floats
    is_best: Floats

    @classmethod
    def of(cls, menu: Menu, table: CostTable, choices: Choices) -> "Outcome":
        """Each prompt under its draft, ``choices`` int64 [n]."""
        everything, places = _everything(menu, table), np.arange(len(table))
        return cls(*(each[places, choices] for each in everything))

    @classmethod
    def thrown(cls, menu: Menu, table: CostTable) -> "Outcome":
        """Each prompt under any draft, all as probable: the mean over them."""
        return cls(*(each.mean(axis=1) for each in _everything(menu, table)))

    def rows(self, index: NDArray[np.bool_]) -> "Outcome":
        """Some of the prompts."""
        return Outcome(self.costs[index], self.runs[index], self.is_best[index])


def _everything(menu: Menu, table: CostTable) -> tuple[Floats, Floats, Floats]:
    costs = menu.costs(table)
    runs = table.runs[:, np.arange(len(menu.drafts)), np.array(menu.lengths)]
    is_best = costs <= costs.min(axis=1, keepdims=True) + 1e-9
    return costs, runs, is_best.astype(np.float64)


def figures(name: str, outcomes: Mapping[str, Outcome], tokens: Floats) -> dict[str, float]:
    """What a row says of the router ``name``, against ``oracle`` and ``random`` among ``outcomes`` on the same prompts.

    Regret, and the gap to random, are in plain target runs a thousand tokens. Mean acceptance length is taken from
    replayed runs: the first reads the prompt, so that the others emit all but one of the tokens. Keys ending in
    ``_low`` and ``_high`` are 95 % intervals over prompts.

    Args:
        tokens: of each answer, float64 [n].
    """
    mine, best, thrown = outcomes[name], outcomes["oracle"], outcomes["random"]
    regret, gap = paired(mine.costs, best.costs, tokens), paired(thrown.costs, mine.costs, tokens)
    low, high = _share_interval(mine.runs, best.runs)
    is_best = {} if np.isnan(mine.is_best).any() else {"best_share": float(mine.is_best.mean())}
    return {
        "regret": regret.mean * _PER,
        "regret_low": regret.lower * _PER,
        "regret_high": regret.upper * _PER,
        "below_random": gap.mean * _PER,
        "below_random_low": gap.lower * _PER,
        "below_random_high": gap.upper * _PER,
        "cost_per_token": float(mine.costs.sum() / tokens.sum()),
        "tokens_per_target_run": float(tokens.sum() / mine.runs.sum()),
        "mean_acceptance_length": acceptance_length(mine.runs, tokens),
        "share_of_oracle": acceptance_length(mine.runs, tokens) / acceptance_length(best.runs, tokens),
        "share_of_oracle_low": low,
        "share_of_oracle_high": high,
        **is_best,
    }


def acceptance_length(runs: Floats, tokens: Floats) -> float:
    """1 + accepted / proposals over the runs that speculate."""
    return float((tokens - 1).sum() / np.maximum((runs - 1).sum(), 1e-9))


def difference(first: Outcome, second: Outcome, tokens: Floats) -> tuple[float, float, float]:
    """By how much ``first`` costs more than ``second``, in plain target runs a thousand tokens: mean, low, high."""
    found = paired(first.costs, second.costs, tokens)
    return found.mean * _PER, found.lower * _PER, found.upper * _PER


def _share_interval(runs: Floats, best: Floats) -> tuple[float, float]:
    """95 % interval of the ratio of acceptance lengths on the same tokens, which is that of the runs."""
    generator, count = np.random.default_rng(0), len(runs)
    weights = generator.multinomial(count, np.full(count, 1.0 / count), size=DRAWS)
    shares = (weights @ (best - 1)) / np.maximum(weights @ (runs - 1), 1e-9)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)
