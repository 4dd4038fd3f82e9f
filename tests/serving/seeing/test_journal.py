"""Times and counts of answers, as they become traces."""

from typing import Any

import pytest

from decoding.request import Origin, SamplingParams, SpeculationCounts
from registry.traces import SpanRecord, TraceRecord
from serving.seeing.entry import Entry, trace_of
from serving.seeing.journal import Journal
from serving.wire import Job, Load, Output, Routing, Status, StepMessage
from tests.serving.seeing.toy_watch import ROUTED, UNDECIDED, B, C, D, P

WALL = 1_700_000_000.0


class Theatre:
    """A worker's messages to a journal, with a clock in hand."""

    def __init__(self, share: float = 1.0, shows: bool = False):
        self.now = 100.0
        self.over: list[Entry] = []
        self.journal = Journal(
            share, self.over.append, lambda _: shows, clock=lambda: self.now, wall=lambda: WALL + self.now
        )
        self.counts: dict[str, SpeculationCounts] = {}

    def open(self, name: str) -> None:
        self.counts[name] = SpeculationCounts()
        self.journal.opened(Job(name, [1, 2, 3], "", SamplingParams()))

    def say(self, after: float, *outputs: Output, waiting: int = 0, **fields: Any) -> None:
        """A message, so many seconds after what was before."""
        self.now += after
        status = Status(1, Load(waiting=waiting), "ready")
        self.journal.told(StepMessage(status, list(outputs), **fields))

    def run(self, name: str, drafted: int, origins: list[Origin], finish: str | None = None) -> Output:
        counts = self.counts[name]
        counts.add_run(drafted, sum(origin is D for origin in origins), len(origins))
        return Output(name, [7] * len(origins), origins, finish, counts)

    def close(self, name: str, is_answered: bool = True) -> TraceRecord:
        self.journal.closed(name, is_answered)
        return trace_of(self.over[-1], "toy", None)


def spans(trace: TraceRecord) -> dict[str, tuple[float, float]]:
    """When each phase began and how long it took, from the answer's arrival."""
    began = trace.whole.began
    return {each.name: (round(each.began - began, 3), round(each.ended - each.began, 3)) for each in trace.phases}


def phase(trace: TraceRecord, name: str) -> SpanRecord:
    [found] = [each for each in trace.phases if each.name == name]
    return found


def test_an_answer_becomes_its_phases() -> None:
    """Prompt from slot to first token, decoding to the last; the router decides beside both."""
    theatre = Theatre()
    theatre.say(0)  # idle since
    theatre.now += 5
    theatre.open("a")
    theatre.say(0.25, theatre.run("a", 0, [P]), routings={"a": UNDECIDED})
    theatre.say(0.5, theatre.run("a", 3, [D, D, C]), routings={"a": ROUTED})
    theatre.say(0.25, theatre.run("a", 2, [D, D, B], "stop"))
    theatre.now += 0.125  # the client's own time is none of the answer's
    trace = theatre.close("a")
    assert spans(trace) == {"queue": (0, 0), "routing": (0, 0.75), "prompt": (0, 0.25), "decoding": (0.25, 0.75)}
    assert (trace.whole.began, trace.whole.ended) == (WALL + 105, WALL + 106)
    assert trace.whole.attributes == {
        "request_id": "a",
        "model": "toy",
        "topic": "sql",
        "confidence": 0.97,
        "draft": "sql@v1",
        "draft_version": "v1",
        "reason": "topic",
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "completion_tokens": 7,
        "seconds": 1.0,
    }
    assert phase(trace, "decoding").attributes == {
        "completion_tokens": 7,
        "target_runs": 3,
        "drafts": 2,
        "drafted": 5,
        "copied": 0,
        "accepted": 4,
        "mean_acceptance_length": 3.0,
    }
    assert trace.tags == {"topic": "sql", "draft": "sql@v1", "finish_reason": "stop"}
    assert (trace.tokens, trace.failure) == ((3, 7), "")


