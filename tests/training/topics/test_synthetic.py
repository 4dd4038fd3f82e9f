"""Prompts that the target writes: in the template of those that were recorded, new, each once, and of the topic."""

import pytest

from tests.router.stub_encoder import StubEncoder
from training.topics.synthetic import on_topic, synthetic_prompts

BEFORE, AFTER = [1], [2, 3]
RECORDED = [[*BEFORE, *range(10 + n, 16 + n), *AFTER] for n in range(40)]


@pytest.fixture(scope="module")
def written(models):
    return synthetic_prompts(models[0], RECORDED, 200, seed=4)


class TestSyntheticPrompts:
    def test_they_stand_in_the_recorded_template_and_are_no_longer_than_what_was_recorded(self, written):
        """The toy target ends a turn now and then only; what never ends is left out."""
        assert 0 < len(written) < 200
        assert all(prompt[:1] == BEFORE and prompt[-2:] == AFTER for prompt in written)
        assert max(map(len, written)) <= max(map(len, RECORDED))

    def test_they_begin_as_recorded_ones_and_are_new(self, written):
        starts = {tuple(prompt[1:2]) for prompt in RECORDED}
        assert all(tuple(prompt[1:2]) in starts for prompt in written)
        assert not [prompt for prompt in written if prompt in RECORDED]
        assert len(set(map(tuple, written))) == len(written)

    def test_the_same_seed_writes_the_same_and_another_one_does_not(self, models, written):
        assert synthetic_prompts(models[0], RECORDED, 200, seed=4) == written
        assert synthetic_prompts(models[0], RECORDED, 200, seed=5) != written

    @pytest.mark.parametrize("recorded", [[], [[1, 5, 6], [1, 7, 8]], [[1, 2, 3], [1, 2, 3]]])
    def test_nothing_is_written_where_nobody_can_say_where_a_turn_ends(self, models, recorded):
        assert synthetic_prompts(models[0], recorded, 8) == []


class TestOnTopic:
    QUERIES = tuple(f"fever cough pain tablet doctor {n}" for n in range(30))

    def test_what_strays_is_left_out(self):
        texts = {
            1: "fever cough pain tablet doctor",
            2: "weather song alarm flight",
            3: "cough fever doctor tablet pain",
        }
        kept = on_topic([[1], [2], [3]], self.QUERIES, lambda ids: texts[ids[0]], StubEncoder())
        assert kept == [[1], [3]]

    def test_no_prompts_are_none(self):
        assert on_topic([], self.QUERIES, lambda _: "", StubEncoder()) == []
