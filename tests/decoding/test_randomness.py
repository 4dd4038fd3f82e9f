"""Seeded decisions follow their weights, one by one or many together."""

import pytest
import torch
from scipy.stats import chisquare

from decoding.randomness import SeededRandomness, choose_rows


def test_rows_drawn_together_equal_rows_drawn_alone():
    """Each row is decided by its own source and by nothing else."""
    weights = torch.rand(9, 4096, generator=torch.Generator().manual_seed(0))
    together = [SeededRandomness(seed) for seed in range(9)]
    alone = [SeededRandomness(seed) for seed in range(9)]
    for _ in range(20):
        expected = [source.choose(row) for source, row in zip(alone, weights, strict=True)]
        assert choose_rows(weights, together) == expected


def test_one_source_may_decide_several_rows_of_a_call():
    """In their order, as if asked one after the other."""
    weights = torch.rand(6, 50, generator=torch.Generator().manual_seed(1))
    source, same = SeededRandomness(4), SeededRandomness(4)
    assert choose_rows(weights, [source] * 6) == [same.choose(row) for row in weights]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_follow_the_weights(dtype):
    """Chi-square over 50 000 draws; weights that are a little off are caught by the same test."""
    weights = torch.tensor([0.0, 3.0, 1.0, 0.0, 0.5, 2.0, 0.0], dtype=dtype)
    source, draws = SeededRandomness(0), 50_000
    counts = torch.tensor(choose_rows(weights.expand(draws, -1), [source] * draws)).bincount(minlength=7)
    assert counts[weights == 0].sum() == 0
    kept = weights > 0
    law = weights.double() / weights.double().sum() * draws
    assert chisquare(counts[kept].double(), law[kept]).pvalue > 1e-3
    shifted = law + torch.tensor([0.0, -0.02, 0.0, 0.0, 0.0, 0.02, 0.0]) * draws
    assert chisquare(counts[kept].double(), shifted[kept]).pvalue < 1e-6


class Fixed(SeededRandomness):
    """Always the same uniform number."""

    def __init__(self, value):
        super().__init__(0)
        self._value = value

    def uniform(self):
        return self._value


@pytest.mark.parametrize("total", [1.0, 1.5, 3.0, 1 / 3, 1e-30, 7e20])
def test_the_least_and_the_largest_number_draw_tokens_that_have_a_weight(total):
    """No rounding leads past the last token with a weight, nor to one without before it."""
    weights = torch.tensor([0.0, 0.2, 0.0, 0.8, 0.0], dtype=torch.float64) * total
    assert Fixed(0.0).choose(weights) == 1
    assert Fixed(1 - 2**-53).choose(weights) == 3


def test_acceptance_is_certain_at_one_and_impossible_at_zero():
    """In between it happens as often as it should."""
    source = SeededRandomness(1)
    assert all(source.accept(1.0) and not source.accept(0.0) for _ in range(1000))
    accepted = sum(source.accept(0.3) for _ in range(20_000))
    assert chisquare([accepted, 20_000 - accepted], [6000, 14_000]).pvalue > 1e-3
