"""Looks on while answers grow, and counts: for `/metrics` since the start, for the live page by time."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from decoding.request import Origin
from serving.observer import Failure, Observer
from serving.seeing.flight import PROVISIONAL, Flight, Run
from serving.seeing.history import History, Span
from serving.seeing.labels import NO_DRAFT, NO_TOPIC, Labels, labels_of, refused_version, split_label
from serving.seeing.tally import Tally, observe_in
from serving.wire import Job, Load, Output, Routing, Status, StepMessage

LOOKUP = "lookup"
_MOST_CHANGES = 50
_MOST_VERSIONS = 4  # of a draft that keep their series
_WRITERS = {origin: (origin.value,) for origin in Origin}
_FAILURES = (("deadline",), ("error",), ("left",))
_ENDS = (("stop",), ("length",))
_REFUSALS = (("/v1/chat/completions", "429"), ("/v1/completions", "429"))
_SPECULATION = (
    "spec_decode_num_drafts",
    "spec_decode_num_draft_tokens",
    "spec_decode_num_accepted_tokens",
    "spec_decode_num_accepted_tokens_per_pos",
)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a draft while serving."""

    at: float  # Unix seconds
    what: str  # installed, rolled back, refused
    draft: str
    version: str
    before: str = ""
    why: str = ""


