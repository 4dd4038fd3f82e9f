"""Gains and their intervals."""

import torch

from training.experiments.intervals import gain_interval

TOKENS = torch.full((200,), 60.0, dtype=torch.float64)


def runs(mean: float, seed: int) -> torch.Tensor:
    noise = torch.randn(2, 200, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return mean + noise


def test_the_same_drafts_gain_nothing():
    same = runs(30, 0)
    assert gain_interval(TOKENS, same, same) == (0.0, 0.0, 0.0)


def test_the_interval_holds_the_true_gain_about_as_often_as_it_says():
    """95 % of the time, with and without a gain; a gain of a tenth is told from none every time."""
    missed_zero = missed_gain = 0
    for seed in range(100):
        _, low, high = gain_interval(TOKENS, runs(30, seed), runs(30, 100 + seed))
        missed_zero += not low < 0 < high
        _, low, high = gain_interval(TOKENS, runs(30, seed), runs(33, 100 + seed))
        missed_gain += not low < 0.1 < high
        assert low > 0
    assert 1 <= missed_zero <= 12
    assert 1 <= missed_gain <= 12


def test_pairing_by_request_narrows_the_interval():
    """Requests that are long for one draft are long for the other; unpaired, that would drown the gain."""
    hard = torch.rand(200, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 50
    mine, before = runs(30, 1) + hard, runs(31, 2) + hard
    _, low, high = gain_interval(TOKENS, mine, before)
    _, shuffled_low, shuffled_high = gain_interval(TOKENS, mine, before.flip(-1))
    assert high - low < 0.5 * (shuffled_high - shuffled_low)
