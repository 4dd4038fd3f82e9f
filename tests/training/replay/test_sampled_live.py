"""At temperatures above 0 replay gives the mean of live runs, and a wrong ratio would be noticed."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.step_loop import StepLoop
from drafts.model_drafter import ModelDrafter
from tests.toys import ToyModel
from tests.training.replay.recorded import recorded
from training.replay import acceptances, expected_runs
from training.replay.temperature import fit_draft_temperature

REQUESTS, LENGTH = 2000, 3
PLAIN = SamplingParams(temperature=1.0, max_tokens=12, stop_token_ids=frozenset({2}))
PROCESSED = replace(PLAIN, temperature=0.8, top_p=0.85, frequency_penalty=0.7, repetition_penalty=1.3)


class QuickToy(ToyModel):
    """Remembers its logits; a draft's are its target's, sharpened, and noise."""

    def __init__(self, seed, target=None, noise=1.0, sharpness=1.0):
        super().__init__(7, seed, num_slots=100, max_length=24)
        self._target, self._noise, self._sharpness = target, noise, sharpness
        self._known = cache(self._find)

    def logits(self, context):
        return self._known(tuple(context[-self._memory :]))

    def _find(self, context):
        own = super().logits(context)
        return own if self._target is None else self._sharpness * (self._target.logits(context) + self._noise * own)


def live(sampling, draft, requests=REQUESTS):
    """Traces and target runs of live requests with ``draft``."""
    target = QuickToy(1)
    loop = StepLoop(target, {"draft": ModelDrafter(draft)})
    done = [
        Request(str(n), [n % 7, 3], sampling, SeededRandomness(n), drafter="draft", num_draft_tokens=LENGTH)
        for n in range(requests)
    ]
    loop.run(done)
    runs = torch.tensor([request.counts.num_target_runs for request in done], dtype=torch.float64)
    return [recorded(target, request) for request in done], runs


def standard_errors(runs, replayed):
    """By how many standard errors the mean of live runs is off what replay expects of the same texts."""
    surplus = runs - replayed
    return abs(float(surplus.mean() / (surplus.std() / len(surplus) ** 0.5)))


@pytest.mark.parametrize("sampling", [PLAIN, PROCESSED], ids=["plain", "processed"])
def test_the_expectation_is_the_mean_of_live_runs(sampling):
    """Within two standard errors over 2 000 requests; without the penalties and the cut it would be off."""
    draft = QuickToy(5, QuickToy(1), 0.5)
    traces, runs = live(sampling, draft)
    assert standard_errors(runs, expected_runs(acceptances(draft, traces), LENGTH)[:, -1]) < 2
    if sampling is PROCESSED:
        bare = [replace(trace, sampling=replace(PLAIN, temperature=0.8)) for trace in traces]
        assert standard_errors(runs, expected_runs(acceptances(draft, bare), LENGTH)[:, -1]) > 5


def test_the_ratio_is_of_the_tempered_draft():
    """A draft that proposes at 0.6 of the temperature replays right with q at 0.6 and wrong with q at 1."""
    sharp, draft = QuickToy(5, QuickToy(1), 0.5, sharpness=1 / 0.6), QuickToy(5, QuickToy(1), 0.5)
    traces, runs = live(PLAIN, sharp)
    assert standard_errors(runs, expected_runs(acceptances(draft, traces, 0.6), LENGTH)[:, -1]) < 2
    assert standard_errors(runs, expected_runs(acceptances(draft, traces, 1.0), LENGTH)[:, -1]) > 5


@pytest.mark.parametrize("planted", [0.5, 1.4])
def test_a_planted_draft_temperature_is_found(planted):
    """A draft that is its target, too flat or too sharp by a factor: the fit undoes it."""
    sampling = replace(PLAIN, max_tokens=20, stop_token_ids=frozenset())
    traces, _ = live(sampling, QuickToy(5), requests=60)
    fitted = fit_draft_temperature(QuickToy(3, QuickToy(1), 0.0, sharpness=planted), traces, LENGTH)
    assert fitted.temperature == pytest.approx(planted, rel=0.026)
    assert fitted.gain > 0.02


def test_greedy_answers_have_no_temperature_to_fit():
    """They are left out, and all of them are refused."""
    traces, _ = live(replace(PLAIN, temperature=0.0), QuickToy(5), requests=3)
    with pytest.raises(ValueError, match="greedy"):
        fit_draft_temperature(QuickToy(3), traces)
