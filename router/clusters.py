"""Clusters of embeddings, and how well two ways of grouping agree. scikit-learn is imported only to cluster."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from router.classifier import Floats

_STARTS = 4  # of k-means, the best of which is kept

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """Clusters by their centres, float32 [k, dim]."""

    centres: Floats

    def __len__(self) -> int:
        return len(self.centres)

    def nearest(self, embeddings: Floats) -> Labels:
        """The cluster of each of [n, dim], int64 [n]."""
        # Of a - c squared, what depends on a alone moves no minimum.
        return np.asarray(((self.centres**2).sum(axis=1) - 2.0 * embeddings @ self.centres.T).argmin(axis=1))


def cluster(embeddings: Floats, k: int, seed: int) -> Partition:
    """K-means on embeddings of length one, float32 [n, dim]; the same for the same seed.

    Raises:
        ValueError: fewer embeddings than clusters.
    """
    if not 1 <= k <= len(embeddings):
        raise ValueError(f"{len(embeddings)} embeddings make no {k} clusters")
    if k == 1:
        return Partition(embeddings.mean(axis=0, keepdims=True))
    from sklearn.cluster import KMeans

    found = KMeans(k, n_init=_STARTS, random_state=seed).fit(embeddings)
    return Partition(found.cluster_centers_.astype(np.float32))


def adjusted_rand(first: Sequence[Hashable] | Labels, second: Sequence[Hashable] | Labels) -> float:
    """Agreement of two groupings of the same things: 1 if they are the same, 0 on average by chance.

    Hubert and Arabie 1985, eq. 5; of one group against one group it is 1.
    """
    counts = _crossed(first, second)
    together, rows, columns = (
        float((each * (each - 1) / 2).sum()) for each in (counts, counts.sum(axis=1), counts.sum(axis=0))
    )
    pairs = counts.sum() * (counts.sum() - 1) / 2
    expected, most = (rows * columns / pairs if pairs else 0.0), (rows + columns) / 2
    return 1.0 if most == expected else float((together - expected) / (most - expected))


def purity(labels: Sequence[Hashable] | Labels, names: Sequence[Hashable]) -> float:
    """Share of things whose cluster is mostly of their name."""
    counts = _crossed(labels, names)
    return float(counts.max(axis=1).sum() / counts.sum())


def stability(embeddings: Floats, k: int, seeds: Sequence[int]) -> float:
    """Mean adjusted Rand index over all pairs of seeds' clusterings of [n, dim]; 1 where the seed changes nothing."""
    labels = [cluster(embeddings, k, seed).nearest(embeddings) for seed in seeds]
    return float(np.mean([adjusted_rand(a, b) for a, b in combinations(labels, 2)])) if len(labels) > 1 else 1.0


def _crossed(first: Sequence[Hashable] | Labels, second: Sequence[Hashable] | Labels) -> NDArray[np.float64]:
    """How many things are in each pair of groups, [groups of the first, groups of the second]."""
    _, rows = np.unique(np.asarray(first), return_inverse=True)
    _, columns = np.unique(np.asarray(second), return_inverse=True)
    counts = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(counts, (rows, columns), 1)
    return counts
