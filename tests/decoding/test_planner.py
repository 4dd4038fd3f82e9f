"""Plans hold for a few steps, and no longer than what they rest on."""

import pytest

from decoding.acceptance import Prior
from decoding.controller import LengthController
from decoding.costs import StepCosts
from decoding.planner import ProposalPlanner
from decoding.request import SamplingParams
from drafts.model_drafter import ModelDrafter
from drafts.prompt_lookup import PromptLookup
from tests.toys import ToyModel, make_request

CHEAP = StepCosts({1: 1.0, 40: 1.1}, {1: 0.02, 8: 0.03})


class Counting(LengthController):
    """Counts how often it is asked."""

    def __init__(self):
        super().__init__(CHEAP)
        self.asked = 0

    def choose(self, *args, **options):
        self.asked += 1
        return super().choose(*args, **options)


@pytest.fixture
def lengths():
    return Counting()


@pytest.fixture
def planner(lengths):
    drafters = {
        "model": ModelDrafter(ToyModel(5, 0), Prior(0.7)),
        "other": ModelDrafter(ToyModel(5, 1), Prior(0.9)),
        "lookup": PromptLookup(),
    }
    return ProposalPlanner(drafters, lengths, "lookup")


def request(drafter="model", prompt=(1,), tokens=50):
    return make_request(list(prompt), SamplingParams(max_tokens=tokens), drafter=drafter)


def plan(planner, *requests):
    return planner.plan(requests, rows=len(requests), emitting=len(requests), cached=0)


def test_what_was_planned_holds_for_two_steps(planner, lengths):
    mine = request()
    plans = [plan(planner, mine) for _ in range(6)]
    assert lengths.asked == 3
    assert all(each == plans[0] and each[0][1] > 1 for each in plans)


def test_company_and_another_draft_are_planned_for_at_once(planner, lengths):
    """A request more, a request less, a request whose draft has changed."""
    mine, other = request(), request()
    plan(planner, mine)
    plan(planner, mine, other)
    plan(planner, other)
    assert lengths.asked == 3
    other.drafter = "other"
    assert plan(planner, other)[0][0] == "other"
    assert lengths.asked == 4


def test_a_plan_never_goes_beyond_the_end_of_an_answer(planner):
    """The target adds a token of its own, so the last one needs no proposal."""
    mine = request(tokens=4)
    assert plan(planner, mine) == [("model", 3)]
    mine.token_ids.append(2)
    assert plan(planner, mine) == [("model", 2)]
    mine.token_ids += [2, 3]
    assert plan(planner, mine) == [(None, 0)]


def test_a_copy_that_turns_up_beside_a_draft_is_planned_for_at_once(planner, lengths):
    mine = request(prompt=[1, 2, 3])
    mine.may_copy = True
    plan(planner, mine)
    mine.token_ids += [1, 2]
    plan(planner, mine)
    assert lengths.asked == 2


def test_a_copy_that_goes_on_waits_for_its_turn(planner, lengths):
    mine = request(prompt=[1, 2, 3, 1, 2])
    plan(planner, mine)
    mine.token_ids += [3]
    plan(planner, mine)
    assert lengths.asked == 1


def test_the_others_are_planned_for_as_before_where_one_finds_a_copy(planner):
    """What was learned about them since counts from the next whole plan on."""
    mine, other = request(prompt=[1, 2, 3]), request("other")
    mine.request_id = "mine"
    _, before = plan(planner, mine, other)
    assert before == ("other", 12)
    mine.token_ids += [1, 2]
    for _ in range(9):
        planner.feedback(other, "other", 0, was_rejected=True)
    (name, _), same = plan(planner, mine, other)
    assert name == "lookup"
    assert same == before
    assert plan(planner, mine, other)[1] != before


def test_who_copies_is_looked_at_again_as_soon_as_there_is_something_or_nothing_to_copy(planner):
    mine = request("lookup", [1, 2, 3, 1, 2])
    assert plan(planner, mine)[0][0] == "lookup"
    mine.token_ids.append(4)
    assert plan(planner, mine) == [(None, 0)]
    mine.token_ids += [1, 2]
    assert plan(planner, mine)[0][0] == "lookup"


def test_a_draft_that_has_left_is_not_asked(lengths):
    drafters = {"model": ModelDrafter(ToyModel(5, 0), Prior(0.7))}
    planner, mine = ProposalPlanner(drafters, lengths), request()
    assert plan(planner, mine)[0][0] == "model"
    drafters.clear()
    assert plan(planner, mine) == [(None, 0)]


def test_what_is_asked_for_meanwhile_and_a_slot_that_gets_free_are_seen(lengths):
    """Plans of the same company start from what the last ones knew, but not from more than still holds."""
    drafters = {"model": ModelDrafter(ToyModel(5, 0, num_slots=1), Prior(0.7))}
    planner, mine = ProposalPlanner(drafters, lengths), request()
    slot = drafters["model"].model.cache.allocate()
    assert [plan(planner, mine) for _ in range(2)] == [[(None, 0)]] * 2
    drafters["model"].model.cache.release(slot)
    assert plan(planner, mine)[0][0] == "model"
    mine.num_draft_tokens = 3
    assert [plan(planner, mine) for _ in range(2)][1] == [("model", 3)]


def test_what_was_learned_counts_from_the_next_whole_plan_on(planner):
    mine = request()
    (first,) = plan(planner, mine)
    for _ in range(9):
        planner.feedback(mine, "model", 0, was_rejected=True)
    assert plan(planner, mine) == [first]
    assert plan(planner, mine) != [first]
