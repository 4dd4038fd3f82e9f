"""Which answers are traced, where their traces go, and what is told about it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError
from decoding.checkpoint import fingerprint
from decoding.controller import LengthController
from decoding.costs import StepCosts
from decoding.lossy import Typical
from decoding.request import FinishReason, SamplingParams
from decoding.step_loop import StepLoop
from decoding.trace import SpeculationTrace
from decoding.trace_log import LogLimits, LogState
from decoding.trace_reader import TraceReader
from router.decision import RoutingDecision
from serving.config import Deployment
from serving.dispatch import Dispatcher
from serving.engine import Engine
from serving.health import health_document
from serving.plan import make_plan
from serving.traces import TracePlan, TracesSection, Tracing, plan_traces
from serving.wire import Load, Status, StepMessage
from tests.serving.test_engine import FakePool, FakeRouter, heard, job
from tests.toys import ToyModel


def tracing(folder: Path, share: float = 1.0) -> Tracing:
    return Tracing(TracePlan(folder, "t", 3, share, LogLimits()), FakePool().label)


def engine(folder: Path, router: FakeRouter | None = None) -> tuple[Engine, StepLoop]:
    made, pool = tracing(folder), FakePool()
    loop = StepLoop(ToyModel(16, seed=1, num_slots=4), pool, recorder=made.recorder)
    return Engine(loop, pool, router, tracing=made), loop  # type: ignore[arg-type]


def traces(engine: Engine, folder: Path) -> list[SpeculationTrace]:
    """After everything has been decoded and the engine closed."""
    while engine.busy:
        engine.advance()
    engine.close()
    return list(TraceReader(folder))


class TestSection:
    def test_nothing_is_kept_unless_the_deployment_says_so(self, toy: Path) -> None:
        """Neither planned nor a folder made."""
        section = TracesSection()
        assert not section.enabled
        assert plan_traces(section, "x", lambda: pytest.fail("hashed for nothing")) is None

    def test_the_folder_is_the_deployments_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Unless it is named."""
        monkeypatch.setenv("POLYDRAFT_HOME", str(tmp_path))
        assert TracesSection().path("shop") == tmp_path / "traces" / "shop"
        assert TracesSection(folder="~/x").path("shop") == Path.home() / "x"

    def test_limits_are_taken_over_in_the_units_of_the_log(self) -> None:
        """Bytes and seconds."""
        section = TracesSection(max_mb=5, max_age_days=0.5, segment_mb=2, segment_seconds=7)
        assert section.limits == LogLimits(5 << 20, 43_200.0, 2 << 20, 7.0)

    def test_a_plan_names_the_target(self, toy: Path, tmp_path: Path) -> None:
        """By its fingerprint; the folder is there, for its owner only."""
        sections: dict[str, Any] = {
            "target": {"model": str(toy), "max_length": 64},
            "drafts": {"general": None, "topics": {}},
            "router": None,
            "traces": {"enabled": True, "folder": str(tmp_path / "a" / "b"), "top": 4, "share": 0.5},
        }
        made = make_plan(Deployment.model_validate(sections)).traces
        assert made == TracePlan(tmp_path / "a" / "b", fingerprint(toy), 4, 0.5, LogLimits(), toy.resolve())
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700

    def test_a_folder_that_cannot_be_made_is_said_before_serving(self, tmp_path: Path) -> None:
        """With what to do."""
        (tmp_path / "file").touch()
        section = TracesSection(enabled=True, folder=str(tmp_path / "file" / "traces"))
        with pytest.raises(ConfigError, match=r"traces\.folder .*/file/traces cannot be made: Not a directory"):
            plan_traces(section, "x", lambda: "t")


class TestTracing:
    def test_a_request_may_opt_out(self, tmp_path: Path) -> None:
        """And a lossy one is out anyway."""
        made = tracing(tmp_path)
        lossy = SamplingParams(temperature=1.0, lossy=Typical())
        assert made.wants(job())
        assert not made.wants(replace(job(), may_trace=False))
        assert not made.wants(replace(job(), sampling=lossy))
        made.close()

    def test_a_share_is_a_share(self, tmp_path: Path) -> None:
        """The same requests each time."""
        made = tracing(tmp_path, share=0.25)
        wanted = [made.wants(job(f"request {number}")) for number in range(4000)]
        assert 850 < sum(wanted) < 1150
        assert wanted == [made.wants(job(f"request {number}")) for number in range(4000)]
        made.close()


