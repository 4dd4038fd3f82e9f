"""What a router chooses from: drafts, the length that they propose at, and what they charge."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.costs import CostTable, Floats, Prices

GENERAL = "general"
Choices = NDArray[np.int64]
Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Menu:
    """The drafts of a router, each at one proposal length, and what they charge on the machine that it was fitted for.

    Attributes:
        drafts: names, d, in the order of every array of costs.
        lengths: tokens of a proposal of each, 0 to K.
        prices: of each.
    """

    drafts: tuple[str, ...]
    lengths: tuple[int, ...]
    prices: Prices

    @classmethod
    def of(cls, table: CostTable, prices: Prices) -> "Menu":
        """The drafts of ``table`` at the lengths that are best for it.

        Raises:
            ValueError: the prices are not of the table's drafts and lengths.
        """
        return cls(table.drafts, table.best_lengths(prices), prices)

    @property
    def fallback(self) -> int:
        """The draft for queries of no topic: the general one, or the first."""
        return self.drafts.index(GENERAL) if GENERAL in self.drafts else 0

    def of_groups(self, groups: tuple[str, ...]) -> Choices:
        """The draft of the same name as each group, int64 [n]; the fallback where there is none."""
        places = {name: place for place, name in enumerate(self.drafts)}
        return np.array([places.get(group, self.fallback) for group in groups], dtype=np.int64)

    def per_run(self) -> Floats:
        """Cost of one target run with a proposal of each draft, float64 [d]."""
        return np.array([self.prices.runs(draft)[length] for draft, length in enumerate(self.lengths)])

    def costs(self, table: CostTable) -> Floats:
        """Cost of each answer under each draft in plain target runs, float64 [n, d]; NaN where it was not scored."""
        assert table.drafts == self.drafts
        return table.costs(self.prices, self.lengths)

    def acceptance(self, costs: Floats) -> Floats:
        """The alpha at which a draft costs so much a token, for ``costs`` [n, d].

        Inverts E(alpha, k) = 1 + alpha + ... + alpha^k tokens a run (Leviathan et al. 2023, eq. 1) by bisection.
        """
        lengths = np.array(self.lengths)
        tokens = np.clip(self.per_run() / np.maximum(costs, 1e-9), 1.0, lengths + 1.0)
        low, high = np.zeros_like(tokens), np.ones_like(tokens)
        for _ in range(30):
            middle = (low + high) / 2
            enough = sum(middle**depth * (depth <= lengths) for depth in range(lengths.max() + 1)) >= tokens
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return np.asarray((low + high) / 2)

    def to_arrays(self) -> Arrays:
        """Everything but the names."""
        return {
            "menu_lengths": np.array(self.lengths, dtype=np.float32),
            "menu_draft_prices": np.array(self.prices.draft, dtype=np.float32),
            "menu_width_prices": np.array(self.prices.width, dtype=np.float32),
        }

    @classmethod
    def from_arrays(cls, drafts: tuple[str, ...], arrays: Arrays) -> "Menu":
        """The inverse of `to_arrays`."""
        draft, width = arrays["menu_draft_prices"], arrays["menu_width_prices"]
        prices = Prices(tuple(map(float, draft)), tuple(map(float, width)))
        return cls(drafts, tuple(map(int, arrays["menu_lengths"])), prices)


def labelled(table: CostTable) -> NDArray[np.bool_]:
    """The prompts on which every draft was scored, [n]; only they say which draft is best."""
    return np.asarray(table.scored.all(axis=1))
