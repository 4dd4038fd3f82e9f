"""Is the query of any topic at all? Two tests, both in numpy.

*Scope head*: a logistic regression of topic prompts against foreign prompts. *Distance*: how far the embedding lies
from the nearest topic's training prompts (Mahalanobis, shrunk covariance), for queries unlike everything that either
side of the head was trained on. A query is rejected when either test fails.
"""

from dataclasses import dataclass

import numpy as np

from router.classifier import Floats, Probabilities


@dataclass(frozen=True)
class ScopeGate:
    """The out-of-scope gate.

    Attributes:
        weights: float32 [dim], of the scope head; positive means in scope.
        bias: of the scope head.
        threshold: least probability of being in scope that passes.
        means: float32 [topics, dim], mean embedding of each topic.
        whitening: float32 [dim, rank]; differences from a mean times this have about unit variance.
        max_distance: greatest distance from the nearest topic that passes.
    """

    weights: Floats
    bias: float
    threshold: float
    means: Floats
    whitening: Floats
    max_distance: float

    def in_scope(self, embeddings: Floats) -> Probabilities:
        """Probability of belonging to any topic, float64 [n]."""
        logits = (embeddings @ self.weights + self.bias).astype(np.float64)
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -50.0, 50.0))))

    def distance(self, embeddings: Floats) -> Probabilities:
        """Mahalanobis distance to the nearest topic, float64 [n]."""
        projected = embeddings @ self.whitening
        centres = self.means @ self.whitening
        squared = (projected**2).sum(1)[:, None] - 2.0 * projected @ centres.T + (centres**2).sum(1)
        return np.asarray(np.sqrt(np.maximum(squared.min(axis=1), 0.0)), dtype=np.float64)

    def passes(self, embeddings: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Whether each query is in scope, bool [n]."""
        near = self.distance(embeddings) <= self.max_distance
        return np.asarray((self.in_scope(embeddings) >= self.threshold) & near)
