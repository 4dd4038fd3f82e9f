"""What is noted of one answer while it grows, and the MLflow trace that it becomes once it is over."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from decoding.request import SpeculationCounts
from drafts.pool import AND
from registry.traces import SpanRecord, TraceRecord
from serving.seeing.flight import PROVISIONAL
from serving.seeing.labels import NO_DRAFT, NO_TOPIC, split_label
from serving.wire import Output, Routing

ANSWER, QUEUE, ROUTING, PROMPT, DECODING = "answer", "queue", "routing", "prompt", "decoding"
_DIGITS = 4


@dataclass(slots=True)
class Entry:
    """One answer; times are monotonic seconds, ``at`` is its arrival in Unix seconds.

    ``prompt_ids`` and ``answer_ids`` are noted only where they may be shown.
    """

    request_id: str
    arrived: float
    at: float
    prompt_tokens: int
    prompt_ids: list[int] | None = None
    answer_ids: list[int] = field(default_factory=list)
    started: float | None = None  # it held a slot
    decided: float | None = None  # its draft was chosen
    first: float | None = None  # its first token
    ended: float = 0.0
    draft: str = NO_DRAFT  # with its version, the last one that proposed
    routing: Routing | None = None
    counts: SpeculationCounts = field(default_factory=SpeculationCounts)
    finish_reason: str = ""
    failure: str = ""

    def start(self, at: float) -> None:
        """It holds a slot since ``at``, or since it came."""
        self.started = max(self.arrived, at)

    def route(self, routing: Routing, now: float) -> None:
        """Who proposes from now on."""
        self.routing, self.draft = routing, routing.draft
        if self.decided is None and routing.reason not in PROVISIONAL:
            self.decided = now

    def replace(self, labels: Mapping[str, str]) -> None:
        """Versions have taken over: new labels by old ones."""
        self.draft = AND.join(labels.get(part, part) for part in self.draft.split(AND))

    def take(self, output: Output, now: float) -> None:
        """What a target run brought."""
        self.first = now if self.first is None else self.first
        self.ended, self.counts = now, output.counts
        if self.prompt_ids is not None:
            self.answer_ids += output.token_ids
        self.finish_reason = output.finish_reason or ""

    def end(self, is_answered: bool, now: float) -> None:
        """Nobody waits any more."""
        if not self.finish_reason and is_answered:
            self.finish_reason = "stop"  # by a stop string, which the worker does not know
        elif not self.finish_reason:
            self.failure, self.ended = self.failure or "left", now


def trace_of(entry: Entry, model: str, text: tuple[str, str] | None) -> TraceRecord:
    """The trace of an answer that is over.

    Args:
        model: what clients call it.
        text: prompt and answer, where they may be shown.
    """
    routing, num_tokens = entry.routing, entry.counts.num_generated_tokens
    topic = (routing.topic if routing else None) or NO_TOPIC
    about = {
        "request_id": entry.request_id,
        "model": model,
        "topic": topic,
        "confidence": routing.confidence if routing else None,
        "draft": entry.draft,
        "draft_version": split_label(entry.draft)[1],
        "reason": routing.reason if routing else "",
        "finish_reason": entry.finish_reason or entry.failure,
        "prompt_tokens": entry.prompt_tokens,
        "completion_tokens": num_tokens,
        "seconds": round(entry.ended - entry.arrived, _DIGITS),
    }
    return TraceRecord(
        entry.request_id,
        SpanRecord(ANSWER, entry.at, _wall(entry, entry.ended), about),
        tuple(_phases(entry)),
        {"topic": topic, "draft": entry.draft, "finish_reason": entry.finish_reason or entry.failure},
        (entry.prompt_tokens, num_tokens),
        text,
        entry.failure,
    )


def _phases(entry: Entry) -> Iterator[SpanRecord]:
    """Those that were reached; the router decides beside the others."""
    end, routing = entry.ended, entry.routing
    started, decided, first = (end if at is None else at for at in (entry.started, entry.decided, entry.first))
    yield _phase(entry, QUEUE, entry.arrived, started)
    reason = {"reason": routing.reason, "confidence": routing.confidence} if routing else {}
    yield _phase(entry, ROUTING, entry.arrived, decided, **reason)
    if entry.started is not None:
        yield _phase(entry, PROMPT, started, first, prompt_tokens=entry.prompt_tokens)
    if entry.first is not None:
        yield _phase(entry, DECODING, first, end, **_figures(entry.counts))


def _figures(counts: SpeculationCounts) -> dict[str, object]:
    length = counts.mean_acceptance_length
    return {
        "completion_tokens": counts.num_generated_tokens,
        "target_runs": counts.num_target_runs,
        "drafts": counts.num_drafts,
        "drafted": counts.num_draft_tokens,
        "copied": counts.num_copied_tokens,
        "accepted": counts.num_accepted_tokens,
        "mean_acceptance_length": None if length is None else round(length, _DIGITS),
    }


def _phase(entry: Entry, name: str, began: float, ended: float, **about: object) -> SpanRecord:
    return SpanRecord(name, _wall(entry, began), _wall(entry, max(began, ended)), about)


def _wall(entry: Entry, at: float) -> float:
    return entry.at + at - entry.arrived
