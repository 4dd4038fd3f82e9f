"""The gate's bounds hold at all times at once; those of a fixed sample do not."""

import math

import pytest
import torch

from training.gate.rule import GateRule
from training.gate.sequences import betting_wealth, confidence_sequence

RULE = GateRule()
STREAMS, REQUESTS = 400, 800


def skewed(seed=0):
    """Exponential differences of mean 0 and standard deviation 0.03, [streams, requests]."""
    generator = torch.Generator().manual_seed(seed)
    return -0.03 * (torch.rand(STREAMS, REQUESTS, generator=generator, dtype=torch.float64).log() + 1)


def streams(mean):
    """Differences of two skewed costs: heavy tails on both sides."""
    return mean + skewed(1) - skewed(2)


def share_ever(hits):
    return float(hits.any(-1).double().mean())


def test_the_radius_is_that_of_the_formula():
    """Robbins' normal mixture, written out in plain numbers at one time."""
    values = streams(0.01)[:1, :150]
    rho = (-2 * math.log(0.1) + math.log(1 - 2 * math.log(0.1))) / 200
    mean = sum(values[0].tolist()) / 150
    deviation = (sum((value - mean) ** 2 for value in values[0].tolist()) / 150) ** 0.5
    inner = 150 * rho + 1
    radius = deviation * math.sqrt(2 * inner / (150**2 * rho) * math.log(math.sqrt(inner) / 0.1))
    bounds = confidence_sequence(values, RULE)
    assert float(bounds.lower[0, -1]) == pytest.approx(mean - radius)
    assert float(bounds.upper[0, -1]) == pytest.approx(mean + radius)
    assert bounds.lower[0, RULE.burn_in - 2] == -torch.inf
    assert bounds.lower[0, RULE.burn_in - 1] > -torch.inf


def test_bounds_are_seldom_ever_wrong_and_the_usual_ones_are():
    """Looked at after every request, a 5 % bound fails in at most 5 % of streams; the usual one in more than 20 %."""
    values = streams(0.0)
    bounds = confidence_sequence(values, RULE)
    assert share_ever(bounds.lower > 0) <= 0.05
    assert share_ever(bounds.upper < 0) <= 0.05
    t = torch.arange(1, REQUESTS + 1)
    usual = bounds.mean - 1.645 * values.std(-1, keepdim=True) / t.sqrt()
    assert share_ever(usual[:, RULE.burn_in :] > 0) > 0.2


def test_bounds_are_asymptotic():
    """Where outcomes are as skewed to the left as an exponential law, they err more often; the bettor does not."""
    assert 0.05 < share_ever(confidence_sequence(-skewed(), RULE).lower > 0) < 0.15
    assert share_ever(betting_wealth(-skewed()) >= 20) <= 0.05


def test_bounds_find_a_difference():
    """A mean of a quarter of a standard deviation is seen in nearly every stream."""
    assert share_ever(confidence_sequence(streams(0.01), RULE).lower > 0) > 0.99


@pytest.mark.parametrize("side", [1, -1])
def test_the_bettor_seldom_gets_rich_by_chance(side):
    """Wealth of 20 is reached in at most 5 % of streams, also where outcomes are as skewed as can be."""
    assert share_ever(betting_wealth(streams(0.0)) >= 20) <= 0.05
    assert share_ever(betting_wealth(side * skewed()) >= 20) <= 0.05


def test_the_bettor_wins_where_there_is_a_difference():
    """In nearly every stream."""
    assert share_ever(betting_wealth(streams(0.01)) >= 20) > 0.99


def test_a_stake_is_set_before_its_outcome():
    """Two last outcomes are paid by the same stake."""
    values = streams(0.01)[:1, :60].repeat(2, 1)
    values[:, -1] = torch.tensor([0.1, -0.05])
    wealth = betting_wealth(values, bound=0.2)
    stakes = (wealth[:, -1] / wealth[:, -2] - 1) / (values[:, -1] / 0.2)
    assert stakes[0] > 0
    assert stakes[0] == pytest.approx(float(stakes[1]))


@pytest.mark.parametrize("wrong", [{"alpha": 0.5}, {"margin": -1.0}, {"burn_in": 1}, {"burn_in": 900}])
def test_senseless_rules_are_refused(wrong):
    """Each with the value and its range."""
    with pytest.raises(ValueError, match="it must be"):
        GateRule(**wrong)
