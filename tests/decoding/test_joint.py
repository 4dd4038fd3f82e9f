"""Drafters that share a joint are asked in one call; all others one by one, and nobody gets another's proposal."""

from collections.abc import Sequence

from decoding.controller import LengthController, Source
from decoding.costs import StepCosts
from decoding.joint import JointDrafter, Order, propose_all
from decoding.proposal import Proposal
from decoding.request import Request, SamplingParams
from decoding.step_loop import StepLoop
from drafts.merged_drafter import MergedDrafter
from drafts.model_drafter import ModelDrafter
from tests.toys import ToyModel, make_request


class Pair:
    """Asks each drafter by itself, and counts."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def propose(self, orders: Sequence[Order]) -> list[list[Proposal]]:
        self.calls.append(len(orders))
        return [order.drafter.propose(order.requests, order.num_draft_tokens) for order in orders]


class Member(ModelDrafter, JointDrafter):
    def __init__(self, seed: int, joint: Pair):
        super().__init__(ToyModel(5, seed))
        self.joint = joint


def requests_of(names: Sequence[str | None]) -> list[Request]:
    sampling = SamplingParams(max_tokens=12)
    return [make_request([1, 2], sampling, request_id=str(n), drafter=name) for n, name in enumerate(names)]


def test_one_call_for_all_that_share() -> None:
    """A step of five drafters, two pairs and one alone: each joint is asked once, the answers are the target's."""
    pairs, target = [Pair(), Pair()], ToyModel(5, 0)
    drafters = {str(seed): Member(seed, pairs[seed % 2]) for seed in range(4)} | {"alone": ModelDrafter(ToyModel(5, 9))}
    requests = requests_of(["0", "1", "2", "3"])
    loop = StepLoop(ToyModel(5, 0), drafters, num_draft_tokens=3)
    for request in requests:
        loop.admit(request)
    loop.step()
    loop.step()
    assert [pair.calls for pair in pairs] == [[2], [2]]
    loop.run([])
    loop.run(requests_of(["alone"]))
    assert [request.generated for request in requests] == [target.greedy([1, 2], 12)] * 4
    assert requests[0].counts.alpha == 1  # the target's twin got its own proposals, and nobody else's
    assert requests[1].counts.alpha < 1


def test_proposals_come_in_the_order_of_the_orders() -> None:
    """Whatever is asked for together."""
    joint, twin = Pair(), ModelDrafter(ToyModel(5, 0))
    drafters = [Member(1, joint), twin, Member(2, joint)]
    requests = requests_of(["a", "b", "c"])
    orders = [Order(drafter, [request], [3]) for drafter, request in zip(drafters, requests, strict=True)]
    expected = [ModelDrafter(ToyModel(5, seed)).propose([requests[0]], [3])[0].token_ids for seed in (1, 0, 2)]
    assert [proposals[0].token_ids for proposals in propose_all(orders)] == expected
    assert joint.calls == [2]
    assert propose_all([]) == []


def test_merged_drafts_are_asked_together() -> None:
    """Two drafts for one request take one call."""
    joint = Pair()
    merged = MergedDrafter({"a": Member(1, joint), "b": Member(2, joint)})
    merged.propose(requests_of(["a+b"]), [3])
    assert joint.calls == [2]


def test_shared_steps_are_paid_for_once() -> None:
    """Drafts that pay for one request only if their steps are shared: alone each is too dear, together they are not."""
    costs = StepCosts(target={1: 1.0, 9: 1.0}, draft={1: 0.6, 8: 0.6})
    survival = [0.7, 0.49]

    def chosen(joint: object) -> list[int]:
        options = [[Source(str(n), survival, joint=joint)] for n in range(4)]
        return [choice.length for choice in LengthController(costs).choose(options, 4, 4)]

    assert chosen(None) == [0] * 4
    assert min(chosen("stack")) > 0
