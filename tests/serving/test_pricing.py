"""The price rule where it meets the step loop: machine, batch, predictions and figures of versions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from decoding.acceptance import Prior
from decoding.controller import LengthController
from decoding.costs import StepCosts
from decoding.drafter import Drafter
from decoding.randomness import SeededRandomness
from decoding.request import Request, SamplingParams
from decoding.step_loop import StepLoop
from drafts.pool import DraftSpec
from drafts.prompt_lookup import PromptLookup
from router.decision import RoutingDecision
from serving.engine import Engine
from serving.pricing import DraftPrices
from serving.wire import Job
from tests.toys import ToyModel

CHEAP = StepCosts({1: 1.0, 2: 1.02, 5: 1.08, 48: 2.0}, {1: 0.05, 8: 0.1}, context=1)
DEAR_DRAFTS = StepCosts({1: 1.0, 2: 1.02, 5: 1.08, 48: 2.0}, {1: 0.9, 8: 7.2}, context=1)
DEAR_ROWS = StepCosts({1: 1.0, 2: 2.0, 5: 5.0, 48: 48.0}, {1: 0.05, 8: 0.1}, context=1)


class Pool(Mapping[str, Drafter]):
    """Drafts by name with the figures of their versions; each proposes as prompt lookup does."""

    def __init__(self, **alphas: float) -> None:
        self.specs = {name: DraftSpec(name, f"{name}@v1", Path(name), Prior(alpha)) for name, alpha in alphas.items()}
        self._drafters = {name: PromptLookup() for name in ("lookup", *alphas)}

    @property
    def versions(self) -> dict[str, str]:
        return {name: spec.label for name, spec in self.specs.items()}

    def __getitem__(self, name: str) -> Drafter:
        return self._drafters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._drafters)

    def __len__(self) -> int:
        return len(self._drafters)

    def select(self, name: str) -> str:
        return next(candidate for candidate in (name, "general", "lookup") if candidate in self)

    def label(self, name: str | None) -> str:
        return name or "none"


POOL = Pool(general=0.5, sql=0.7, shell=0.4)


@dataclass
class Desk:
    """A loop with requests, and the rule over it."""

    costs: StepCosts = CHEAP
    pool: Pool = field(default_factory=lambda: POOL)
    lengths: int | None = None
    slots: int = 8

    def __post_init__(self) -> None:
        self.loop = StepLoop(ToyModel(16, seed=1, num_slots=self.slots), self.pool)
        lengths = self.lengths or LengthController(self.costs)
        self.prices = DraftPrices(self.loop, self.pool, lengths)  # type: ignore[arg-type]

    def admit(
        self, name: str = "a", drafter: str | None = None, length: int | None = None, temperature: float = 0.0
    ) -> Request:
        sampling = SamplingParams(max_tokens=20, temperature=temperature)
        request = Request(name, [1, 2], sampling, SeededRandomness(0), drafter=drafter, num_draft_tokens=length)
        self.loop.admit(request)
        return request


def decision(draft: str = "sql", reason: str = "topic", **acceptance: float) -> RoutingDecision:
    topic = draft if reason == "topic" else None
    return RoutingDecision(topic, draft, 0.9, reason, acceptance=tuple(acceptance.items()))  # type: ignore[arg-type]


class TestSettling:
    @pytest.mark.parametrize(
        ("costs", "expected"),
        [(CHEAP, ("sql", "topic")), (DEAR_DRAFTS, ("lookup", "cheaper_lookup")), (DEAR_ROWS, (None, "no_gain"))],
    )
    def test_the_same_decision_has_another_price_on_another_machine(
        self, costs: StepCosts, expected: tuple[str | None, str]
    ) -> None:
        """Draft steps may be too dear, or rows."""
        desk = Desk(costs)

        assert desk.prices.settle(desk.admit(), decision()) == expected

    def test_a_sampled_request_is_priced_at_its_temperature(self) -> None:
        """A draft that pays in greedy answers and not in sampled ones, and the other way round."""
        dear = StepCosts({1: 1.0, 2: 1.3, 5: 2.2, 48: 20.0}, {1: 0.2, 8: 1.6}, context=1)
        pool = Pool(general=0.5)
        for figures, expected in (((0.9, 0.3), ("topic", "no_gain")), ((0.3, 0.9), ("no_gain", "topic"))):
            pool.specs["sql"] = DraftSpec("sql", "sql@v1", Path("sql"), Prior(*figures))
            pool._drafters = {"sql": PromptLookup()}
            desk = Desk(dear, pool)
            reasons = [
                desk.prices.settle(desk.admit(f"at {each}", temperature=each), decision())[1] for each in (0.0, 1.0)
            ]
            assert tuple(reasons) == expected

    def test_a_full_batch_changes_the_price(self) -> None:
        """Rows that were idle alone are taken."""
        costs = StepCosts({1: 1.0, 8: 1.1, 9: 1.5, 16: 4.0, 48: 20.0}, {1: 0.05, 8: 0.3}, context=1)
        alone, crowded = Desk(costs), Desk(costs)
        for name in "bcdefgh":
            crowded.admit(name, "sql")

        assert alone.prices.settle(alone.admit(), decision()) == ("sql", "topic")
        assert crowded.prices.settle(crowded.admit(), decision()) == (None, "no_gain")

    def test_requests_that_cannot_run_at_once_make_no_batch(self) -> None:
        """A queue is not a crowd: with one slot the price is that of one request."""
        costs = StepCosts({1: 1.0, 8: 1.1, 9: 1.5, 16: 4.0, 48: 20.0}, {1: 0.05, 8: 0.3}, context=1)
        desk = Desk(costs, slots=1)
        for name in "bcdefgh":
            desk.admit(name, "sql")

        assert desk.prices.settle(desk.admit(), decision()) == ("sql", "topic")

    @pytest.mark.parametrize(
        ("acceptance", "expected"),
        [
            ({"sql": 0.7, "general": 0.5, "shell": 0.2}, ("sql", "topic")),
            ({"sql": 0.5, "general": 0.5, "shell": 0.2}, ("general", "cheaper_general")),
            ({"sql": 0.5, "general": 0.3, "shell": 0.7}, ("shell", "cheaper_draft")),
            ({"sql": 0.01, "general": 0.01, "shell": 0.01}, ("lookup", "cheaper_lookup")),
        ],
    )
    def test_what_the_router_predicts_for_this_query_decides(
        self, acceptance: dict[str, float], expected: tuple[str, str]
    ) -> None:
        """Not the figures of the versions, which are those of other queries."""
        desk = Desk()

        assert desk.prices.settle(desk.admit(), decision(**acceptance)) == expected

    def test_without_predictions_the_general_draft_is_no_rival(self) -> None:
        """Its figure is a mean over all topics; shell's, lower as it is, is that of shell."""
        desk = Desk()

        assert desk.prices.settle(desk.admit(), decision("shell")) == ("shell", "topic")
        assert desk.prices.settle(desk.admit("b"), decision("shell", general=0.9)) == ("shell", "topic")

    @pytest.mark.parametrize("reason", ["out_of_scope", "uncertain"])
    def test_the_general_draft_keeps_the_router_s_reason(self, reason: str) -> None:
        """Nothing was cheaper."""
        desk = Desk()

        assert desk.prices.settle(desk.admit(), decision("general", reason)) == ("general", reason)

    def test_an_uncertain_query_gets_the_draft_that_is_cheaper_all_the_same(self) -> None:
        """The threshold is a price, not a probability; out of scope nothing is predicted that could be believed."""
        desk = Desk()
        predicted = {"sql": 0.8, "general": 0.4}

        assert desk.prices.settle(desk.admit(), decision("general", "uncertain", **predicted))[1] == "cheaper_draft"
        found = desk.prices.settle(desk.admit("b"), decision("general", "out_of_scope", **predicted))
        assert found == ("general", "out_of_scope")

    def test_a_draft_that_others_use_is_cheaper(self) -> None:
        """One step drafts for all of them, so a small advantage does not pay for a step of one's own."""
        alone, beside = Desk(), Desk()
        for name in "bcd":
            beside.admit(name, "general")
        predicted = decision(sql=0.55, general=0.53)

        assert alone.prices.settle(alone.admit(), predicted) == ("sql", "topic")
        assert beside.prices.settle(beside.admit(), predicted) == ("general", "cheaper_general")

    def test_a_topic_without_a_draft_is_priced_as_the_general_one(self) -> None:
        """Whose draft it would get."""
        desk = Desk()

        assert desk.prices.settle(desk.admit(), decision("poems")) == ("general", "topic")

    @pytest.mark.parametrize(("lengths", "length"), [(4, None), (None, 4)])
    def test_a_fixed_length_is_not_priced(self, lengths: int | None, length: int | None) -> None:
        """Who fixes it, deployment or request, wants proposals."""
        desk = Desk(DEAR_ROWS, lengths=lengths)

        assert desk.prices.settle(desk.admit(length=length), decision()) == ("sql", "topic")


