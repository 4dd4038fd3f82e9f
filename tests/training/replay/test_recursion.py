"""The recursion gives the mean over all ways that live chains can go."""

import itertools
import random

import pytest
import torch

from decoding.costs import StepCosts
from training.replay import (
    Acceptance,
    best_length,
    expected_by_position,
    expected_costs,
    expected_drafted,
    expected_runs,
    mean_acceptance,
    tokens_per_target_run,
)

COSTS = StepCosts(target={1: 1.0, 2: 1.2, 3: 1.3, 6: 1.9}, draft={1: 0.15})


def acceptance(values, first=1, max_tokens=None):
    return Acceptance(torch.tensor(values, dtype=torch.float64), first, max_tokens or len(values))


def live(accepted, length, first, max_tokens):
    """Runs, drafted tokens, cost, and (reached, accepted) by position of a live run with every token's fate set."""
    emitted = runs = drafted = 0
    cost, by_position = 0.0, [[0, 0] for _ in range(length)]
    while emitted < len(accepted):
        held = min(length, max_tokens - emitted - 1) if emitted >= first else 0
        runs, drafted = runs + 1, drafted + held
        cost += COSTS.target_run(held + 1) + held * COSTS.draft_step(1)
        for place in range(held):
            if emitted == len(accepted):
                break
            by_position[place][0] += 1
            emitted += 1
            if not accepted[emitted - 1]:
                break
            by_position[place][1] += 1
        else:
            emitted += 1  # the bonus token
    return runs, drafted, cost, by_position


def enumerated(values, length, first, max_tokens):
    """The mean of `live` over every combination of fates."""
    runs = drafted = cost = 0.0
    by_position = torch.zeros(length, 2, dtype=torch.float64)
    for fates in itertools.product([True, False], repeat=len(values)):
        chances = [value if fate else 1 - value for value, fate in zip(values, fates, strict=True)]
        chance = torch.tensor(chances, dtype=torch.float64).prod().item()
        counts = live(fates, length, first, max_tokens)
        runs, drafted, cost = runs + chance * counts[0], drafted + chance * counts[1], cost + chance * counts[2]
        by_position += chance * torch.tensor(counts[3])
    return runs, drafted, cost, by_position


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("spare", [0, 1, 3])  # tokens that the request might have gone on for: it met a stop token
@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_expectations_are_those_of_every_live_run_enumerated(size, spare, first):
    """Runs, drafted tokens, costs and counts by position, for every length, with clipping at both kinds of end."""
    draw = random.Random(size)
    values = [draw.random() for _ in range(size)]
    one = acceptance(values, first, size + spare)
    runs, drafted, costs = expected_runs([one], 6)[0], expected_drafted([one], 6)[0], expected_costs([one], 6, COSTS)[0]
    for length in range(1, 7):
        wanted = enumerated(values, length, first, size + spare)
        assert runs[length - 1] == pytest.approx(wanted[0], abs=1e-12)
        assert drafted[length - 1] == pytest.approx(wanted[1], abs=1e-12)
        assert costs[length - 1] == pytest.approx(wanted[2], abs=1e-12)
        counts = expected_by_position([one], length)
        torch.testing.assert_close(torch.stack([counts.reached, counts.accepted], dim=-1), wanted[3])


def test_whole_numbers_stay_whole():
    """With fates that are certain the expectation is the live count itself, to the last bit."""
    draw = random.Random(3)
    for size in (40, 333):
        values = [float(draw.random() < 0.8) for _ in range(size)]
        runs = expected_runs([acceptance(values)], 8)[0].tolist()
        assert runs == [live([bool(value) for value in values], k, 1, size)[0] for k in range(1, 9)]


def test_answers_side_by_side_do_not_touch_each_other():
    """A batch of different lengths gives each answer what it gets alone."""
    draw = random.Random(4)
    answers = [
        acceptance([draw.random() for _ in range(size)], size % 2, size + size % 3) for size in (1, 30, 7, 2, 12)
    ]
    together, costs = expected_runs(answers, 5), expected_costs(answers, 5, COSTS)
    for row, answer in enumerate(answers):
        torch.testing.assert_close(together[row], expected_runs([answer], 5)[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(costs[row], expected_costs([answer], 5, COSTS)[0], rtol=0, atol=1e-12)


def test_tokens_a_run_approach_the_closed_form():
    """(1 - alpha^(k+1)) / (1 - alpha) of Leviathan et al. 2023 for a long answer whose tokens are all alike."""
    answer = acceptance([0.7] * 4000)
    found = tokens_per_target_run([answer], 6)
    for length in range(1, 7):
        assert found[length - 1] == pytest.approx((1 - 0.7 ** (length + 1)) / 0.3, rel=2e-3)
    assert mean_acceptance([answer]) == pytest.approx(0.7)


def test_alpha_counts_only_tokens_that_a_proposal_may_hold():
    """The prompt's own token and the last one allowed are the target's in any case."""
    assert mean_acceptance([acceptance([0.0, 1.0, 1.0, 0.0], first=1, max_tokens=4)]) == 1.0
    assert mean_acceptance([acceptance([0.0, 1.0, 1.0, 0.0], first=0, max_tokens=9)]) == 0.5


def test_the_best_length_grows_with_alpha():
    """Nothing else does: costs are the same."""
    steep = StepCosts(target={1: 1.0, 2: 1.05}, draft={1: 0.1})
    lengths = [best_length([acceptance([alpha] * 200)], 12, steep) for alpha in (0.3, 0.6, 0.8, 0.95)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]
