"""A draft that is changed in mid-answer: the same text, the counts that replay says, every forward accounted for."""

import numpy as np
import pytest

from decoding.request import SamplingParams
from decoding.step_loop import StepLoop
from drafts.hedge_drafter import HedgeDrafter
from drafts.model_drafter import ModelDrafter
from router.hedge import HedgeRule, log_prior
from tests.toys import Scripted, ToyModel, distance, exact_law, make_request
from training.labels.hedge import hedge_runs
from training.replay import greedy_acceptances

VOCAB = 6
RULE = HedgeRule(chunk=4, looks=3, candidates=3, lead=0.0, spread=0.05)


class NoisyToy(ToyModel):
    """A draft that knows the first tokens of an answer, or the later ones."""

    def __init__(self, target, seed, known):
        super().__init__(VOCAB, seed, num_slots=4)
        self._target, self._known = target, known

    def logits(self, context):
        return self._target.logits(context) if len(context) in self._known else super().logits(context)


def hedge(target, expected=(0.5, 0.6, 0.7), rule=RULE):
    """One that knows the beginning, one the rest, one nothing."""
    models = [NoisyToy(target, 11, range(8)), NoisyToy(target, 12, range(6, 64)), NoisyToy(target, 13, ())]
    drafters = {name: ModelDrafter(model) for name, model in zip("abc", models, strict=True)}
    return HedgeDrafter(drafters, lambda _: expected, rule), models


def answered(target, drafter, sampling, length=3, prompt=(1, 2, 3), **options):
    request = make_request(list(prompt), sampling, drafter="hedge", num_draft_tokens=length, **options)
    StepLoop(target, {"hedge": drafter}).run([request])
    return request


class TestGreedy:
    @pytest.mark.parametrize("rule", [RULE, HedgeRule(chunk=1, looks=40, candidates=3), HedgeRule(looks=0)])
    @pytest.mark.parametrize("settings", [{}, {"frequency_penalty": 1.0}, {"stop_token_ids": frozenset({2})}])
    def test_the_text_is_the_target_s_own(self, rule, settings):
        """Whoever proposes, and whenever that changes."""
        for seed in range(4):
            sampling = SamplingParams(max_tokens=30, **settings)
            plain = make_request([1, 2, 3], sampling)
            StepLoop(ToyModel(VOCAB, seed), {}).run([plain])
            target = ToyModel(VOCAB, seed)
            drafter, models = hedge(target, rule=rule)
            assert answered(target, drafter, sampling).generated == plain.generated
            assert all(model.cache.num_free == 4 for model in models), "a slot is still held"

    @pytest.mark.parametrize("length", [1, 3, 5])
    @pytest.mark.parametrize("rule", [RULE, HedgeRule(chunk=3, looks=9, candidates=2, lead=1.0), HedgeRule(looks=0)])
    def test_counts_are_those_of_the_replay(self, rule, length):
        """Target runs, changes, and forwards and rows of those that only listen."""
        changes = 0
        for seed in range(6):
            target, sampling = ToyModel(VOCAB, seed), SamplingParams(max_tokens=30)
            drafter, models = hedge(target, rule=rule)
            request = answered(target, drafter, sampling, length)
            scores = [greedy_acceptances(each, [request.token_ids], [3], 30)[0] for each in models]
            found = hedge_runs(scores, log_prior((0.5, 0.6, 0.7), rule), length, rule, prompt=3)
            counts = drafter.counts
            assert request.counts.num_target_runs == found.runs.sum()
            assert (counts.num_changes, counts.num_reads) == (found.switches, found.reads)
            others = min(rule.candidates, 3) - 1
            if not counts.num_changes:  # the last token looked at is fed at the next look
                assert counts.num_rows == max(0, found.rows - others)
            changes += counts.num_changes
        assert changes > 3 or rule.looks == 0, "nobody took over: the test says nothing"

    def test_it_gains_what_it_should(self):
        """Over the draft that it began with, which knows the beginning only."""
        runs = {0: 0, 9: 0}
        for seed in range(4):
            for looks in runs:
                target = ToyModel(VOCAB, seed)
                drafter, _ = hedge(target, rule=HedgeRule(chunk=4, looks=looks, candidates=3))
                runs[looks] += answered(target, drafter, SamplingParams(max_tokens=40)).counts.num_target_runs
        assert runs[9] < 0.8 * runs[0]

    def test_requests_of_one_batch_have_accounts_of_their_own(self):
        """Each the text and the runs that it has alone."""
        target, sampling = ToyModel(VOCAB, 0), SamplingParams(max_tokens=24)
        prompts = [[1, 2, 3], [4, 5, 1], [2, 2, 2]]
        drafter, _ = hedge(target)
        together = [
            make_request(each, sampling, drafter="hedge", num_draft_tokens=3, request_id=str(each)) for each in prompts
        ]
        StepLoop(target, {"hedge": drafter}).run(together)
        for prompt, request in zip(prompts, together, strict=True):
            alone = answered(target, hedge(target)[0], sampling, prompt=prompt)
            assert request.generated == alone.generated
            assert request.counts.num_target_runs == alone.counts.num_target_runs


