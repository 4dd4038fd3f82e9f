"""Multinomial logistic regression with a temperature, in numpy: no scikit-learn is needed to route."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class TopicClassifier:
    """Probability of each topic, given that the query is of one of them.

    Attributes:
        topics: names, in the order of the rows below.
        weights: float32 [topics, dim].
        bias: float32 [topics].
        temperature: divides the logits; fitted on prompts the weights have not seen.
    """

    topics: tuple[str, ...]
    weights: Floats
    bias: Floats
    temperature: float = 1.0

    def probabilities(self, embeddings: Floats) -> Probabilities:
        """Rows that sum to one, float64 [n, topics], for embeddings float32 [n, dim]."""
        return softmax(self.logits(embeddings) / self.temperature)

    def logits(self, embeddings: Floats) -> Probabilities:
        """Logits before the temperature, float64 [n, topics]."""
        return (embeddings @ self.weights.T + self.bias).astype(np.float64)


def softmax(logits: Probabilities) -> Probabilities:
    """Rows of ``logits`` [n, m] as probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
