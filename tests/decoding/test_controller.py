"""The controller proposes what pays for the whole batch, and leaves the law alone."""

import itertools

import pytest

from decoding.controller import LengthController, StepCosts, interpolate
from decoding.costs import measure_costs
from decoding.request import AcceptanceEstimate, SamplingParams
from decoding.step_loop import StepLoop
from drafts.model_drafter import ModelDrafter
from tests.toys import Scripted, ToyModel, distance, exact_law, make_request

CPU = StepCosts({1: 1.0, 5: 1.2, 8: 1.4, 40: 6.0}, {1: 0.1, 8: 0.2})


def requests_with(*alphas):
    requests = [make_request([1], SamplingParams(max_tokens=50), request_id=str(n)) for n in range(len(alphas))]
    for request, alpha in zip(requests, alphas, strict=True):
        request.acceptance = AcceptanceEstimate(accepted=100 * alpha, reached=100)
    return requests


def lengths(alphas, costs=CPU, limits=None, is_free=None, longest=4):
    requests = requests_with(*alphas)
    count = len(requests)
    controller = LengthController(costs, longest)
    return controller.lengths(requests, limits or [longest] * count, is_free or [False] * count, count, count)


def rate(alphas, chosen, costs):
    """Expected tokens over cost, written down from the definition."""
    expected = len(alphas) + sum(a**d for a, k in zip(alphas, chosen, strict=True) for d in range(1, k + 1))
    drafting = max(chosen) * costs.draft_step(sum(k > 0 for k in chosen))
    return expected / (costs.target_run(len(alphas) + sum(chosen)) + drafting)


@pytest.mark.parametrize("alphas", [(0.9,), (0.3,), (0.9, 0.2), (0.6, 0.7, 0.5)])
def test_the_choice_is_the_best_of_all(alphas):
    """No other lengths give more expected tokens a unit of time, by brute force."""
    best = max(rate(alphas, chosen, CPU) for chosen in itertools.product(range(5), repeat=len(alphas)))
    assert rate(alphas, lengths(alphas), CPU) == pytest.approx(best)


def test_nothing_is_proposed_where_it_cannot_pay():
    """A draft that is nearly always wrong, or a target run that doubles with each row."""
    assert lengths([0.02]) == [0]
    assert lengths([0.9], StepCosts({1: 1.0, 2: 2.0}, {1: 0.1, 8: 0.2})) == [0]


def test_a_full_batch_gets_shorter_proposals_than_a_single_request():
    """Rows of many requests fill the processor by themselves."""
    assert max(lengths([0.7] * 8)) < lengths([0.7])[0]


def test_free_proposals_are_longer():
    """Prompt lookup costs no draft step."""
    assert lengths([0.7], longest=8, is_free=[True])[0] > lengths([0.7], longest=8)[0]


def test_limits_hold_and_a_neglected_request_is_tried_again():
    """Nobody gets more than can still be used; one token is tried after many steps without."""
    assert lengths([0.99], limits=[1]) == [1]
    controller, (request,) = LengthController(CPU), requests_with(0.01)
    tried = [controller.lengths([request], [4], [False], 1, 1)[0] for _ in range(64)]
    assert sum(tried) == 2
    assert max(tried) == 1


def test_estimates_follow_the_evidence():
    """Acceptance raises alpha, rejection lowers it, and old evidence fades."""
    estimate = AcceptanceEstimate()
    for _ in range(50):
        estimate.add(4, was_rejected=False)
    assert estimate.alpha > 0.98
    for _ in range(50):
        estimate.add(0, was_rejected=True)
    assert estimate.alpha < 0.1


def test_costs_are_interpolated_and_continued():
    """Linear between points and beyond the last."""
    assert [interpolate({1: 1.0, 5: 2.0, 9: 4.0}, n) for n in (1, 3, 5, 7, 13)] == [1.0, 1.5, 2.0, 3.0, 6.0]


@pytest.mark.parametrize(("slots", "length"), [(1, 16), (1, 64), (2, 300), (16, 300)])
def test_costs_can_be_measured_on_the_smallest_caches(slots, length):
    """One slot or a short cache gives fewer points, positive ones, and leaves every slot free."""
    target, draft = (ToyModel(5, seed, num_slots=slots, max_length=length) for seed in (0, 1))
    costs, milliseconds = measure_costs(target, draft, repeats=1)
    assert milliseconds > 0
    assert costs.target_run(1) == 1
    assert costs.draft_step(1) > 0
    assert max(costs.target) <= length
    assert target.cache.num_free == draft.cache.num_free == slots


def test_the_law_stays_exact_under_the_controller():
    """Lengths that depend on what was accepted before leave the law of the answers unchanged, to 1e-10."""
    params = SamplingParams(temperature=1.0, max_tokens=4)

    def run(randomness: Scripted) -> tuple[int, ...]:
        target = ToyModel(3, 2)
        request = make_request([1, 0], params, randomness, drafter="model")
        StepLoop(target, {"model": ModelDrafter(ToyModel(3, 9))}, LengthController(CPU)).run([request])
        return tuple(request.generated)

    assert distance(exact_law(run), ToyModel(3, 2).law([1, 0], params)) < 1e-10