class TestAskingAgain:
    def test_a_request_without_a_draft_gets_one_when_fewer_run(self) -> None:
        """Once; what has its draft is left to the controller."""
        costs = StepCosts({1: 1.0, 8: 1.1, 9: 1.5, 16: 4.0, 48: 20.0}, {1: 0.05, 8: 0.3}, context=1)
        desk = Desk(costs)
        for name in "bcdefgh":
            desk.admit(name, "sql")
        request = desk.admit()

        assert desk.prices.settle(request, decision()) == (None, "no_gain")
        assert not list(desk.prices.to_ask_again())
        for name in "bcdefgh":
            desk.loop.cancel(name)
        assert [again for again, _ in desk.prices.to_ask_again()] == [request]
        assert desk.prices.settle(request, decision()) == ("sql", "topic")
        assert not list(desk.prices.to_ask_again())

    def test_a_request_that_is_over_is_not_asked_about(self) -> None:
        """However it ended."""
        desk = Desk(DEAR_ROWS)
        desk.admit("b")
        desk.prices.settle(desk.admit(), decision())
        desk.loop.cancel("b")
        desk.prices.forget("a")

        assert not list(desk.prices.to_ask_again())


class Router:
    """Has decided already."""

    ready, error, label = True, "", "router@v1"

    def __init__(self) -> None:
        self.decisions = [("a", decision())]

    def submit(self, request_id: str, text: str) -> None: ...

    def poll(self) -> list[tuple[str, RoutingDecision]]:
        found, self.decisions = self.decisions, []
        return found

    def reload(self, folder: Path, label: str) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(("costs", "expected"), [(CHEAP, ("sql", "topic")), (DEAR_ROWS, ("none", "no_gain"))])
def test_a_reply_says_which_rule_decided(costs: StepCosts, expected: tuple[str, str]) -> None:
    """And which draft came of it, while the topic stays what it is."""
    loop = StepLoop(ToyModel(16, seed=1, num_slots=2), POOL)
    made = Engine(loop, POOL, Router(), LengthController(costs))  # type: ignore[arg-type]
    made.admit(Job("a", [1, 2], "how many", SamplingParams(max_tokens=20)))
    message = made.advance()

    assert message is not None
    routing = message.routings["a"]
    assert (routing.draft, routing.reason, routing.topic) == (*expected, "sql")
