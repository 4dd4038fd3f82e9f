"""The controller proposes what pays for the whole batch, and leaves the law alone."""

import itertools

import pytest

from decoding.acceptance import AcceptanceEstimate, Prior
from decoding.controller import LengthController, Source
from decoding.costs import StepCosts, interpolate, measure_costs
from decoding.planner import ProposalPlanner
from decoding.request import SamplingParams
from decoding.step_loop import StepLoop
from drafts.expansion import Expansion
from drafts.merged_drafter import MergedDrafter
from drafts.model_drafter import ModelDrafter
from drafts.prompt_lookup import PromptLookup
from drafts.tree_drafter import TreeDrafter
from tests.toys import Scripted, ToyModel, distance, exact_law, make_request

CPU = StepCosts({1: 1.0, 5: 1.2, 8: 1.4, 40: 6.0}, {1: 0.1, 8: 0.2})


def source(alpha, drafter="draft", limit=4, is_free=False, behind=0):
    return Source(drafter, [alpha**depth for depth in range(1, limit + 1)], is_free, behind)


def lengths(alphas, costs=CPU, limits=None, is_free=False, longest=4, behind=0):
    limits = limits or [longest] * len(alphas)
    options = [[source(alpha, "draft", n, is_free, behind)] for alpha, n in zip(alphas, limits, strict=True)]
    return [choice.length for choice in LengthController(costs, longest).choose(options, len(alphas), len(alphas))]


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
    assert lengths([0.7], longest=8, is_free=True)[0] > lengths([0.7], longest=8)[0]


def test_each_request_gets_its_better_source():
    """A sure copy beats a draft; an unsure one does not; what pays for neither is left out."""
    costs = LengthController(CPU)
    sure, unsure = source(0.9, "lookup", is_free=True), source(0.2, "lookup", is_free=True)
    draft, poor = source(0.7), source(0.01)
    chosen = costs.choose([[draft, sure], [draft, unsure], [poor, source(0.01, "lookup", is_free=True)]], 3, 3)
    assert [choice.source.drafter if choice.source else None for choice in chosen] == ["lookup", "draft", None]


def test_a_draft_of_its_own_must_pay_for_its_own_steps():
    """Six drafts for six requests cost six draft steps a depth, one draft for all little more than one."""
    costs = StepCosts({1: 1.0, 40: 2.0}, {1: 0.3, 8: 0.4})
    apart = [[source(0.7, f"draft{n}")] for n in range(6)]
    together = [[source(0.7)] for _ in range(6)]
    count = lambda options: sum(choice.length for choice in LengthController(costs).choose(options, 6, 6))  # noqa: E731
    assert count(together) > count(apart)


def test_a_draft_far_behind_is_left_alone_where_it_gains_little():
    """What it missed has to be fed first."""
    costs = StepCosts({1: 1.0, 40: 3.0}, {1: 0.1, 8: 0.8})
    assert lengths([0.3], costs, behind=0) > [0]
    assert lengths([0.3], costs, behind=400) == [0]


def test_longer_texts_in_the_cache_make_rows_relatively_cheaper():
    """A run that reads a lot of cache anyway gets longer proposals."""
    costs = StepCosts({1: 1.0, 40: 9.0}, {1: 0.1, 8: 0.2}, attention_per_token=0.001, context=100)
    few, many = (LengthController(costs).choose([[source(0.6)]] * 2, 2, 2, cached)[0].length for cached in (100, 9000))
    assert many > few


def test_it_knows_when_drafts_would_be_asked_for():
    """For a request alone, and not for eight whose rows fill the processor."""
    controller = LengthController(StepCosts({1: 1.0, 4: 1.1, 8: 1.5, 16: 3.0}, {1: 0.1, 8: 0.3}))
    assert controller.drafting_pays(1, alpha=0.7)
    assert not controller.drafting_pays(8, alpha=0.7)
    assert not controller.drafting_pays(1, alpha=0.01)


def test_a_gain_that_is_next_to_nothing_is_left_alone():
    """What the model of costs leaves out would eat it."""
    costs = StepCosts({1: 1.0, 2: 1.28}, {1: 0.0, 8: 0.0})
    assert lengths([0.3], costs, longest=1) == [0]
    assert lengths([0.4], costs, longest=1) == [1]


