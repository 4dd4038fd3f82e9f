"""Is the query of any topic at all? Two tests, both in numpy.

*Scope head*: a logistic regression of topic prompts against foreign prompts, on the embedding and on its distance to
every topic (Mahalanobis, one shrunk covariance for all). *Distance*: the nearest topic must not be further than nearly
all prompts of the topics were, for queries unlike everything that the head was trained on, such as another language.
A query is rejected when either test fails.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.classifier import Floats, Probabilities


@dataclass(frozen=True)
class ScopeGate:
    """The out-of-scope gate.

    Attributes:
        weights: float32 [dim + topics], of the scope head, over embedding and distances; positive means in scope.
        bias: of the scope head.
        threshold: least probability of being in scope that passes.
        means: float32 [topics, dim], mean embedding of each topic.
        whitening: float32 [dim, rank]; scales a difference from a mean so that its usual length is one.
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
        return self._in_scope(embeddings, self.distances(embeddings))

    def passes(self, embeddings: Floats) -> NDArray[np.bool_]:
        """Whether each query is in scope, bool [n]."""
        distances = self.distances(embeddings)
        near = distances.min(axis=1) <= self.max_distance
        return np.asarray((self._in_scope(embeddings, distances) >= self.threshold) & near)

    def distances(self, embeddings: Floats) -> Floats:
        """Distance to each topic, float32 [n, topics]; about one for a topic's own prompts."""
        return topic_distances(embeddings, self.means, self.whitening)

    def _in_scope(self, embeddings: Floats, distances: Floats) -> Probabilities:
        logits = scope_features(embeddings, distances) @ self.weights.astype(np.float64) + self.bias
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -50.0, 50.0))))


def topic_distances(embeddings: Floats, means: Floats, whitening: Floats) -> Floats:
    """Length of the whitened difference from each mean, float32 [n, topics]."""
    rows, centres = embeddings @ whitening, means @ whitening
    squared = (rows**2).sum(axis=1)[:, None] - 2.0 * rows @ centres.T + (centres**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)), dtype=np.float32)


def scope_features(embeddings: Floats, distances: Floats) -> Floats:
    """What the scope head sees, float32 [n, dim + topics]."""
    return np.concatenate([embeddings, distances], axis=1)


def shrunk_whitening(centred: Floats, shrinkage: float) -> Floats:
    """W [dim, dim] with W Wᵀ = inverse shrunk covariance / dim, for ``centred`` [n, dim]; ``shrinkage`` above 0."""
    dim = centred.shape[1]
    covariance = centred.T.astype(np.float64) @ centred / len(centred)
    sphere = np.eye(dim) * np.trace(covariance) / dim
    values, vectors = np.linalg.eigh((1.0 - shrinkage) * covariance + shrinkage * sphere)
    return np.asarray(vectors / np.sqrt(values * dim), dtype=np.float32)