def test_those_that_wait_are_the_last_that_came() -> None:
    """A slot is taken where the step before ended, also by a request that came during it."""
    theatre = Theatre()
    for name in "abc":
        theatre.open(name)
    asked = Routing(None, "none", None, "asked")
    theatre.say(1, theatre.run("a", 0, [P]), routings=dict.fromkeys("abc", asked), waiting=2)
    theatre.journal.closed("b", is_answered=False)  # it leaves the queue; the worker does not know yet
    theatre.say(1, theatre.run("a", 0, [P], "length"), waiting=2)
    theatre.say(1, theatre.run("c", 0, [P], "length"))
    gone, first, last = trace_of(theatre.over[0], "toy", None), theatre.close("a"), theatre.close("c")
    assert spans(gone) == {"queue": (0, 1), "routing": (0, 1)}
    assert gone.failure == gone.tags["finish_reason"] == "left"
    assert spans(first)["queue"] == (0, 0)
    assert spans(last) == {"queue": (0, 2), "routing": (0, 1), "prompt": (2, 1), "decoding": (3, 0)}


def test_an_answer_knows_the_version_that_took_over() -> None:
    """Merged ones too; what was merged before goes by its parts."""
    theatre = Theatre()
    theatre.say(0, drafts={"sql": "sql@v1", "math": "math@v1"})
    for name, label in (("a", "sql@v1"), ("b", "math@v1+sql@v1"), ("c", "math@v1")):
        theatre.open(name)
        theatre.say(0, routings={name: Routing(None, label, None, "asked")})
    theatre.say(0, drafts={"sql": "sql@v2", "math": "math@v1"})
    assert [theatre.close(name).tags["draft"] for name in "abc"] == ["sql@v2", "math@v1+sql@v2", "math@v1"]


@pytest.mark.parametrize(("why", "wanted"), [("deadline", "deadline"), ("error", "error"), (None, "left")])
def test_what_has_no_whole_answer_says_why(why: Any, wanted: str) -> None:
    theatre = Theatre()
    theatre.open("a")
    theatre.say(1, routings={"a": UNDECIDED})
    if why is not None:
        theatre.journal.failed("a", why)
    theatre.now += 2
    trace = theatre.close("a", is_answered=False)
    assert (trace.failure, trace.whole.ended - trace.whole.began) == (wanted, 3)
    assert spans(trace) == {"queue": (0, 0), "routing": (0, 3), "prompt": (0, 3)}


def test_a_stop_string_is_a_stop() -> None:
    """The worker does not know of it."""
    theatre = Theatre()
    theatre.open("a")
    theatre.say(1, theatre.run("a", 0, [P]), routings={"a": ROUTED})
    trace = theatre.close("a")
    assert (trace.failure, trace.tags["finish_reason"]) == ("", "stop")


def test_a_share_is_drawn_by_id_again_and_again() -> None:
    """A smaller share's answers are among a larger one's; none of them notes text."""
    drawn = {}
    for share in (0.0, 0.1, 0.5, 1.0, 0.1):
        theatre = Theatre(share)
        for number in range(1000):
            theatre.open(f"{number}")
            theatre.journal.closed(f"{number}", is_answered=False)
        found = {entry.request_id for entry in theatre.over}
        assert drawn.setdefault(share, found) == found
        assert {(entry.prompt_ids, *entry.answer_ids) for entry in theatre.over} <= {(None,)}
    assert [abs(len(drawn[share]) - 1000 * share) < 60 for share in drawn] == [True] * 4
    assert drawn[0.0] < drawn[0.1] < drawn[0.5] < drawn[1.0]


def test_tokens_are_noted_where_they_may_be_shown() -> None:
    theatre = Theatre(shows=True)
    theatre.open("a")
    theatre.say(1, theatre.run("a", 1, [D, B]), routings={"a": ROUTED})
    theatre.close("a")
    assert (theatre.over[0].prompt_ids, theatre.over[0].answer_ids) == ([1, 2, 3], [7, 7])


def test_nothing_is_left_of_what_is_over() -> None:
    """A year of requests must not fill the memory."""
    theatre = Theatre(0.5)
    for number in range(50):
        theatre.open(f"{number}")
        if number % 3:
            theatre.say(0, routings={f"{number}": ROUTED}, waiting=number % 2)
        theatre.journal.closed(f"{number}", is_answered=True)
    theatre.say(0)
    journal = theatre.journal
    assert [len(each) for each in (journal._entries, journal._unseen, journal._waiting)] == [0, 0, 0]