WIDE = Expansion((3, 2, 1))


def tree(alpha, drafter="tree", shape=WIDE, num_drafts=1):
    nodes = [shape.num_nodes(depth) for depth in range(1, shape.depth + 1)]
    return Source(drafter, [alpha**depth for depth in range(1, shape.depth + 1)], nodes=nodes, num_drafts=num_drafts)


def chosen(options, costs):
    choices = LengthController(costs).choose(options, len(options), len(options))
    return [(choice.source.drafter, choice.length) if choice.source else None for choice in choices]


def test_a_tree_is_taken_where_its_rows_are_cheap_and_the_chain_where_they_are_not():
    """The tree's paths get deeper, for 15 rows against 3; where a row costs a whole run there is nothing at all."""
    options = [[source(0.6, limit=3), tree(0.9)]]
    draft = {1: 0.05, 40: 0.1}
    assert chosen(options, StepCosts({1: 1.0, 40: 1.1}, draft)) == [("tree", 3)]
    assert chosen(options, StepCosts({1: 1.0, 40: 6.0}, draft)) == [("draft", 2)]
    assert chosen(options, StepCosts({1: 1.0, 2: 2.0}, draft)) == [None]


def rates_of_all(first, second, bend):
    """Rates of plain, of every length of a chain and of every depth of a tree; and the rate that is chosen."""
    top = 1 + first * (bend - 1)
    costs = StepCosts({1: 1.0, bend: top, 40: top + second * (40 - bend)}, {1: 0.08, 8: 0.2, 40: 0.9})
    chain, wide = source(0.6, limit=5), tree(0.75)
    rates = {None: 1.0}
    for length in range(1, 6):
        expected = 1 + sum(chain.survival[:length])
        rates["draft", length] = expected / (costs.target_run(1 + length) + length * costs.draft_step(1))
    for depth in range(1, 4):
        expected, steps = 1 + sum(wide.survival[:depth]), sum(costs.draft_step(n) for n in (1, 3, 6)[:depth])
        rates["tree", depth] = expected / (costs.target_run(1 + wide.nodes[depth - 1]) + steps)
    return list(rates.values()), rates[chosen([[chain, wide]], costs)[0]]


