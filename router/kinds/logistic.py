"""Logistic routers: classes of queries, and what every draft costs on each class.

Three ways to use them: the draft that a query's most probable topic is named after (`TopicKind`); the draft that was
most probably the cheapest (`MeasuredKind`); the draft whose expected cost over the topics is least (`ExpectedKind`).
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from router.classifier import Probabilities, TopicClassifier
from router.costs import CostTable, Floats, Prices
from router.kinds.menu import Arrays, Choices, Menu, labelled

_REGULARISATION = 10.0  # scikit-learn's C, as of the topic classifier
_CALIBRATION_SHARE = 0.2
_CONVERGED = {"tol": 1e-7, "max_iter": 20_000}  # else rounding decides where the solver stops


@dataclass(frozen=True)
class TopicKind:
    """Topic names as classes.

    Attributes:
        menu: the drafts.
        classifier: embedding -> probability of each class, calibrated by its temperature.
        class_drafts: the draft that each class leads to, int64 [classes].
        class_costs: mean cost a token of each draft on each class, float32 [classes, d].
        class_tokens: mean length of the answers of each class, float32 [classes]; a wrong draft costs a long answer
            more than it costs a short one.
    """

    name: ClassVar[str] = "logistic"

    menu: Menu
    classifier: TopicClassifier
    class_drafts: Choices
    class_costs: NDArray[np.float32]
    class_tokens: NDArray[np.float32]

    @classmethod
    def fit(cls, embeddings: NDArray[np.float32], table: CostTable, prices: Prices, seed: int) -> Self:
        """Four fifths of the prompts, drawn by ``seed``, give the weights, the others the temperature."""
        menu = Menu.of(table, prices)
        known = labelled(table) & np.array([group != "" for group in table.groups])
        table, embeddings = table.rows(known), embeddings[known]
        names, classes = np.unique(np.array(table.groups), return_inverse=True)
        return cls._fit(menu, embeddings, table, tuple(map(str, names)), classes, np.ones(len(table)), seed)

    @classmethod
    def _fit(
        cls,
        menu: Menu,
        embeddings: NDArray[np.float32],
        table: CostTable,
        names: tuple[str, ...],
        classes: Choices,
        weights: Floats,
        seed: int,
    ) -> Self:
        classifier = _fit_classifier(embeddings, names, classes, weights, seed)
        costs, member = menu.costs(table), np.eye(len(names))[classes]
        tokens = member.T @ table.tokens
        class_costs = (member.T @ costs) / tokens[:, None]
        class_tokens = (tokens / member.sum(axis=0)).astype(np.float32)
        return cls(menu, classifier, menu.of_groups(names), class_costs.astype(np.float32), class_tokens)

    def probabilities(self, embeddings: NDArray[np.float32]) -> Probabilities:
        """Of each class, float64 [n, classes]."""
        return self.classifier.probabilities(embeddings)

    def predict(self, embeddings: NDArray[np.float32]) -> Floats:
        """Expected cost a token of each draft in plain target runs, float64 [n, d]."""
        tokens = self.probabilities(embeddings) * self.class_tokens
        return np.asarray(tokens @ self.class_costs / tokens.sum(axis=1, keepdims=True))

    def choose(self, embeddings: NDArray[np.float32]) -> Choices:
        """The draft of the most probable class, int64 [n]."""
        return np.asarray(self.class_drafts[self.probabilities(embeddings).argmax(axis=1)])

    def to_arrays(self) -> Arrays:
        """Everything but the names of drafts and classes."""
        return {
            **self.menu.to_arrays(),
            "weights": self.classifier.weights,
            "bias": self.classifier.bias,
            "temperature": np.array([self.classifier.temperature], dtype=np.float32),
            "class_drafts": self.class_drafts.astype(np.float32),
            "class_costs": self.class_costs,
            "class_tokens": self.class_tokens,
        }

    @classmethod
    def from_arrays(cls, drafts: tuple[str, ...], arrays: Arrays) -> Self:
        """The inverse of `to_arrays`; classes are then called by their numbers."""
        names = tuple(map(str, range(len(arrays["bias"]))))
        classifier = TopicClassifier(names, arrays["weights"], arrays["bias"], float(arrays["temperature"][0]))
        class_drafts = arrays["class_drafts"].astype(np.int64)
        costs, tokens = arrays["class_costs"], arrays["class_tokens"]
        return cls(Menu.from_arrays(drafts, arrays), classifier, class_drafts, costs, tokens)


@dataclass(frozen=True)
class ExpectedKind(TopicKind):
    """Topic names as classes, and the draft of least expected cost: a topic may well be served by another's draft."""

    name: ClassVar[str] = "expected cost"

    def choose(self, embeddings: NDArray[np.float32]) -> Choices:
        """The draft of least expected cost, int64 [n]."""
        return np.asarray(self.predict(embeddings).argmin(axis=1))


@dataclass(frozen=True)
class MeasuredKind(TopicKind):
    """The draft that was cheapest as the class; prompts on which it hardly matters hardly count."""

    name: ClassVar[str] = "measured class"

    @classmethod
    def fit(cls, embeddings: NDArray[np.float32], table: CostTable, prices: Prices, seed: int) -> Self:
        """As `TopicKind.fit`; a prompt weighs what the second cheapest draft would have cost more."""
        menu = Menu.of(table, prices)
        known = labelled(table)
        table, embeddings = table.rows(known), embeddings[known]
        costs = menu.costs(table)
        cheapest = np.sort(costs, axis=1)
        margin = cheapest[:, min(1, costs.shape[1] - 1)] - cheapest[:, 0]
        best, classes = np.unique(costs.argmin(axis=1), return_inverse=True)
        weights = margin / margin.mean() if margin.any() else np.ones(len(table))
        return cls._fit(menu, embeddings, table, tuple(menu.drafts[i] for i in best), classes, weights, seed)


def _fit_classifier(
    rows: NDArray[np.float32], names: tuple[str, ...], classes: Choices, weights: Floats, seed: int
) -> TopicClassifier:
    if len(names) < 2:
        shape = len(names), rows.shape[1]
        return TopicClassifier(names, np.zeros(shape, dtype=np.float32), np.zeros(shape[0], dtype=np.float32))
    from sklearn.linear_model import LogisticRegression

    from router.training import fit_temperature

    held_out = _drawn(classes, seed)
    model: Any = LogisticRegression(C=_REGULARISATION, **_CONVERGED)
    model.fit(rows[~held_out], classes[~held_out], sample_weight=weights[~held_out])
    found, bias = model.coef_, model.intercept_
    if len(names) == 2:
        # scikit-learn keeps one row for two classes.
        found, bias = np.concatenate([-found, found]) / 2, np.concatenate([-bias, bias]) / 2
    classifier = TopicClassifier(names, found.astype(np.float32), bias.astype(np.float32))
    temperature = fit_temperature(classifier.logits(rows[held_out]), classes[held_out])
    return replace(classifier, temperature=float(np.float32(temperature)))


def _drawn(classes: Choices, seed: int) -> NDArray[np.bool_]:
    """A share of each class, drawn by ``seed``; never all of one."""
    generator = np.random.default_rng(seed)
    drawn = np.zeros(len(classes), dtype=np.bool_)
    for number in range(int(classes.max()) + 1):
        members = generator.permutation(np.flatnonzero(classes == number))
        drawn[members[: int(len(members) * _CALIBRATION_SHARE)]] = True
    if not drawn.any():
        return np.arange(len(classes)) == 0 if len(classes) > len(np.unique(classes)) else drawn
    return drawn
