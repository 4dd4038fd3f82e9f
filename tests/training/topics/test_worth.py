"""What a further draft is worth: recommended where it helps, not where it is noise."""

import pytest
import torch

from training.topics.worth import Worth


def runs(gain: float, seed: int, size: int = 150, noise: float = 0.05):
    """Target runs of prompts, [1, n]: ``gain`` fewer than 30, relative, with noise of their own."""
    draw = torch.Generator().manual_seed(seed)
    base = 20 + 20 * torch.rand(size, generator=torch.Generator().manual_seed(0))
    return (base / (1 + gain) * (1 + noise * torch.randn(size, generator=draw)))[None]


def test_the_number_after_which_nothing_more_is_gained_is_recommended():
    gains = {1: 0.0, 2: 0.06, 3: 0.12, 4: 0.12, 5: 0.12}
    found = Worth({k: runs(gain, k) for k, gain in gains.items()}).recommend()
    assert (found.k, found.low) == (3, 3)


def test_noise_recommends_one_draft():
    """The negative control: of 40 searches without any gain, at most a few recommend more than one draft."""
    found = [Worth({k: runs(0.0, 100 * s + k) for k in range(1, 7)}).recommend().k for s in range(40)]
    assert sum(k > 1 for k in found) <= 4


def test_a_number_that_is_worse_than_a_smaller_one_is_passed_over():
    gains = {1: 0.0, 2: -0.05, 3: 0.10}
    assert Worth({k: runs(gain, k) for k, gain in gains.items()}).recommend().k == 3


def test_a_gain_at_the_edge_of_noise_makes_the_interval_wide():
    found = Worth({1: runs(0.0, 1), 2: runs(0.012, 2)}).recommend()
    assert (found.low, found.high) == (1, 2)


def test_the_gain_is_the_ratio_of_sums_with_an_interval_round_it():
    worth = Worth({1: runs(0.0, 1), 2: runs(0.1, 1)})
    gain = worth.gain(2, 1)
    assert gain.value == pytest.approx(0.1)
    assert gain.low == pytest.approx(0.1)
    assert gain.high == pytest.approx(0.1)
    assert worth.gain(1, 2).value == pytest.approx(1 / 1.1 - 1)


def test_seeds_are_averaged():
    both = torch.cat([runs(0.1, 1), runs(0.3, 1)])
    gain = Worth({1: runs(0.0, 1).expand(2, -1), 2: both}).gain(2, 1)
    assert gain.value == pytest.approx(0.2)
