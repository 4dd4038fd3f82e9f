"""Regression of replayed cost on the embedding, draft by draft."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from router.costs import CostTable, Floats, Prices
from router.kinds.menu import Arrays, Choices, Menu, labelled

_PENALTIES = tuple(10.0**power for power in np.arange(-2, 3.25, 0.25))  # times the mean weight of a prompt, which is 1


@dataclass(frozen=True)
class RegressionKind:
    """Ridge regression of cost a token; the cheapest draft, where it is cheaper by more than a standard error.

    With A the weighted moments of the embeddings and r the ridge, a prediction at x varies by s² x'(A+r)⁻¹A(A+r)⁻¹x
    (Hoerl and Kennard 1970, section 4), s² being the residual variance: of the difference from the fallback here,
    since the errors of two drafts on one prompt go together.

    Attributes:
        menu: the drafts.
        weights: float32 [d, dim + 1], the last column for the constant.
        errors: residual standard deviation of each draft's difference from the fallback, float32 [d].
        spread: float32 [dim + 1, dim + 1], the root of the matrix above: it gives |spread x|².
    """

    name: ClassVar[str] = "regression"

    menu: Menu
    weights: NDArray[np.float32]
    errors: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def fit(cls, embeddings: NDArray[np.float32], table: CostTable, prices: Prices, seed: int) -> Self:  # noqa: ARG003
        """Weighted by tokens; the ridge is the one of least leave-one-out error. Nothing is drawn: no seed is used."""
        menu = Menu.of(table, prices)
        known = labelled(table)
        table, embeddings = table.rows(known), embeddings[known]
        tokens = table.tokens.astype(np.float64)
        share = tokens / tokens.mean()
        rows = _with_constant(embeddings) * np.sqrt(share)[:, None]
        costs = menu.costs(table) / tokens[:, None] * np.sqrt(share)[:, None]
        values, vectors = np.linalg.eigh(rows.T @ rows)
        values = np.maximum(values, 0.0)
        seen, aims = rows @ vectors, vectors.T @ (rows.T @ costs)
        ridge = min(_PENALTIES, key=lambda each: float((_left_out(seen, aims, costs, values + each) ** 2).sum()))
        weights = vectors @ (aims / (values + ridge)[:, None])
        missed = _left_out(seen, aims, costs, values + ridge)
        errors = np.sqrt(((missed - missed[:, [menu.fallback]]) ** 2).mean(axis=0))
        spread = vectors.T * (np.sqrt(values) / (values + ridge))[:, None]
        return cls(menu, weights.T.astype(np.float32), errors.astype(np.float32), spread.astype(np.float32))

    def predict(self, embeddings: NDArray[np.float32]) -> Floats:
        """Cost a token of each draft in plain target runs, float64 [n, d]."""
        return np.asarray(_with_constant(embeddings) @ self.weights.T.astype(np.float64))

    def standard_errors(self, embeddings: NDArray[np.float32]) -> Floats:
        """Of each draft's predicted difference from the fallback, float64 [n, d]; 0 for the fallback itself."""
        lengths = np.linalg.norm(_with_constant(embeddings) @ self.spread.T.astype(np.float64), axis=1)
        return np.asarray(lengths[:, None] * self.errors.astype(np.float64))

    def choose(self, embeddings: NDArray[np.float32]) -> Choices:
        """The cheapest after one standard error is added to each but the fallback, int64 [n]."""
        return np.asarray((self.predict(embeddings) + self.standard_errors(embeddings)).argmin(axis=1))

    def to_arrays(self) -> Arrays:
        """Everything but the names of drafts."""
        own = {"weights": self.weights, "errors": self.errors, "spread": self.spread}
        return {**self.menu.to_arrays(), **own}

    @classmethod
    def from_arrays(cls, drafts: tuple[str, ...], arrays: Arrays) -> Self:
        """The inverse of `to_arrays`."""
        return cls(Menu.from_arrays(drafts, arrays), arrays["weights"], arrays["errors"], arrays["spread"])


def _with_constant(embeddings: NDArray[np.float32]) -> Floats:
    return np.concatenate([embeddings.astype(np.float64), np.ones((len(embeddings), 1))], axis=1)


def _left_out(seen: Floats, aims: Floats, costs: Floats, stiff: Floats) -> Floats:
    """Residual of each prompt [n, d] from the regression without it (the PRESS residual, Allen 1974)."""
    residual = costs - seen @ (aims / stiff[:, None])
    leverage = (seen**2 / stiff).sum(axis=1)
    return np.asarray(residual / (1.0 - leverage)[:, None])
