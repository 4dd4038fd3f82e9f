"""The watch over a draft that has just taken over: the sum, and what goes into it."""

import random
from statistics import median

import pytest

from decoding.load import load_model
from decoding.randomness import SeededRandomness
from decoding.request import Origin, Request, SamplingParams
from decoding.step_loop import StepLoop
from drafts.canary import CanaryRule, Checks, Cusum, shortfall
from drafts.model_drafter import ModelDrafter
from tests.decoding.conftest import write_checkpoint

RULE = CanaryRule()


def requests_until_alarm(fall: float, seed: int, most: int) -> int | None:
    """Shortfalls of unknown deviation 0.25, whose mean is ``fall`` deviations."""
    draw, cusum = random.Random(seed), Cusum(RULE)
    for count in range(1, most + 1):
        if cusum.add(0.25 * draw.gauss(fall, 1.0)):
            return count
    return None


class TestCusum:
    def test_equally_good_versions_are_seldom_given_up(self):
        """At most 4 in 100 within the requests that a version is watched for."""
        alarms = [requests_until_alarm(0.0, seed, RULE.most_requests) for seed in range(400)]
        assert sum(alarm is not None for alarm in alarms) <= 16

    @pytest.mark.parametrize(("fall", "within"), [(1.0, 30), (0.7, 80), (2.0, 16)])
    def test_worse_ones_are(self, fall, within):
        """The control: the same shortfalls with another mean. The median is as quick as it says."""
        alarms = [requests_until_alarm(fall, seed, RULE.most_requests) for seed in range(100)]
        assert None not in alarms
        assert median(alarms) <= within

    def test_nothing_is_decided_before_the_deviation_is_known(self):
        """Whatever the first requests look like; then they count."""
        cusum = Cusum(RULE)
        assert [cusum.add(1.0) for _ in range(RULE.burn_in - 1)] == [False] * (RULE.burn_in - 1)
        assert cusum.add(1.0)

    def test_identical_versions_never_differ(self):
        """Their shortfall is zero each time."""
        cusum = Cusum(RULE)
        assert not any(cusum.add(0.0) for _ in range(10_000))

    def test_a_better_version_stays(self):
        """The sum never falls below zero, nor rises."""
        draw, cusum = random.Random(1), Cusum(RULE)
        assert not any(cusum.add(draw.gauss(-0.1, 0.05)) for _ in range(1000))


class TestShortfall:
    def test_what_was_tested_follows_from_who_wrote_the_tokens(self):
        """Right where a token was accepted, wrong where it was corrected, untested elsewhere."""
        found = Checks()
        found.add(0, [Origin.PLAIN])
        found.add(1, [Origin.DRAFT, Origin.DRAFT, Origin.CORRECTED])
        found.add(4, [Origin.DRAFT, Origin.BONUS])
        assert found.places == [1, 2, 3, 4]
        assert found.right == [True, True, False, True]

    @pytest.fixture(scope="class")
    def folders(self, tmp_path_factory):
        """A target, a draft like it, and one that is not."""
        place = tmp_path_factory.mktemp("models")
        return [
            write_checkpoint(place / "target", "llama"),
            write_checkpoint(place / "other", "llama", num_hidden_layers=1),
        ]

    @pytest.mark.parametrize("lengths", [1, 3, 5])
    def test_a_version_before_that_is_the_same_falls_short_by_nothing(self, folders, lengths):
        """Replay of a draft on what it has served itself finds exactly what serving found."""
        target_folder, draft_folder = folders
        request, found = answer(target_folder, draft_folder, lengths)
        model = load_model(draft_folder, 1, 64)
        assert found.places
        assert shortfall(model, request.token_ids, len(request.prompt_token_ids), found) == 0

    def test_a_perfect_version_before_has_all_of_them_right(self, folders):
        """The target itself."""
        target_folder, draft_folder = folders
        request, found = answer(target_folder, draft_folder, 4)
        lost = shortfall(load_model(target_folder, 1, 64), request.token_ids, 6, found)
        assert lost == pytest.approx(1 - sum(found.right) / len(found.right))
        assert lost > 0


def answer(target, draft, length):
    """A request served with a draft, and where that was tested."""
    loop = StepLoop(load_model(target, 1, 64), {"draft": ModelDrafter(load_model(draft, 1, 64))})
    request = Request("1", [5, 9, 3, 7, 11, 4], SamplingParams(max_tokens=40), SeededRandomness(1), "draft", length)
    loop.admit(request)
    found = Checks()
    while loop.num_running or loop.num_waiting:
        for output in loop.step():
            if output.drafter:
                found.add(len(request.generated) - len(output.token_ids), output.origins)
    return request, found
