"""Clusters of embeddings, and how alike two groupings are."""

import numpy as np
import pytest

from router.clusters import adjusted_rand, cluster, purity, stability


def blobs(k: int, each: int = 30, spread: float = 0.05, seed: int = 0):
    """``k`` tight groups of unit vectors, and the group of each."""
    draw = np.random.default_rng(seed)
    centres = np.linalg.qr(draw.normal(size=(16, 16)))[0][:k]
    rows = np.repeat(centres, each, axis=0) + spread * draw.normal(size=(k * each, 16))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.repeat(np.arange(k), each)


def test_clear_groups_are_found_whatever_the_seed():
    """And they are the groups, in some order."""
    rows, truth = blobs(4)
    assert stability(rows, 4, (1, 2, 3)) == 1
    assert adjusted_rand(cluster(rows, 4, 1).nearest(rows), truth) == 1


def test_too_many_clusters_are_less_stable_than_the_right_number():
    rows, _ = blobs(3)
    assert stability(rows, 7, (1, 2, 3)) < stability(rows, 3, (1, 2, 3))


def test_one_cluster_is_the_mean_of_all():
    rows, _ = blobs(2)
    partition = cluster(rows, 1, 0)
    assert np.allclose(partition.centres[0], rows.mean(axis=0))
    assert set(partition.nearest(rows)) == {0}


def test_more_clusters_than_embeddings_are_refused():
    with pytest.raises(ValueError, match="3 embeddings make no 4 clusters"):
        cluster(np.eye(3, dtype=np.float32), 4, 0)


def test_agreement_is_that_of_scikit_learn():
    """Its adjusted_rand_score on random groupings; 1 for the same one under other names."""
    from sklearn.metrics import adjusted_rand_score

    draw = np.random.default_rng(0)
    for _ in range(5):
        first, second = draw.integers(4, size=50), draw.integers(3, size=50)
        assert adjusted_rand(first, second) == pytest.approx(adjusted_rand_score(first, second))
    assert adjusted_rand(["a", "a", "b"], [7, 7, 1]) == 1


def test_agreement_by_chance_is_nought():
    draw = np.random.default_rng(1)
    found = [adjusted_rand(draw.integers(5, size=200), draw.integers(5, size=200)) for _ in range(50)]
    assert abs(np.mean(found)) < 0.01


def test_purity_counts_the_largest_name_of_each_cluster():
    assert purity([0, 0, 0, 1, 1], ["a", "a", "b", "b", "b"]) == pytest.approx(4 / 5)
