"""The audit finds what speculation changed, finds nothing else, and takes only time that nobody wants."""

import pytest

import decoding.model
from decoding.request import SamplingParams
from decoding.step_loop import StepLoop
from serving.auditing import Auditor
from serving.dispatch import Dispatcher
from serving.engine import Engine
from serving.health import health_document
from serving.seeing.state import degraded
from serving.wire import AuditState, Job, Load, Status, StepMessage
from tests.serving.test_engine import FakePool
from tests.toy_engines import gullible
from tests.toys import ToyModel

TOKENS = 24
PROMPT = [1, 2, 1, 2, 1, 0, 1, 2, 0, 2, 2, 1]


class Bench:
    """An engine whose every greedy answer is audited."""

    def __init__(self, share: float = 1.0, slots: int = 2, vocab_size: int = 3, max_length: int = 256):
        # So few tokens and so short a memory that answers repeat themselves, and prompt lookup has proposals.
        self.target = ToyModel(vocab_size, seed=3, memory=1, num_slots=slots, max_length=max_length)
        self.loop = StepLoop(self.target, FakePool())
        self.auditor = Auditor(self.target, share)
        self.engine = Engine(self.loop, FakePool(), auditor=self.auditor)  # type: ignore[arg-type]
        self.message: StepMessage | None = None

    def ask(self, name: str, tokens: int = TOKENS, **sampling: float) -> None:
        params = SamplingParams(max_tokens=tokens, **sampling)  # type: ignore[arg-type]
        self.engine.admit(Job(name, PROMPT, "", params, "lookup"))

    def turn(self) -> None:
        self.message = self.engine.advance() or self.message

    def answer(self) -> None:
        while self.engine.busy:
            self.turn()

    def audit(self) -> AuditState:
        while self.engine.has_chores:
            self.turn()
        return self.auditor.state


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher(None, None, None, 1, 1)  # type: ignore[arg-type]


