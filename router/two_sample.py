"""Do two samples of embeddings come from one law? The energy test, with a permutation p-value."""

import numpy as np
from numpy.typing import NDArray

from router.classifier import Floats

PERMUTATIONS = 4999
_AT_ONCE = 500  # permutations a product of matrices


def energy_test(first: Floats, second: Floats, permutations: int = PERMUTATIONS, seed: int = 0) -> tuple[float, float]:
    """Energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| (Szekely and Rizzo 2013, eq. 6), and its p-value.

    Both samples are drawn independently under the null and the order of their union says nothing: then the p-value,
    (1 + permutations with a distance as large) / (1 + permutations), is valid at any sample size.

    Args:
        first, second: float32 [n, dim] and [m, dim], two or more of each.

    Raises:
        ValueError: fewer.
    """
    n, m = len(first), len(second)
    if min(n, m) < 2:
        raise ValueError("a sample of fewer than two says nothing")
    rows = np.concatenate([first, second]).astype(np.float64)
    squared = (rows**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squared[:, None] + squared - 2 * rows @ rows.T, 0))
    weights = np.r_[np.full(n, 1 / n), np.full(m, -1 / m)]
    found = _distance(weights[None], distances)[0]
    generator = np.random.default_rng(seed)
    as_large = 0
    for start in range(0, permutations, _AT_ONCE):
        shuffled = np.tile(weights, (min(_AT_ONCE, permutations - start), 1))
        as_large += int((_distance(generator.permuted(shuffled, axis=1), distances) >= found - 1e-12).sum())
    return float(found), (1 + as_large) / (1 + permutations)


def _distance(weights: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Energy distance for each row of signed weights [k, n + m], whose ends cancel: [k]."""
    return np.asarray(-((weights @ distances) * weights).sum(axis=1))
