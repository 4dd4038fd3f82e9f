from typing import get_args

import pytest
import torch

from decoding.request import SamplingParams
from drafts.learning import LearningSection
from tests.toy_traces import make_trace
from training.distillation.material import part_of
from training.losses import LOSSES
from training.online.lesson import compose, examples_of, greedy_share, plan_of
from training.online.split import is_held_out


class TestSplit:
    def test_a_prompt_is_held_out_for_good_and_with_all_its_answers(self):
        """The share is that of prompts, and whoever is held out at a small share is at a large one."""
        traces = [make_trace(number) for number in range(2000)]
        small, large = ({trace.token_ids[0] for trace in traces if is_held_out(trace, s)} for s in (0.1, 0.35))
        assert len(small) == pytest.approx(200, abs=40)
        assert len(large) == pytest.approx(700, abs=60)
        assert small < large
        again = {number for number in range(2000) if is_held_out(make_trace(number, tokens=9), 0.1)}
        assert again == small

    def test_a_fifth_is_what_distillation_does_not_learn_from(self):
        """So a draft that was distilled from the same log may come before the same gate."""
        for number in range(300):
            trace = make_trace(number)
            assert is_held_out(trace, 0.2) == (part_of(trace) != "train")


class TestCompose:
    @pytest.mark.parametrize(
        ("older", "others", "expected"),
        [(100, 100, (20, 20)), (0, 100, (0, 40)), (100, 5, (35, 5)), (7, 100, (7, 33)), (3, 4, (3, 4))],
    )
    def test_replay_is_a_share_of_the_whole(self, older, others, expected):
        """A quarter of 160 is 40, half of it of the topic where there are so many."""
        fresh = [make_trace(number) for number in range(120)]
        old = [make_trace(1000 + number) for number in range(older)]
        foreign = [make_trace(2000 + number, topic="math") for number in range(others)]
        found = compose(fresh, old, foreign, 0.25, seed=1)
        assert found[:120] == fresh
        counts = [sum(low <= trace.token_ids[0] < low + 1000 for trace in found[120:]) for low in (1000, 2000)]
        assert tuple(counts) == expected
        assert compose(fresh, old, foreign, 0.25, seed=1) == found

    def test_wrong_positions_count_twice(self):
        """All others once; a correction is what the target said in place of a refused proposal."""
        trace = make_trace(tokens=5)
        expected = [2.0 if origin == "corrected" else 1.0 for origin in trace.origins]
        assert 2.0 in expected
        assert torch.equal(examples_of([trace]).weights, torch.tensor(expected))


class TestPlan:
    def test_cross_entropy_is_for_greedy_traffic(self):
        """As large as the greedy share of the answers."""
        traces = [make_trace(number, sampling=SamplingParams(temperature=float(number % 4 > 0))) for number in range(8)]
        assert greedy_share(traces) == 0.25
        assert plan_of(LearningSection(), 0.25, 1).argmax_weight == pytest.approx(0.05)
        assert plan_of(LearningSection(), 0.0, 1).argmax_weight == 0

    def test_the_section_offers_losses_that_there_are(self):
        """And passes on what it says."""
        offered = get_args(LearningSection.model_fields["loss"].annotation)
        assert set(offered) <= LOSSES.keys()
        plan = plan_of(LearningSection(loss="tvd", steps=7, learning_rate=2e-4, ema=0.5), 0.0, 3)
        assert (plan.loss, plan.steps, plan.learning_rate, plan.ema, plan.seed) == ("tvd", 7, 2e-4, 0.5, 3)
