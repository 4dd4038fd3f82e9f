"""The paired bootstrap over prompts."""

from dataclasses import dataclass

import numpy as np

from router.classifier import Probabilities

DRAWS = 2000
_AT_ONCE = 50


@dataclass(frozen=True)
class Difference:
    """A mean difference and its 95 % interval over ``count`` prompts."""

    mean: float
    lower: float
    upper: float
    count: int


def paired(before: Probabilities, after: Probabilities, weights: Probabilities | None = None) -> Difference:
    """How much less ``after`` costs than ``before``, both float64 [n] of the same prompts, by the percentile bootstrap.

    Args:
        weights: [n], such as tokens of each answer: the mean is then a ratio of sums. Without it, every prompt counts
            the same.
    """
    differences = np.asarray(before - after, dtype=np.float64)
    sizes = np.ones_like(differences) if weights is None else np.asarray(weights, dtype=np.float64)
    generator, count = np.random.default_rng(0), len(differences)
    means = []
    for _ in range(DRAWS // _AT_ONCE):
        drawn = generator.integers(count, size=(_AT_ONCE, count))
        means.append(differences[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    lower, upper = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Difference(float(differences.sum() / sizes.sum()), float(lower), float(upper), count)
