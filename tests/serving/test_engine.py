from collections.abc import Iterator, Mapping
from pathlib import Path

from decoding.controller import LengthController
from decoding.costs import StepCosts
from decoding.drafter import Drafter
from decoding.request import SamplingParams
from decoding.step_loop import StepLoop
from drafts.pool import DraftSpec
from drafts.prompt_lookup import PromptLookup
from router.decision import RoutingDecision
from serving.engine import Engine
from serving.wire import Job, StepMessage
from tests.toys import ToyModel


class FakePool(Mapping[str, Drafter]):
    """Prompt lookup under the names of a pool."""

    def __init__(self) -> None:
        self._drafters = {name: PromptLookup() for name in ("lookup", "general", "sql")}
        self.specs = {name: DraftSpec(name, f"{name}@v1", Path()) for name in ("general", "sql")}

    def __getitem__(self, name: str) -> Drafter:
        return self._drafters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._drafters)

    def __len__(self) -> int:
        return len(self._drafters)

    def select(self, name: str) -> str:
        return name if name in self._drafters else "general"

    @property
    def versions(self) -> dict[str, str]:
        return {name: spec.label for name, spec in self.specs.items()}

    def label(self, name: str | None) -> str:
        return "none" if name is None else f"{name}@v1"


class FakeRouter:
    """Answers when the test says so."""

    def __init__(self, ready: bool = True, error: str = "") -> None:
        self.ready, self.error = ready, error
        self.asked: list[tuple[str, str]] = []
        self.decisions: list[tuple[int | str, RoutingDecision]] = []
        self.closed = False
        self.label = "router@v1"

    def submit(self, request_id: str, text: str) -> None:
        self.asked.append((request_id, text))

    def poll(self) -> list[tuple[int | str, RoutingDecision]]:
        decided, self.decisions = self.decisions, []
        return decided

    def close(self) -> None:
        self.closed = True


def engine(router: FakeRouter | None = None) -> tuple[Engine, StepLoop]:
    pool = FakePool()
    loop = StepLoop(ToyModel(16, seed=1, num_slots=2), pool)
    return Engine(loop, pool, router), loop  # type: ignore[arg-type]


def job(name: str = "a", draft: str = "auto", length: int | None = None) -> Job:
    return Job(name, [1, 2], "how many", SamplingParams(max_tokens=20), draft, length)


def heard(message: StepMessage | None) -> StepMessage:
    assert message is not None
    return message


class TestEngine:
    def test_a_busy_engine_does_not_ask_the_router_for_drafts_that_it_would_not_use(self) -> None:
        """It asks when fewer requests run, about those that still do."""
        router = FakeRouter()
        loop = StepLoop(ToyModel(16, seed=1, num_slots=4), FakePool())
        costs = StepCosts({1: 1.0, 2: 1.1, 4: 1.2, 5: 2.0, 8: 4.0}, {1: 0.1, 8: 0.3})
        made = Engine(loop, FakePool(), router, LengthController(costs))  # type: ignore[arg-type]
        for name in "abcd":
            made.admit(job(name))
        assert [request.drafter for request in loop.requests] == ["general", "general", "lookup", "lookup"]
        for _ in range(3):
            assert heard(made.advance()).outputs
        assert not router.asked
        made.cancel("a")
        made.cancel("b")
        made.advance()
        assert [name for name, _ in router.asked] == ["c", "d"]
        made.advance()
        assert len(router.asked) == 2

    def test_a_request_starts_before_it_is_routed(self) -> None:
        """The general draft proposes until the decision arrives, then its own does, between two steps."""
        router = FakeRouter()
        made, loop = engine(router)
        made.admit(job())
        first = heard(made.advance())
        assert first.outputs
        assert (first.routings["a"].reason, loop.requests[0].drafter) == ("undecided", "general")
        made.advance()
        router.decisions.append(("a", RoutingDecision("sql", "sql", 0.98765, "topic")))
        routing = heard(made.advance()).routings["a"]
        assert (routing.topic, routing.draft, routing.confidence, routing.reason) == ("sql", "sql@v1", 0.9877, "topic")
        assert loop.requests[0].drafter == "sql"
        assert router.asked == [("a", "how many")]

    def test_the_router_keeps_out_of_the_way_of_a_first_token(self) -> None:
        """It shares a core with the process that sends the token out: it is asked when there is a second one."""
        router = FakeRouter()
        made, loop = engine(router)
        made.admit(job())
        while len(loop.requests[0].generated) < 2:
            assert not router.asked
            made.advance()
        made.advance()
        assert router.asked == [("a", "how many")]

    def test_while_the_router_loads_the_general_draft_serves(self) -> None:
        """A decision that comes in time still counts."""
        router = FakeRouter(ready=False)
        made, loop = engine(router)
        made.admit(job())
        message = heard(made.advance())
        assert (message.routings["a"].reason, message.status.router) == ("router starting", "starting")
        assert loop.requests[0].drafter == "general"
        router.decisions.append(("a", RoutingDecision("sql", "sql", 0.9, "topic")))
        assert heard(made.advance()).routings["a"].draft == "sql@v1"

    def test_a_named_draft_is_not_routed(self) -> None:
        """The client knows best."""
        router = FakeRouter()
        made, loop = engine(router)
        made.admit(job(draft="sql"))
        assert heard(made.advance()).routings["a"].reason == "asked"
        assert (loop.requests[0].drafter, router.asked) == ("sql", [])

    def test_none_means_none(self) -> None:
        """So does a length of 0."""
        made, loop = engine(FakeRouter())
        made.admit(job("a", draft="none"))
        made.admit(job("b", length=0))
        assert {routing.draft for routing in heard(made.advance()).routings.values()} == {"none"}
        assert [request.drafter for request in loop.requests] == [None, None]

    def test_without_a_router_the_general_draft_serves(self) -> None:
        """The reply says why."""
        made, loop = engine()
        made.admit(job())
        assert heard(made.advance()).routings["a"].reason == "no router"
        assert loop.requests[0].drafter == "general"

    def test_a_router_that_failed_stops_nothing(self) -> None:
        """Requests get the general draft, and the status says what is wrong."""
        made, _ = engine(FakeRouter(ready=False, error="the router process has ended"))
        made.admit(job())
        message = heard(made.advance())
        assert message.routings["a"].reason == "router failed"
        assert message.status.router == "the router process has ended"

    def test_a_decision_for_a_request_that_is_gone_is_ignored(self) -> None:
        """It may have ended, or been cancelled, in the meantime."""
        router = FakeRouter()
        made, _ = engine(router)
        made.admit(job())
        made.advance()
        assert made.cancel("a")
        router.decisions.append(("a", RoutingDecision("sql", "sql", 0.9, "topic")))
        assert heard(made.advance()).routings == {}

    def test_cancelling_frees_the_slot_and_is_told(self) -> None:
        """Even when nothing else runs."""
        made, _ = engine()
        made.admit(job())
        assert heard(made.advance()).status.load.free_slots == 1
        assert made.cancel("a")
        assert not made.cancel("a")
        assert heard(made.advance()).status.load.free_slots == 2
        assert made.advance() is None

    def test_giving_up_names_every_request(self) -> None:
        """Running and waiting ones; the slots are free afterwards."""
        made, loop = engine()
        for name in "abc":
            made.admit(job(name))
        made.advance()
        message = made.fail_all("it broke")
        assert message.failures == dict.fromkeys("abc", "it broke")
        assert (loop.num_running, loop.num_waiting, made.busy) == (0, 0, False)
