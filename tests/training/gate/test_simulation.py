"""The simulated gate keeps its promises on few promotions; `polydraft gate simulate` runs all of them."""

import pytest
import torch

from training.gate import GateRule
from training.gate.simulation import NEVER, SCENARIOS, draw_costs, simulate, wilson_interval

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def test_noise_is_not_promoted_but_by_the_token_test():
    """Without a difference the gate and its betting twin stay below 5 %; pooled tokens, looked at often, do not."""
    found = simulate(BY_NAME["no difference"], 60, GateRule())
    assert found.share("gate") <= 0.05
    assert found.share("betting") <= 0.05
    assert found.share("token test") > 0.15
    assert found.share("token test, peeking") > 0.4
    assert found.median("gate") is None


def test_a_copy_is_never_promoted():
    """There is nothing to see, so no number of looks sees it."""
    assert (simulate(BY_NAME["identity copy"], 10, GateRule()).promoted_at["gate"] == NEVER).all()


def test_a_gain_of_two_hundredths_is_found_in_time():
    """In the median within 150 requests."""
    median = simulate(BY_NAME["alpha +.02"], 40, GateRule()).median("gate")
    assert median is not None
    assert median <= 150


def test_the_simulated_gain_is_the_one_that_is_claimed():
    """Accepted tokens of champion and candidate differ by what the scenario says, also where drafts disagree."""
    for scenario in SCENARIOS:
        _, _, before, after, tokens = draw_costs(scenario, 10, 800, torch.Generator().manual_seed(1))
        proposed = tokens.sum() - tokens.numel()
        assert float((after.sum() - before.sum()) / proposed) == pytest.approx(scenario.gain, abs=2e-3)


@pytest.mark.parametrize(("successes", "interval"), [(0, (0.0, 0.0188)), (10, (0.0274, 0.0896)), (200, (0.9812, 1.0))])
def test_wilson_intervals(successes, interval):
    """Values of 200 trials as published calculators give them."""
    assert wilson_interval(successes, 200) == pytest.approx(interval, abs=1e-4)