class TestAuditor:
    def test_right_answers_pass(self, bench: Bench) -> None:
        """Token by token, with penalties too; all slots are free afterwards."""
        for name in "abc":
            bench.ask(name)
        bench.ask("d", repetition_penalty=1.3)
        bench.answer()
        assert bench.audit() == AuditState(4, 4 * TOKENS)
        assert bench.message is not None
        assert bench.message.status.audit == AuditState(4, 4 * TOKENS)
        assert bench.target.cache.num_free == 2

    def test_a_broken_rule_is_caught_with_the_gap(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Negative control: every proposal is believed. The log names the place, and no text."""
        monkeypatch.setattr(decoding.model, "verify_greedy", gullible)
        bench.ask("a")
        bench.answer()
        found = bench.audit()
        assert (found.answers, found.mismatches) == (1, 1)
        [position] = [record.args[2] for record in caplog.records]  # type: ignore[index]
        plain = bench.target.greedy(PROMPT, TOKENS)
        best, second = bench.target.logits([*PROMPT, *plain[:position]]).topk(2).values.tolist()
        assert found.tokens == position
        assert found.largest_gap == pytest.approx(best - second, abs=1e-5)

    def test_an_answer_that_ends_too_early_is_caught(self, bench: Bench) -> None:
        """All its tokens are right, and there should be more."""
        bench.ask("a")
        bench.turn()
        while len((request := bench.loop.requests[0]).generated) < TOKENS - 6:
            bench.turn()
        bench.auditor.consider(request, is_whole=True)
        bench.loop.cancel("a")
        assert bench.audit().mismatches == 1

    def test_an_answer_that_a_stop_string_cut_is_compared_as_far_as_it_goes(self, bench: Bench) -> None:
        """What was given up is not compared at all."""
        bench.ask("a")
        bench.ask("b")
        for _ in range(4):
            bench.turn()
        said = len(bench.loop.requests[0].generated)
        bench.engine.cancel("a", is_answered=True)
        bench.engine.cancel("b", is_answered=False)
        assert bench.audit() == AuditState(1, said)

    def test_only_a_share_is_compared_and_nothing_that_was_drawn_or_plain(self) -> None:
        """Drawn answers have no single truth, plain ones nothing to prove."""
        bench = Bench(share=0.5)
        for number in range(40):
            bench.ask(f"request {number}", tokens=8)
        bench.answer()
        assert 10 < bench.audit().answers < 30
        nothing = Bench()
        nothing.ask("drawn", temperature=1.0)
        nothing.engine.admit(Job("plain", PROMPT, "", SamplingParams(max_tokens=8), "none"))
        nothing.answer()
        assert nothing.audit() == AuditState()

    def test_it_gives_way_to_requests_and_goes_on_where_it_was(self, bench: Bench) -> None:
        """A request that comes takes exactly the target runs that it takes alone; the audit waits for its end."""
        bench.ask("a")
        bench.answer()
        for _ in range(5):
            bench.turn()
        assert bench.auditor.num_slots == 1
        assert bench.message is not None
        assert bench.message.status.load.free_slots == 2
        alone = Bench(share=0.0)
        alone.ask("b")
        alone.answer()
        bench.ask("b")
        before = bench.target.num_forwards
        bench.answer()
        assert bench.target.num_forwards - before == alone.target.num_forwards
        assert bench.auditor.state == AuditState()
        assert bench.audit() == AuditState(2, 2 * TOKENS)

    def test_it_gives_up_its_slot_where_there_is_no_other(self) -> None:
        """A full house is served as if nobody audited; the comparison begins anew."""
        bench = Bench(slots=1)
        bench.ask("a")
        bench.answer()
        for _ in range(5):
            bench.turn()
        assert bench.target.cache.num_free == 0
        bench.ask("b")
        bench.turn()
        assert (bench.loop.num_running, bench.loop.num_waiting, bench.auditor.num_slots) == (1, 0, 0)
        bench.answer()
        assert bench.audit() == AuditState(2, 2 * TOKENS)

    def test_what_never_finds_time_is_counted(self) -> None:
        """Nothing grows without end under a load that never ceases."""
        bench = Bench()
        for number in range(70):
            bench.ask(f"request {number}", tokens=8)
        bench.answer()
        assert bench.auditor.state.dropped == 6
        assert bench.audit().answers == 64

    def test_a_step_that_raises_costs_one_comparison(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """Or the worker would try it for ever."""
        bench.ask("a")
        bench.answer()
        bench.turn()
        monkeypatch.setattr(bench.target, "forward", lambda _spans: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.turn()
        bench.engine.fail_all("it broke")
        assert not bench.engine.has_chores
        assert bench.auditor.state == AuditState(dropped=1)
        assert bench.target.cache.num_free == 2


class TestTelling:
    @pytest.mark.parametrize("audit", [None, AuditState(), AuditState(7, 700, 1, 0.25, 3)])
    def test_the_state_travels_with_the_message(self, audit: AuditState | None) -> None:
        """Also that nothing is audited."""
        status = Status(1, Load(), "off", audit=audit)
        assert StepMessage.from_json(StepMessage(status).to_json()).status == status

    def test_a_mismatch_is_a_reason_to_look(self, dispatcher: Dispatcher) -> None:
        """It serves on; health and metrics say so."""
        dispatcher.status = Status(1, Load(), "off", audit=AuditState(7, 700))
        document = health_document("toy", 2, dispatcher)
        assert (document["status"], document["audit"]["answers"]) == ("ready", 7)
        dispatcher.status = Status(1, Load(), "off", audit=AuditState(7, 700, 1, 0.25))
        document = health_document("toy", 2, dispatcher)
        assert document["status"] == "degraded"
        assert document["reasons"] == ["1 of 7 audited answers differ from plain decoding, top-two gap 2.5e-01 at most"]
        assert degraded(dispatcher.status, worker_died=False) == ["audit"]

    def test_without_an_audit_health_says_none(self, dispatcher: Dispatcher) -> None:
        """Rather than zeros."""
        dispatcher.status = Status(1, Load(), "off")
        assert health_document("toy", 2, dispatcher)["audit"] is None
