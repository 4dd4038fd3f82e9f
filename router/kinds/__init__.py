"""Kinds of routers behind one interface: embedding -> what each draft would cost, and which one to take.

All are fitted on the same table of replayed costs (`router.costs`); with numpy alone they decide.
"""

from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from router.costs import CostTable, Floats, Prices
from router.kinds.logistic import ExpectedKind, MeasuredKind, TopicKind
from router.kinds.menu import Arrays, Choices, Menu
from router.kinds.neighbours import NeighbourKind
from router.kinds.ridge import RegressionKind


class RouterKind(Protocol):
    """What all kinds have in common; ``name`` is what tables and files call a kind."""

    name: ClassVar[str]

    @property
    def menu(self) -> Menu:
        """The drafts that it chooses from."""
        ...

    @classmethod
    def fit(cls, embeddings: NDArray[np.float32], table: CostTable, prices: Prices, seed: int) -> Self:
        """Learn from embeddings [n, dim] and costs of n prompts; the same input and seed give the same bits."""
        ...

    def predict(self, embeddings: NDArray[np.float32]) -> Floats:
        """Cost a token of each draft in plain target runs, float64 [n, d]."""
        ...

    def choose(self, embeddings: NDArray[np.float32]) -> Choices:
        """Which draft to take, as an index of ``menu.drafts``, int64 [n]."""
        ...

    def to_arrays(self) -> Arrays:
        """What a file must hold of it beside its name and its drafts' names; all float32."""
        ...

    @classmethod
    def from_arrays(cls, drafts: tuple[str, ...], arrays: Arrays) -> Self:
        """The inverse of `to_arrays`."""
        ...


KINDS: dict[str, type[RouterKind]] = {
    kind.name: kind for kind in (TopicKind, ExpectedKind, NeighbourKind, RegressionKind, MeasuredKind)
}
DEFAULT = TopicKind.name

__all__ = ["DEFAULT", "KINDS", "ExpectedKind", "MeasuredKind", "Menu", "NeighbourKind", "RegressionKind", "RouterKind"]