class TestSampled:
    @pytest.mark.parametrize("rule", [HedgeRule(rate=20.0, chunk=1, looks=9, candidates=2), HedgeRule(looks=0)])
    def test_the_law_is_the_target_s(self, rule):
        """Every random decision enumerated; the control draws from another target."""
        params = SamplingParams(temperature=0.8, max_tokens=3)

        def run(randomness: Scripted) -> tuple[int, ...]:
            target = ToyModel(3, 5)
            drafters = {str(seed): ModelDrafter(ToyModel(3, seed)) for seed in (5, 6)}
            drafter = HedgeDrafter(drafters, lambda _: (0.52, 0.5), rule)
            request = make_request([1], params, randomness, drafter="hedge", num_draft_tokens=2)
            StepLoop(target, {"hedge": drafter}).run([request])
            seen.append(drafter.counts.num_changes)
            return tuple(request.generated)

        seen: list[int] = []
        found = exact_law(run)
        assert distance(found, ToyModel(3, 5).law([1], params)) < 1e-9
        assert distance(found, ToyModel(3, 6).law([1], params)) > 1e-3
        assert max(seen) > 0 or rule.looks == 0, "nobody took over: the test says nothing"


class TestCharges:
    def test_a_look_that_is_due_is_part_of_what_the_drafter_must_be_fed(self):
        """So that a controller prices it; between looks only the draft's own tokens count."""
        target = ToyModel(VOCAB, 0)
        drafter, _ = hedge(target)
        request = make_request([1, 2, 3], SamplingParams(max_tokens=30), drafter="hedge")
        assert drafter.behind(request) == 2
        request.token_ids += target.greedy([1, 2, 3], 5)
        # Its own seven, the chunk of four for all three, and the prompt for the two that have read nothing.
        assert drafter.behind(request) == 7 + 3 * 4 + 2 * 3
        drafter.propose([request], [2])
        assert (drafter.counts.num_reads, drafter.counts.num_own_reads) == (2, 1)
        assert drafter.counts.num_rows == 2 * (3 + 4 - 1)
        assert drafter.behind(request) is not None
        assert drafter.behind(request) <= 2

    def test_a_draft_without_a_free_slot_is_no_candidate_any_more(self):
        """The others go on."""
        target, sampling = ToyModel(VOCAB, 0), SamplingParams(max_tokens=20)
        drafter, models = hedge(target)
        while models[1].cache.num_free:
            models[1].cache.allocate()
        request = answered(target, drafter, sampling)
        assert request.generated == target.greedy([1, 2, 3], 20)
        assert drafter.counts.num_reads > 0

    def test_randomness_is_left_alone(self):
        """Scoring draws nothing: a request has the same draws left after it."""
        target = ToyModel(VOCAB, 0)
        drafter, _ = hedge(target)
        randomness = Scripted([])
        request = make_request([1, 2, 3], SamplingParams(temperature=1.0, max_tokens=30), randomness, drafter="hedge")
        request.token_ids += [1, 2, 3, 4, 5]
        drafter.propose([request], [0])
        assert randomness.decisions == []
        assert np.isfinite(drafter.behind(request) or 0)