class Watch(Observer):
    """Counts what passes through the HTTP process.

    Args:
        slots: of the target's cache.
        clock: monotonic seconds.
        wall: Unix seconds.
    """

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time):
        self.slots, self.tally, self.history = slots, Tally(), History()
        self.drafts: dict[str, str] = {}  # labels of the drafts that serve, by name
        self.changes: deque[Change] = deque(maxlen=_MOST_CHANGES)
        self.status: Status | None = None
        self.costs: tuple[float, float] | None = None  # of a draft step and a run over five tokens
        self._clock, self._wall = clock, wall
        self._began: float | None = None
        self._flights: dict[str, Flight] = {}
        self._versions: dict[str, deque[str]] = {}
        self._refusals: frozenset[str] = frozenset()  # the worker's
        self._complaints: frozenset[str] = frozenset()  # the followers'
        self._begin({"request_failures": _FAILURES, "request_success": _ENDS, "requests": _REFUSALS})

    def _begin(self, series: Mapping[str, Iterable[tuple[str, ...]]]) -> None:
        """Let counters begin at 0: of a series that appears with a 1, Prometheus never sees the increase."""
        for stem, labels in series.items():
            for each in labels:
                self.tally.counters[stem].add(each, 0)

    def now(self) -> tuple[float, float]:
        """Unix seconds, and for how many the worker has been there."""
        return self._wall(), self._clock() - self._began if self._began is not None else 0.0

    def opened(self, job: Job) -> None:
        self._flights[job.request_id] = Flight(self._clock(), (NO_TOPIC, NO_DRAFT, ""))
        self.tally.counters["prompt_tokens"].add((), len(job.token_ids))

    def told(self, message: StepMessage) -> None:
        now = self._clock()
        self._began = now if self._began is None else self._began
        if message.drafts:
            self._take_drafts(message.drafts, set(message.given_up))
            self.costs = message.costs
        for request_id, routing in message.routings.items():
            if (flight := self._flights.get(request_id)) is not None:
                self._take_routing(flight, routing, now)
        spans = self.history.at(self._wall())
        for output in message.outputs:
            if (flight := self._flights.get(output.request_id)) is not None:
                self._take(flight, output, now, spans)
        self._refusals = self._refuse(self._refusals, message.status.drafts_refused)
        self._take_load(message.status, spans)

    def failed(self, request_id: str, why: Failure) -> None:
        if (flight := self._flights.get(request_id)) is not None:
            flight.failure = why

    def closed(self, request_id: str, is_answered: bool) -> None:
        flight = self._flights.pop(request_id, None)
        if flight is None:
            return
        if not flight.is_over and is_answered:
            self._end(flight, "stop", self._clock())  # by a stop string, which the worker does not know
        elif not flight.is_over:
            self.tally.counters["request_failures"].add((flight.failure or "left",))
        if flight.routing is not None:
            topic, draft, _ = flight.labels
            self.tally.counters["routing_decisions"].add((topic, draft, flight.routing.reason))
            for span in self.history.at(self._wall()):
                span.cell(topic, draft).answers += 1

    def responded(self, endpoint: str, code: int) -> None:
        self.tally.counters["requests"].add((endpoint, str(code)))

    def complained(self, lines: Iterable[str]) -> None:
        """What stands now of why versions of drafts are not taken up, by whoever looks at them before the worker."""
        self._complaints = self._refuse(self._complaints, lines)

    def _refuse(self, before: frozenset[str], lines: Iterable[str]) -> frozenset[str]:
        """Note what is new; returns what stands."""
        now = frozenset(lines)
        for line in now - before:
            if (found := refused_version(line)) is not None:
                name, version, why = found
                serving = split_label(self.drafts.get(name, ""))[1]
                self._note(Change(self._wall(), "refused", name, version, serving, why))
        return now

    def _take_drafts(self, drafts: dict[str, str], given_up: set[str]) -> None:
        for name, label in drafts.items():
            version, before = split_label(label)[1], self.drafts.get(name, "")
            if self.drafts and before != label:
                self._replace(name, version, split_label(before)[1], is_back=before in given_up)
            self._remember(name, version)
        self.drafts = dict(drafts)

    def _replace(self, name: str, version: str, before: str, is_back: bool) -> None:
        """A version has taken over, also from answers that run."""
        what = "rolled back" if is_back else "installed"
        self._note(Change(self._wall(), what, name, version, before, f"{before} did worse" if is_back else ""))
        if is_back:
            self.tally.counters["draft_rollbacks"].add((name,))
        for flight in self._flights.values():
            if flight.labels[1:] == (name, before):
                flight.labels = (flight.labels[0], name, version)

    def _note(self, change: Change) -> None:
        self.changes.append(change)
        self.tally.counters["draft_swaps"].add((change.draft, "refused" if change.what == "refused" else "installed"))

    def _remember(self, name: str, version: str) -> None:
        """Series of versions that left long ago are dropped, or a year of learning would fill a Prometheus."""
        known = self._versions.setdefault(name, deque())
        if version in known:
            known.remove(version)
        known.append(version)
        self._begin({"draft_swaps": [(name, "installed"), (name, "refused")], "draft_rollbacks": [(name,)]})
        while len(known) > _MOST_VERSIONS:
            gone = (name, known.popleft())
            for stem in _SPECULATION:
                self.tally.counters[stem].forget(lambda labels, gone=gone: labels[1:3] == gone)  # type: ignore[misc]

    def _take_routing(self, flight: Flight, routing: Routing, now: float) -> None:
        was_waiting = flight.routing is not None and flight.routing.reason in PROVISIONAL
        if was_waiting and routing.reason not in PROVISIONAL:
            self.tally.histograms["route_duration_seconds"].observe(now - flight.arrived)
        flight.routing, flight.labels = routing, labels_of(routing)

    def _take(self, flight: Flight, output: Output, now: float, spans: list[Span]) -> None:
        run = flight.run(output.counts)
        topic, draft, version = flight.labels
        labels = (topic, LOOKUP, "") if run.is_copied else (topic, draft, version)
        origins = self.tally.counters["generation_tokens"]
        for origin in output.origins:
            origins.add(_WRITERS[origin])
        self.tally.counters["request_runs"].add(("speculative" if run.is_speculative else "plain",))
        if run.is_speculative:
            self._count(run, labels)
        self._time(flight, now, spans)
        for span in spans:
            cell = span.cell(topic, draft)
            cell.tokens += len(output.token_ids)
            cell.runs += 1
            cell.drafts += run.is_speculative
            cell.drafted += run.drafted
            cell.copied += run.drafted if run.is_copied else 0
            cell.accepted += run.accepted
        if output.finish_reason is not None:
            self._end(flight, output.finish_reason, now)

    def _count(self, run: Run, labels: Labels) -> None:
        counters = self.tally.counters
        counters["spec_decode_num_drafts"].add(labels)
        counters["spec_decode_num_draft_tokens"].add(labels, run.drafted)
        counters["spec_decode_num_accepted_tokens"].add(labels, run.accepted)
        by_position = counters["spec_decode_num_accepted_tokens_per_pos"]
        for position in range(run.accepted):
            by_position.add((*labels, str(position)))

    def _time(self, flight: Flight, now: float, spans: list[Span]) -> None:
        since = flight.arrived if flight.last is None else flight.last
        stem = "time_to_first_token_seconds" if flight.last is None else "inter_block_latency_seconds"
        shown = [span.first_token if flight.last is None else span.gap for span in spans]
        observe_in((self.tally.histograms[stem], *shown), now - since)
        flight.last = now

    def _end(self, flight: Flight, reason: str, now: float) -> None:
        flight.is_over = True
        self.tally.counters["request_success"].add((reason,))
        self.tally.histograms["e2e_request_latency_seconds"].observe(now - flight.arrived)

    def _take_load(self, status: Status, spans: list[Span]) -> None:
        load, before = status.load, self.status.load if self.status is not None else Load()
        is_same = self.status is not None and self.status.pid == status.pid
        # A worker that was started anew counts from 0.
        seconds = load.step_seconds - (before.step_seconds if is_same else 0.0)
        self.tally.counters["step_seconds"].add((), max(0.0, seconds))
        for span in spans:
            span.running, span.waiting = max(span.running, load.running), max(span.waiting, load.waiting)
            span.step_seconds += max(0.0, seconds)
        self.status = status
