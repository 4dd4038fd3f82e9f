"""What the gate decides, when, and what it says."""

import pytest
import torch

from decoding.costs import StepCosts
from training.gate import Contender, GateRule, Outcome, judge, judge_replays
from training.replay import Acceptance

COSTS = StepCosts(target={1: 1.0, 2: 1.02}, draft={1: 0.1})


def costs(seed, scale=1.0, noise=0.02, requests=800):
    """Champion's and candidate's costs of answers of 100 tokens; ``scale`` is what the candidate's come to."""
    generator = torch.Generator().manual_seed(seed)
    champion = 40 + 5 * torch.randn(requests, generator=generator, dtype=torch.float64)
    candidate = champion * scale + 100 * noise * torch.randn(requests, generator=generator, dtype=torch.float64)
    return champion, candidate, torch.full((requests,), 100)


def test_a_cheaper_candidate_is_promoted_and_a_dearer_one_refused():
    """By the lower bound above the margin, and by the upper bound below it, at the first request where that is so."""
    better, worse = judge(*costs(0, scale=0.94)), judge(*costs(0, scale=1.03))
    assert better.outcome is Outcome.PROMOTED
    assert better.lower > better.delta > 0
    assert (better.sequence.lower[:-1] <= better.sequence.delta[:-1]).all()
    assert worse.outcome is Outcome.REFUSED
    assert worse.upper < worse.delta
    assert "saves +" in better.reason
    assert "saves -" in worse.reason


@pytest.mark.parametrize("requests", [1, 29, 30, 799, 800])
def test_an_identity_copy_is_never_promoted(requests):
    """Not even by an equality of borders: no difference is less than any margin."""
    champion, _, tokens = costs(0, requests=requests)
    for margin in (0.0, 0.005):
        rule = GateRule(margin=margin)
        assert judge(champion, champion, tokens, rule=rule).outcome is not Outcome.PROMOTED


def test_before_the_burn_in_nothing_is_decided():
    """However large the difference."""
    champion, candidate, tokens = costs(0, scale=0.5, requests=29)
    verdict = judge(champion, candidate, tokens)
    assert verdict.outcome is Outcome.UNDECIDED
    assert "too few" in verdict.reason
    assert judge(*costs(0, scale=0.5, requests=30)).outcome is Outcome.PROMOTED


def test_later_requests_do_not_change_a_decision():
    """A verdict on a prefix is undecided or the final one."""
    champion, candidate, tokens = costs(3, scale=0.98)
    final = judge(champion, candidate, tokens)
    assert final.outcome is Outcome.PROMOTED
    for size in (50, final.requests - 1, final.requests, final.requests + 100):
        early = judge(champion[:size], candidate[:size], tokens[:size])
        expected = (Outcome.UNDECIDED, size) if size < final.requests else (final.outcome, final.requests)
        assert (early.outcome, early.requests) == expected


def test_patience_ends():
    """A candidate whose advantage is about the margin is refused after the last request that the rule allows."""
    verdict = judge(*costs(1, scale=0.995, noise=0.05))
    assert (verdict.outcome, verdict.requests) == (Outcome.REFUSED, 800)
    assert "not shown" in verdict.reason


def test_a_candidate_behind_the_control_is_not_promoted():
    """Better than the champion is not enough where offline distillation on the same data does better still."""
    champion, candidate, tokens = costs(0, scale=0.94)
    far_ahead, as_good = candidate - 2.0, candidate + 0.01
    assert judge(champion, candidate, tokens, control=as_good).outcome is Outcome.PROMOTED
    refused = judge(champion, candidate, tokens, control=far_ahead)
    assert refused.outcome is Outcome.REFUSED
    assert "behind the offline-distilled control" in refused.reason


def test_costs_of_different_requests_are_not_compared():
    """Nor answers without tokens."""
    champion, candidate, tokens = costs(0, requests=40)
    with pytest.raises(ValueError, match="same requests"):
        judge(champion, candidate[:39], tokens)
    with pytest.raises(ValueError, match="without tokens"):
        judge(champion, candidate, tokens * 0)


def answers(alpha, seed, requests=200):
    generator = torch.Generator().manual_seed(seed)
    fates = torch.rand(requests, 60, generator=generator) < alpha
    return [Acceptance(row.double(), 1, 60) for row in fates]


def test_replays_are_judged_with_each_contenders_own_costs():
    """A draft that is accepted more often, but costs more than that brings, stays out."""
    champion = Contender(answers(0.6, 0), COSTS)
    assert judge_replays(champion, Contender(answers(0.75, 1), COSTS), 4).outcome is Outcome.PROMOTED
    dear = StepCosts(COSTS.target, {1: 0.4})
    assert judge_replays(champion, Contender(answers(0.75, 1), dear), 4).outcome is Outcome.REFUSED
    with pytest.raises(ValueError, match="same answers"):
        judge_replays(champion, Contender(answers(0.75, 1, requests=199), COSTS), 4)
