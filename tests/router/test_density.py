"""Dense groups among rejected requests are found; scattered ones are not taken for one."""

import numpy as np
import pytest

from router.density import BASE_SHARE, LEAST_SHARE, base_share, binomial_tail, core_radius, densest, members_of

DIM, RADIUS = 64, 0.86


def scattered(count: int, seed: int, topics: int = 60):
    """Unit vectors round many centres of their own, as foreign requests are."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(topics, DIM))
    return unit(centres[draw.integers(topics, size=count)] + 0.8 * draw.normal(size=(count, DIM)))


def grouped(count: int, seed: int, strength: float = 1.1):
    """Unit vectors round one centre, about as wide as the core of a topic."""
    draw = np.random.default_rng(seed)
    return unit(np.eye(DIM)[0] * np.sqrt(DIM) * strength + 0.8 * draw.normal(size=(count, DIM)))


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def shuffled(*parts, seed: int = 0):
    rows = np.concatenate(parts)
    order = np.random.default_rng(seed).permutation(len(rows))
    truth = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return rows[order], truth[order]


def test_a_dense_group_among_scattered_requests_is_found_with_its_members():
    rows, truth = shuffled(grouped(80, 1), scattered(120, 2))
    found = densest(rows, RADIUS)
    assert found is not None
    assert found.p_value < 1e-4
    assert (truth[found.members] == 0).mean() > 0.98
    assert found.members.sum() > 70


def test_scattered_requests_are_not_dense():
    """The negative control: at level 0.01, none of 30 streams."""
    smallest = [densest(scattered(200, seed), RADIUS, seed=seed).p_value for seed in range(30)]
    assert min(smallest) > 0.01


def test_foreign_prompts_that_are_dense_in_the_same_place_raise_the_bar():
    """What known foreign traffic does, too, is no new topic."""
    rows, _ = shuffled(grouped(80, 1), scattered(120, 2))
    as_before = shuffled(grouped(400, 3), scattered(600, 4))[0]
    assert densest(rows, RADIUS, scattered(600, 5)).p_value < 1e-4
    assert densest(rows, RADIUS, as_before).p_value > 0.01


def test_foreign_prompts_elsewhere_lower_the_bar_as_far_as_it_goes():
    centre = grouped(200, 1).mean(axis=0)
    assert base_share(None, centre, RADIUS) == BASE_SHARE
    assert base_share(scattered(1000, 1), centre, RADIUS) == LEAST_SHARE


def test_too_few_requests_are_no_group():
    assert densest(scattered(12, 0), RADIUS) is None


def test_members_lie_in_the_ball_or_among_members_near_it():
    """Those beyond the edge are none, whoever their neighbours are."""
    rows, truth = shuffled(grouped(80, 1), scattered(120, 2))
    members = members_of(rows, rows[truth == 0].mean(axis=0), RADIUS)
    assert not members[truth == 1].any()


def test_the_core_of_known_topics_gives_the_radius():
    """A quarter of their requests are nearer to their own mean."""
    rows = grouped(200, 1)
    distances = np.linalg.norm(rows - rows.mean(axis=0), axis=1)
    assert core_radius(rows, ["a"] * 200) == pytest.approx(np.quantile(distances, 0.25), abs=1e-5)
    assert core_radius(rows[:3], ["a"] * 3) == RADIUS


def test_the_binomial_tail_is_exact():
    from scipy.stats import binom

    for count, size, share in [(0, 5, 0.3), (3, 5, 0.3), (30, 100, 0.12), (100, 100, 0.5)]:
        assert binomial_tail(count, size, share) == pytest.approx(binom.sf(count - 1, size, share), rel=1e-9)
