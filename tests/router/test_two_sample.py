"""The energy test errs as often as it says, and sees a shift."""

import numpy as np
import pytest

from router.two_sample import energy_test


def drawn(count: int, seed: int, shift: float = 0.0):
    rows = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    rows[:, 0] += shift
    return rows


def test_false_alarms_are_as_rare_as_the_level():
    """200 pairs from one law at level 0.1: 20 expected, 7 and 33 are three standard deviations away."""
    p_values = [energy_test(drawn(30, 2 * s), drawn(40, 2 * s + 1), 99)[1] for s in range(200)]
    assert 7 <= sum(p <= 0.1 for p in p_values) <= 33


def test_a_shift_is_seen():
    assert energy_test(drawn(60, 1), drawn(60, 2, shift=1.0), 499)[1] <= 0.002


def test_the_distance_is_what_the_formula_says():
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, all pairs counted."""
    first, second = drawn(5, 1), drawn(7, 2)

    def mean(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=-1).mean()

    expected = 2 * mean(first, second) - mean(first, first) - mean(second, second)
    assert energy_test(first, second, 9)[0] == pytest.approx(expected, abs=1e-5)


def test_samples_of_one_are_refused():
    with pytest.raises(ValueError, match="fewer than two"):
        energy_test(drawn(1, 0), drawn(5, 1))
