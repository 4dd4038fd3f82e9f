"""What travels between the HTTP process and the worker: jobs and cancellations in, one message a step out."""

from dataclasses import asdict, dataclass, field, fields
from operator import attrgetter
from typing import Any

import orjson

from decoding.logprobs import TokenLogprob
from decoding.request import Origin, SamplingParams, SpeculationCounts
from decoding.trace_log import LogState

AUTO, NONE = "auto", "none"

_LETTERS = {Origin.DRAFT: "d", Origin.LOOKUP: "l", Origin.CORRECTED: "c", Origin.BONUS: "b", Origin.PLAIN: "p"}
_ORIGINS = {letter: origin for origin, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class Job:
    """A checked request, ready for the worker.

    ``query`` is the text that the router reads; ``may_trace`` lets a deployment that keeps traces keep this one's.
    """

    request_id: str
    token_ids: list[int]
    query: str
    sampling: SamplingParams
    draft: str = AUTO  # auto, none, or a draft's name
    num_draft_tokens: int | None = None
    may_trace: bool = True


@dataclass(frozen=True, slots=True)
class Leave:
    """Nobody waits for a request any more: it has its answer, ended by a stop string, or was given up."""

    request_id: str
    is_answered: bool


@dataclass(frozen=True, slots=True)
class Routing:
    """Which draft serves a request, and why."""

    topic: str | None
    draft: str  # with its version: "sql@v1"
    confidence: float | None
    reason: str


@dataclass(slots=True)
class Output:
    """Tokens that one step gave to one request, its counts after that step, and log-probabilities if it wants them.

    With those it learns which proposed token was ``refused``, if one was. Not to be changed; it is not frozen because
    it is made several times a step on both sides, and that takes a frozen one five times as long.
    """

    request_id: str
    token_ids: list[int]
    origins: list[Origin]
    finish_reason: str | None
    counts: SpeculationCounts
    logprobs: list[TokenLogprob] = field(default_factory=list)
    refused: int | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the worker is; ``step_seconds`` is the time that steps have taken since it started."""

    running: int = 0
    waiting: int = 0
    free_slots: int = 0
    step_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AuditState:
    """Answers that were decoded again without drafts, since the worker started."""

    answers: int = 0
    tokens: int = 0  # that were the same
    mismatches: int = 0  # answers
    largest_gap: float = 0.0  # of these: between the target's two most probable tokens where they part, in logits
    dropped: int = 0  # answers that were drawn and not compared, for want of idle time


@dataclass(frozen=True, slots=True)
class Status:
    """State of the worker.

    ``router`` is off, starting, ready, or what is wrong with it; ``traces`` is None where none are kept. ``added`` are
    drafts of topics that came while serving. ``router_version`` is the one that decides, and ``router_refused`` says
    which other one cannot, and why; ``drafts_refused`` says so of drafts. ``audit`` is None where nothing is audited.
    """

    pid: int
    load: Load
    router: str
    traces: LogState | None = None
    added: tuple[str, ...] = ()
    router_version: str = ""
    router_refused: str = ""
    drafts_refused: tuple[str, ...] = ()
    audit: AuditState | None = None


@dataclass(slots=True)
class StepMessage:
    """Everything that one turn of the worker has to say.

    ``drafts`` names the version behind every draft, "sql@v3", where one has changed since the last message, and with
    that ``costs`` says what a draft step and a target run over five tokens cost, in target runs over one. Versions
    that did worse than the ones before them were ``given_up``.
    """

    status: Status
    outputs: list[Output] = field(default_factory=list)
    routings: dict[str, Routing] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    drafts: dict[str, str] = field(default_factory=dict)
    costs: tuple[float, float] | None = None
    given_up: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Compact JSON: origins as letters, counts as a row."""
        document = {
            "s": [self.status.pid, *_LOAD(self.status.load), self.status.router, *_traces(self.status)],
            "o": [_pack(output) for output in self.outputs],
            "r": {request_id: list(asdict(routing).values()) for request_id, routing in self.routings.items()},
            "f": self.failures,
            "a": self.status.added,
            **({"d": self.drafts, "c": self.costs} if self.drafts else {}),
            **({"g": self.given_up} if self.given_up else {}),
            **({"u": _AUDIT(self.status.audit)} if self.status.audit is not None else {}),
            "v": [self.status.router_version, self.status.router_refused, *self.status.drafts_refused],
        }
        return orjson.dumps(document)

    @classmethod
    def from_json(cls, text: str | bytes) -> "StepMessage":
        """The inverse of `to_json`."""
        document = orjson.loads(text)
        pid, running, waiting, free_slots, step_seconds, router, *traces = document["s"]
        load = Load(running, waiting, free_slots, step_seconds)
        router_version, router_refused, *drafts_refused = document["v"]
        log = LogState(*traces) if traces else None
        added, audit = tuple(document["a"]), AuditState(*document["u"]) if "u" in document else None
        return cls(
            Status(pid, load, router, log, added, router_version, router_refused, tuple(drafts_refused), audit),
            [_unpack(row) for row in document["o"]],
            {request_id: Routing(*row) for request_id, row in document["r"].items()},
            document["f"],
            document.get("d", {}),
            tuple(document["c"]) if document.get("c") else None,
            tuple(document.get("g", ())),
        )


# `astuple` copies deeply, at ten times the time.
_COUNTS, _LOAD, _AUDIT, _LOG = (
    attrgetter(*(each.name for each in fields(kind))) for kind in (SpeculationCounts, Load, AuditState, LogState)
)
_Row = list[Any]


def _traces(status: Status) -> tuple[Any, ...]:
    return _LOG(status.traces) if status.traces is not None else ()


def _pack(output: Output) -> _Row:
    letters = "".join([_LETTERS[origin] for origin in output.origins])
    row = [output.request_id, output.token_ids, letters, output.finish_reason, _COUNTS(output.counts)]
    return [*row, [(each.logprob, each.top) for each in output.logprobs], output.refused] if output.logprobs else row


def _unpack(row: _Row) -> Output:
    request_id, token_ids, letters, finish_reason, counts, *observed = row
    origins = [_ORIGINS[letter] for letter in letters]
    logprobs, refused = observed or ((), None)
    output = Output(request_id, token_ids, origins, finish_reason, SpeculationCounts(*counts), refused=refused)
    for logprob, top in logprobs:
        output.logprobs.append(TokenLogprob(logprob, tuple((token_id, value) for token_id, value in top)))
    return output