class TestEngine:
    def test_traces_say_where_a_request_was_routed_and_who_drafted(self, tmp_path: Path) -> None:
        """The router's decision may come late, the client may name a draft, and some are not traced."""
        router = FakeRouter()
        made, _ = engine(tmp_path, router)
        made.admit(job("routed"))
        made.admit(job("asked", draft="sql"))
        made.admit(job("alone", draft="none"))
        made.admit(replace(job("private"), may_trace=False))
        made.advance()
        router.decisions.append(("routed", RoutingDecision("math", "sql", 0.9, "topic")))
        found = traces(made, tmp_path)
        assert sorted(str(trace.topic) for trace in found) == ["None", "math", "sql"]
        assert {trace.draft for trace in found} <= {None, "sql@v1", "lookup@v1"}
        assert {trace.target for trace in found} == {"t"}
        assert all(trace.answer_ids == ToyModel(16, 1).greedy([1, 2], 20) for trace in found)

    def test_a_decision_that_comes_after_the_end_still_names_the_topic(self, tmp_path: Path) -> None:
        """The trace waits for it; without a decision it goes when the server ends."""
        router = FakeRouter()
        made, _ = engine(tmp_path, router)
        for name in ("late", "never", "gone"):
            made.admit(job(name))
        made.cancel("gone")
        while made.busy:
            made.advance()
        router.decisions.append(("late", RoutingDecision("math", "sql", 0.9, "topic")))
        made.advance()
        assert not made._undecided
        assert [trace.topic for trace in traces(made, tmp_path)] == ["math", None]

    def test_a_router_that_fails_holds_up_no_trace(self, tmp_path: Path) -> None:
        """They have no topic."""
        router = FakeRouter()
        made, _ = engine(tmp_path, router)
        made.admit(job())
        while made.busy:
            made.advance()
        router.ready, router.error = False, "the router process has ended"
        made.advance()
        assert not made._tracing.recorder._held
        assert [trace.topic for trace in traces(made, tmp_path)] == [None]

    def test_traced_answers_of_a_busy_time_are_routed_when_there_is_time(self, tmp_path: Path) -> None:
        """While many run the router is not asked, for drafts would not be used; nor about those that are not traced."""
        router, made_tracing, pool = FakeRouter(), tracing(tmp_path), FakePool()
        loop = StepLoop(ToyModel(16, seed=1, num_slots=4), pool, recorder=made_tracing.recorder)
        costs = StepCosts({1: 1.0, 2: 1.1, 4: 1.2, 5: 2.0, 8: 4.0}, {1: 0.1, 8: 0.3})
        made = Engine(loop, pool, router, LengthController(costs), tracing=made_tracing)  # type: ignore[arg-type]
        for name in "abcd":
            made.admit(replace(job(name), may_trace=name != "d"))
        while made.busy:
            made.advance()
        assert router.asked == []
        made.advance()
        assert [name for name, _ in router.asked] == ["a", "b", "c"]
        router.decisions += [(name, RoutingDecision("math", "sql", 0.9, "topic")) for name in "bac"]
        made.advance()
        assert [trace.topic for trace in traces(made, tmp_path)] == ["math"] * 3

    def test_a_stop_string_is_an_end_and_a_client_that_leaves_is_none(self, tmp_path: Path) -> None:
        """What is given up is not learned from."""
        made, _ = engine(tmp_path)
        for name in "ab":
            made.admit(job(name, draft="none"))
        made.advance()
        made.advance()
        made.cancel("a", is_answered=True)
        made.cancel("b")
        [trace] = traces(made, tmp_path)
        assert (trace.finish_reason, len(trace.answer_ids)) == (FinishReason.STOP, 2)

    def test_the_status_counts_traces(self, tmp_path: Path) -> None:
        """None where none are kept."""
        made, _ = engine(tmp_path)
        made.admit(job())
        assert heard(made.advance()).status.traces == LogState()
        assert len(traces(made, tmp_path)) == 1
        assert heard(made.advance()).status.traces == LogState(written=1)


class TestTelling:
    def test_counts_travel_to_the_other_process(self) -> None:
        """With what is wrong, if something is."""
        for state in (None, LogState(), LogState(5, 2, "no space left")):
            message = StepMessage(Status(1, Load(), "off", state))
            assert StepMessage.from_json(message.to_json()) == message

    def test_health_tells_them_and_serving_goes_on(self) -> None:
        """A lost disk is a reason to mend it, not to stop serving."""
        dispatcher = Dispatcher(None, None, None, 1, 1)  # type: ignore[arg-type]
        document = {}
        for state in (None, LogState(3, 0), LogState(3, 2, "gone")):
            dispatcher.status = Status(1, Load(), "off", state)
            document = health_document("toy", 1, dispatcher)
            assert document["status"] == ("degraded" if state and state.error else "ready")
            assert document["traces"] == (state and {"written": state.written, "dropped": state.dropped})
        assert document["reasons"] == ["traces cannot be written and are dropped: gone"]
