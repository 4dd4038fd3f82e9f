"""The out-of-scope gate."""

import dataclasses

import numpy as np

from router.gate import shrunk_whitening, topic_distances
from tests.router.routers import FOREIGN, WORDS, toy_router


def test_distances_equal_the_textbook_formula() -> None:
    """The whitened distance is the Mahalanobis distance under the shrunk covariance, over the root of the dimension."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(200, 4)).astype(np.float32) * [1.0, 2.0, 0.5, 0.1]
    rows = rows.astype(np.float32)
    means = np.stack([rows[:100].mean(axis=0), rows[100:].mean(axis=0)])
    centred = rows - np.repeat(means, 100, axis=0)
    covariance = 0.7 * centred.T @ centred / 200 + 0.3 * np.eye(4) * np.trace(centred.T @ centred / 200) / 4
    expected = [
        [np.sqrt((row - mean) @ np.linalg.inv(covariance) @ (row - mean) / 4) for mean in means] for row in rows
    ]
    found = topic_distances(rows, means, shrunk_whitening(centred, 0.3))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_either_test_rejects() -> None:
    """A foreign query fails the head; a topic query fails when the allowed distance is made smaller than its own."""
    router = toy_router()
    rows = router.encoder.encode([*WORDS.values(), FOREIGN])
    assert router.gate.passes(rows).tolist() == [True, True, True, False]
    near = dataclasses.replace(router.gate, max_distance=-1.0)
    assert not near.passes(rows).any()
