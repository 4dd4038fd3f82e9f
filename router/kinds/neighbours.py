"""What drafts cost on the prompts nearest to a query."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from router.costs import CostTable, Floats, Prices
from router.kinds.menu import Arrays, Choices, Menu, labelled

MOST_REFERENCES = 4000  # 6 MB of a file, and half a millisecond a query
_NEIGHBOURS = (8, 16, 32, 64)  # tried on the references themselves, each without itself


@dataclass(frozen=True)
class NeighbourKind:
    """The draft that was cheapest on the nearest prompts, by the cosine of their embeddings.

    Attributes:
        menu: the drafts.
        references: embeddings of length one, float32 [m, dim].
        costs: of their answers, float32 [m, d], in plain target runs.
        tokens: of their answers, float32 [m]; a mean is over tokens, as the bill is.
        neighbours: how many are asked.
    """

    name: ClassVar[str] = "nearest neighbours"

    menu: Menu
    references: NDArray[np.float32]
    costs: NDArray[np.float32]
    tokens: NDArray[np.float32]
    neighbours: int

    @classmethod
    def fit(cls, embeddings: NDArray[np.float32], table: CostTable, prices: Prices, seed: int) -> Self:
        """Keep up to `MOST_REFERENCES` prompts, drawn by ``seed``; the number asked is that of least regret on them."""
        menu = Menu.of(table, prices)
        known = np.flatnonzero(labelled(table))
        if len(known) > MOST_REFERENCES:
            known = np.sort(np.random.default_rng(seed).permutation(known)[:MOST_REFERENCES])
        table = table.rows(known)
        kind = cls(
            menu,
            embeddings[known].astype(np.float32),
            menu.costs(table).astype(np.float32),
            table.tokens.astype(np.float32),
            _NEIGHBOURS[0],
        )
        orders = kind._nearest(kind.references, _NEIGHBOURS[-1] + 1)[:, 1:]  # a prompt is nearest to itself
        numbers = [number for number in _NEIGHBOURS if number < len(known)] or [1]
        return cls(
            menu, kind.references, kind.costs, kind.tokens, min(numbers, key=lambda n: kind._bill(orders[:, :n]))
        )

    def predict(self, embeddings: NDArray[np.float32]) -> Floats:
        """Mean cost a token of each draft on the neighbours, float64 [n, d]."""
        return self._mean(self._nearest(embeddings, self.neighbours))

    def choose(self, embeddings: NDArray[np.float32]) -> Choices:
        """The cheapest there, int64 [n]."""
        return np.asarray(self.predict(embeddings).argmin(axis=1))

    def to_arrays(self) -> Arrays:
        """Everything but the names of drafts."""
        return {
            **self.menu.to_arrays(),
            "references": self.references,
            "costs": self.costs,
            "tokens": self.tokens,
            "neighbours": np.array([self.neighbours], dtype=np.float32),
        }

    @classmethod
    def from_arrays(cls, drafts: tuple[str, ...], arrays: Arrays) -> Self:
        """The inverse of `to_arrays`."""
        references, costs, tokens = (arrays[key] for key in ("references", "costs", "tokens"))
        return cls(Menu.from_arrays(drafts, arrays), references, costs, tokens, int(arrays["neighbours"][0]))

    def _nearest(self, embeddings: NDArray[np.float32], number: int) -> Choices:
        """The nearest references, nearest first, int64 [n, number or m]."""
        near = embeddings.astype(np.float32) @ self.references.T
        if number >= near.shape[1]:
            return np.argsort(-near, axis=1, kind="stable")
        some = np.argpartition(-near, number, axis=1)[:, :number]
        order = np.argsort(-np.take_along_axis(near, some, axis=1), axis=1, kind="stable")
        return np.asarray(np.take_along_axis(some, order, axis=1))

    def _mean(self, nearest: Choices) -> Floats:
        costs, tokens = self.costs[nearest].astype(np.float64), self.tokens[nearest].astype(np.float64)
        return np.asarray(costs.sum(axis=1) / tokens.sum(axis=1, keepdims=True))

    def _bill(self, nearest: Choices) -> float:
        """What the references would cost if each had been routed by ``nearest``."""
        return float(np.take_along_axis(self.costs, self._mean(nearest).argmin(axis=1)[:, None], axis=1).sum())