@pytest.mark.parametrize("steep", [0.01, 0.03, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("bend", [2, 6, 12])
def test_with_a_tree_the_choice_is_the_best_of_all_and_never_below_plain(steep, bend):
    """By brute force over every length of chain and tree, where rows are cheap up to a bend and dear behind it.

    Where the first ones are the dear ones, at least nothing is lost.
    """
    rates, taken = rates_of_all(0.01, steep, bend)
    assert taken == pytest.approx(max(rates)) or (taken == 1 and max(rates) < 1.03)
    assert rates_of_all(steep, 0.01, bend)[1] >= 1


def test_a_tree_shares_the_rows_of_a_step_with_chains():
    """Of two requests the one whose tree brings more a row gets it; a second model to ask for the same costs a step."""
    costs = StepCosts({1: 1.0, 6: 1.1, 7: 3.0, 40: 30.0}, {1: 0.02, 40: 0.1})
    assert chosen([[tree(0.9)], [source(0.5, limit=1)]], costs) == [("tree", 1), ("draft", 1)]
    dear = StepCosts({1: 1.0, 40: 1.5}, {1: 0.4, 40: 0.4})
    pair = Expansion((2, 1))
    assert chosen([[tree(0.8, shape=pair)]], dear) != chosen([[tree(0.8, shape=pair, num_drafts=2)]], dear)


def test_limits_hold():
    """Nobody gets more than can still be used."""
    assert lengths([0.99], limits=[1]) == [1]


def planned(planner, request, steps):
    return [planner.plan([request], rows=1, emitting=1, cached=0)[0][1] for _ in range(steps)]


def test_a_neglected_request_is_tried_again_ever_more_seldom():
    """One token after 32 steps without, then after 64 more; none at all where even a sure token would not pay."""
    drafters = {"model": ModelDrafter(ToyModel(5, 0), prior=Prior(0.01))}
    request = make_request([1], SamplingParams(max_tokens=500), drafter="model")
    tried = planned(ProposalPlanner(drafters, LengthController(CPU)), request, 100)
    assert [step for step, length in enumerate(tried) if length] == [31, 95]
    assert max(tried) == 1
    dear = StepCosts({1: 1.0, 2: 2.5}, {1: 0.1, 8: 0.2})
    request = make_request([1], SamplingParams(max_tokens=500), drafter="model")
    assert sum(planned(ProposalPlanner(drafters, LengthController(dear)), request, 100)) == 0


def test_a_request_starts_from_its_drafts_own_figure():
    """A draft known to be good is trusted with more tokens at once."""
    drafters = {"good": ModelDrafter(ToyModel(5, 0), Prior(0.95)), "poor": ModelDrafter(ToyModel(5, 0), Prior(0.4))}
    planner = ProposalPlanner(drafters, LengthController(CPU))
    good, poor = (make_request([1], SamplingParams(max_tokens=50), drafter=name) for name in ("good", "poor"))
    assert planned(planner, good, 1) > planned(planner, poor, 1)


def test_a_planned_tree_pays_for_all_its_rows():
    """Cheap rows: three levels. Dear ones: not at all, though a chain of the same chances would be worth it."""
    model = ModelDrafter(ToyModel(5, 0), Prior(0.7))
    drafters = {"tree": TreeDrafter(ToyModel(5, 0), WIDE, Prior(0.7)), "both": MergedDrafter({"a": model, "b": model})}
    cheap, dear = StepCosts({1: 1.0, 40: 1.1}, CPU.draft), StepCosts({1: 1.0, 40: 12.0}, CPU.draft)
    for name in drafters:
        for costs, expected in ((cheap, 3), (dear, 0)):
            request = make_request([1], SamplingParams(max_tokens=50), drafter=name)
            assert planned(ProposalPlanner(drafters, LengthController(costs)), request, 1) == [expected]
    assert lengths([0.7], dear)[0] > 0


def test_the_companion_steps_in_where_it_finds_a_copy():
    """Prompt lookup proposes in place of the request's own draft, once its own record is better."""
    drafters = {"model": ModelDrafter(ToyModel(5, 0), Prior(0.3)), "lookup": PromptLookup()}
    request = make_request([1, 2, 3, 1, 2, 3, 1, 2], SamplingParams(max_tokens=50), drafter="model")
    assert ProposalPlanner(drafters, LengthController(CPU), "lookup").plan([request], 1, 1, 0)[0][0] == "lookup"
    assert ProposalPlanner(drafters, LengthController(CPU)).plan([request], 1, 1, 0)[0][0] == "model"
    fresh = make_request([1, 2, 3, 4], SamplingParams(max_tokens=50), drafter="model")
    assert ProposalPlanner(drafters, LengthController(CPU), "lookup").plan([fresh], 1, 1, 0)[0][0] == "model"


def test_estimates_follow_the_evidence():
    """Acceptance raises alpha, rejection lowers it, and old evidence fades."""
    estimate = AcceptanceEstimate()
    for _ in range(50):
        estimate.add(4, was_rejected=False)
    assert estimate.alpha > 0.98
    for _ in range(50):
        estimate.add(0, was_rejected=True)
    assert estimate.alpha < 0.1


def test_estimates_know_positions_apart():
    """A first token that is always right and a second that never is; depths never seen are guessed from the mean."""
    estimate = AcceptanceEstimate(Prior(0.5))
    for _ in range(50):
        estimate.add(1, was_rejected=True)
    first, second, third = estimate.survival(3)
    assert first > 0.85
    assert second < 0.2 * first
    assert third / second == pytest.approx(estimate.alpha, abs=0.05)


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
    """Lengths and sources that depend on what was accepted before leave the law of the answers unchanged, to 1e-10."""
    params = SamplingParams(temperature=1.0, max_tokens=4)
    used = set()

    def run(randomness: Scripted) -> tuple[int, ...]:
        target = ToyModel(3, 2)
        request = make_request([1, 0, 1, 0], params, randomness, drafter="model")
        drafters = {"model": ModelDrafter(ToyModel(3, 9)), "lookup": PromptLookup()}
        StepLoop(target, drafters, LengthController(CPU), companion="lookup").run([request])
        used.update(request.estimates)
        return tuple(request.generated)

    assert distance(exact_law(run), ToyModel(3, 2).law([1, 0, 1, 0], params)) < 1e-10
    assert used == {"model", "lookup"}
