"""Hedge inside a request: replayed exactly."""

import numpy as np
import pytest
import torch

from router.costs import Prices
from router.hedge import HedgeRule, leaders, log_prior
from training.labels.hedge import hedge_runs
from training.replay import Acceptance, expected_runs

RULE = HedgeRule(chunk=4, looks=8, candidates=2, lead=0.5)


def answer(*values, first=1, most=100):
    return Acceptance(torch.tensor(values, dtype=torch.float64), first, most)


def random_answer(seed, size=30, most=100):
    draw = torch.Generator().manual_seed(seed)
    return answer(*torch.rand(size, generator=draw, dtype=torch.float64).tolist(), first=seed % 2, most=most)


class TestRuns:
    @pytest.mark.parametrize("length", [1, 3, 6])
    @pytest.mark.parametrize("most", [25, 26, 30, 31, 100])
    def test_with_one_draft_it_is_the_replay_of_that_draft(self, length, most):
        """Short answers and proposals clipped at the last allowed token included."""
        for seed in range(4):
            one = random_answer(seed, min(30, most), most)
            found = hedge_runs([one], np.zeros(1), length, RULE)
            assert found.runs.sum() == pytest.approx(float(expected_runs([one], length)[0, length - 1]))
            assert (found.switches, found.reads, found.rows) == (0, 0, 0)

    def test_without_looks_it_is_the_draft_that_the_router_chose(self):
        """And scoring costs nothing."""
        both = [random_answer(2), random_answer(4)]
        found = hedge_runs(both, log_prior([0.8, 0.6], RULE), 4, HedgeRule(looks=0))
        assert found.runs[0] == 0
        assert found.runs[1] == pytest.approx(float(expected_runs(both[1:], 4)[0, 3]))
        assert (found.switches, found.reads) == (0, 0)

    def test_the_better_draft_takes_over_in_mid_answer(self):
        """Counted by hand: plain first token, four runs of one token, a look at four, then runs of three tokens."""
        good, bad = answer(*[1.0] * 16, first=0), answer(*[0.0] * 16, first=0)
        found = hedge_runs([bad, good], log_prior([0.5, 0.6], RULE), 2, RULE, prompt=10)
        assert found.runs.tolist() == [4.0, 4.0]
        assert found.switches == 1
        # Looks at 4, at 8 (seen at 10), at 12 (seen at 13): one other draft each, the prompt once.
        assert (found.reads, found.rows) == (3, 10 + 3 * 4)

    def test_expectations_are_those_of_drawn_runs(self):
        """Every block drawn by its acceptances, thousands of times; the controls are too many runs by a tenth."""
        both = [random_answer(1, 24), random_answer(3, 24)]
        prior = log_prior([0.6, 0.61], RULE)
        found = hedge_runs(both, prior, 3, RULE, prompt=5)
        losses = np.stack([1 - each.values.numpy() for each in both])
        who = leaders(prior, losses, RULE)
        assert len(set(who)) == 2, "nobody took over: the test says nothing"
        draw = np.random.default_rng(0)
        runs, switches = [], []
        for _ in range(4000):
            place, count, changes = 0, 0, 0
            while place < 24:
                drafted = 0 if place < 1 else 3
                kept = 0
                while kept < drafted and place + kept < 24 and draw.random() < 1 - losses[who[place], place + kept]:
                    kept += 1
                end = place + kept + 1
                changes += end < 24 and who[end] != who[place]
                count, place = count + 1, end
            runs.append(count)
            switches.append(changes)
        error = np.std(runs) / np.sqrt(len(runs))
        assert abs(np.mean(runs) - found.runs.sum()) < 4 * error < 0.1 * found.runs.sum()
        assert abs(np.mean(switches) - found.switches) < 0.1

    def test_answers_of_two_texts_are_refused(self):
        """They have no text in common."""
        with pytest.raises(ValueError, match="several answers"):
            hedge_runs([answer(1.0, 1.0), answer(1.0)], np.zeros(2), 2, RULE)


class TestCost:
    def test_scoring_is_charged_a_draft_step_a_forward_and_a_price_a_row(self):
        """Free where nobody says what a row costs, for comparison."""
        good, bad = answer(*[1.0] * 16, first=0), answer(*[0.0] * 16, first=0)
        found = hedge_runs([bad, good], log_prior([0.5, 0.6], RULE), 2, RULE, prompt=10)
        prices = Prices((0.1, 0.1), (1.0, 1.1, 1.2))
        assert found.cost(prices, 2) == pytest.approx(8 * (1.2 + 0.2))
        assert found.cost(prices, 2, row=0.01) == pytest.approx(8 * (1.2 + 0.2) + 3 * 0.1 + 19 * 0.01)
