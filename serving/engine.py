"""The worker's inside: step loop, drafts and router, fed with jobs and asked for a message a turn.

`serving.building` makes one of a plan, `serving.news` its messages.
"""

import logging
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from decoding.controller import LengthController
from decoding.randomness import SeededRandomness
from decoding.request import FinishReason, Request, StepOutput
from decoding.step_loop import StepLoop
from decoding.trace_recorder import MOST_HELD
from drafts.pool import AND, GENERAL, LOOKUP, DraftPool
from router.decision import RoutingDecision
from serving.auditing import Auditor
from serving.canaries import Canaries
from serving.news import News, RouterState
from serving.pricing import DraftPrices
from serving.swapping import DraftSwapper
from serving.traces import Tracing
from serving.wire import AUTO, NONE, Job, Routing, StepMessage

logger = logging.getLogger(__name__)

WITHOUT_DRAFTS = 4  # proposal length where prompt lookup is all there is
_HOPED_ALPHA = 0.55  # acceptance that a topic's draft reaches on an ordinary text, copies apart
# Tokens of an answer before its router is asked, which shares a core with the HTTP process: asked at once, or just
# after the first token, it works exactly while that token is on its way out.
_SAID_BEFORE_ROUTED = 2


class Router(RouterState, Protocol):
    """What the engine asks of `router.process.RouterProcess`."""

    def submit(self, request_id: str, text: str) -> None: ...
    def poll(self) -> list[tuple[int | str, RoutingDecision]]: ...
    def reload(self, folder: Path, label: str) -> None: ...
    def close(self) -> None: ...


class Engine:
    """Decodes jobs together and routes them while they run."""

    def __init__(
        self,
        loop: StepLoop,
        pool: DraftPool,
        router: Router | None = None,
        lengths: int | LengthController = WITHOUT_DRAFTS,
        tracing: Tracing | None = None,
        canaries: Canaries | None = None,
        auditor: Auditor | None = None,
    ):
        self._loop, self._pool, self._router, self._lengths = loop, pool, router, lengths
        self._tracing, self._canaries, self._auditor = tracing, canaries, auditor
        self._prices = DraftPrices(loop, pool, lengths)
        self._undecided: dict[str, Request] = {}
        self._unasked: dict[str, str] = {}  # queries that the router has not been asked about, by request
        self._unasked_late: dict[str, str] = {}  # the same of traced answers that have ended
        self._news = News(loop, pool, router, lengths, tracing, auditor)
        self._swapper: DraftSwapper | None = None
        self._ways_back: Connection | None = None

    @property
    def busy(self) -> bool:
        """Something runs or waits."""
        return bool(self._loop.num_running or self._loop.num_waiting)

    @property
    def has_chores(self) -> bool:
        """There is something to do while nothing runs."""
        return self._auditor is not None and self._auditor.has_work

    def follow(self, versions: Connection, ways_back: Connection | None = None) -> None:
        """Take up draft versions that arrive there, between steps; tell of those that were given up again."""
        self._ways_back = ways_back
        self._swapper = self._news.swapper = DraftSwapper(self._pool, versions, self._router, self._canaries)

    def admit(self, job: Job) -> None:
        """Start a job; its draft may still change when the router has decided."""
        request = Request(
            job.request_id,
            job.token_ids,
            job.sampling,
            SeededRandomness(job.sampling.seed),
            num_draft_tokens=job.num_draft_tokens,
            may_copy=job.draft == AUTO,
            is_traced=self._tracing is not None and self._tracing.wants(job),
        )
        self._loop.admit(request)
        if job.draft == NONE or job.num_draft_tokens == 0:
            self._route(job.request_id, None, None, None, "asked")
        elif job.draft != AUTO:
            request.topic = job.draft if job.draft not in (GENERAL, LOOKUP) and AND not in job.draft else None
            self._route(job.request_id, self._pool.select(job.draft), request.topic, None, "asked")
        elif self._router is None:
            self._route(job.request_id, self._pool.select(GENERAL), None, None, "no router")
        elif self._router.error and not self._router.ready:
            self._route(job.request_id, self._pool.select(GENERAL), None, None, "router failed")
        else:
            self._undecided[job.request_id] = request
            if self._tracing is not None and request.is_traced:
                self._tracing.recorder.await_topic(job.request_id)
            self._unasked[job.request_id] = job.query
            if self._router.ready:  # a few steps until it answers
                self._route(job.request_id, self._meanwhile(), None, None, "undecided")
            else:
                self._route(job.request_id, self._pool.select(GENERAL), None, None, "router starting")

    def cancel(self, request_id: str, is_answered: bool = False) -> bool:
        """Free whatever a request holds; False if it is not here. What is answered may leave a trace."""
        answered = [each for each in self._loop.requests if is_answered and each.request_id == request_id]
        for request in answered:
            if self._canaries is not None:
                self._canaries.end(request)
            if self._auditor is not None:
                self._auditor.consider(request, is_whole=False)
        if self._canaries is not None:
            self._canaries.forget(request_id)
        if is_answered:
            self._ask_late(request_id)
        elif self._tracing is not None:
            self._tracing.recorder.settle(request_id, None)
        self._forget(request_id)
        return self._loop.cancel(request_id, FinishReason.STOP if is_answered else None)

    def advance(self) -> StepMessage | None:
        """Take in the router's decisions, run one step, and say what changed; None if nothing did."""
        if self._swapper is not None:
            self._swapper.install()
        self._take_decisions()
        found = self._step()
        if self._canaries:
            self._watch(self._canaries, found)
        for output in found:
            if output.finish_reason is not None:
                self._ask_late(output.request.request_id)
                self._forget(output.request.request_id)
        return self._news.message(found)

    def _step(self) -> list[StepOutput]:
        if self._auditor is None:
            return self._loop.step() if self.busy else []
        if not self.busy:
            self._auditor.advance()
            return []
        self._auditor.make_room(self._loop.num_waiting)
        found = self._loop.step()
        self._auditor.note(found)
        return found

    def _watch(self, canaries: Canaries, found: list[StepOutput]) -> None:
        canaries.note(found)
        for back in canaries.decide():
            self._news.given_up.append(back.left)
            if self._ways_back is not None:
                self._ways_back.send(back)
        for held, name in canaries.retired():
            for request in self._loop.requests:
                if request.drafter == held:
                    self._loop.assign(request.request_id, self._pool.select(name))
            self._pool.let_go(held)

    def fail_all(self, what: str) -> StepMessage:
        """Give up everything in flight, after a step that raised."""
        failures = {request.request_id: what for request in self._loop.requests}
        for request_id in failures:
            self.cancel(request_id)
        if self._auditor is not None:
            self._auditor.give_up()
        return self._news.message([], failures) or StepMessage(self._news.status())

    def close(self) -> None:
        """Write the last traces and end the router's process."""
        if self._tracing is not None:
            self._tracing.close()
        if self._router is not None:
            self._router.close()

    def _take_decisions(self) -> None:
        requests = [self._undecided[key] for key in self._unasked]
        speaking = [each.request_id for each in requests if each.counts.num_generated_tokens >= _SAID_BEFORE_ROUTED]
        if (speaking or self._unasked_late) and self._router is not None and self._drafting_pays():
            for request_id in speaking:
                self._router.submit(request_id, self._unasked.pop(request_id))
            for request_id, query in self._unasked_late.items():
                self._router.submit(request_id, query)
            self._unasked_late.clear()
        for decided, decision in self._router.poll() if self._router is not None else ():
            key = str(decided)
            if self._tracing is not None:
                self._tracing.recorder.settle(key, decision.topic)
            self._unasked.pop(key, None)
            if (request := self._undecided.pop(key, None)) is not None:
                request.topic = decision.topic
                self._settle(request, decision)
        for request, decision in self._prices.to_ask_again():
            self._settle(request, decision)
        if self._tracing is not None and self._router is not None and self._router.error and not self._router.ready:
            self._tracing.recorder.settle_all()

    def _settle(self, request: Request, decision: RoutingDecision) -> None:
        draft, reason = self._prices.settle(request, decision)
        if self._canaries:
            draft = self._canaries.version_for(draft)
        self._route(request.request_id, draft, decision.topic, round(decision.confidence, 4), reason)

    def _drafting_pays(self) -> bool:
        """Whether this many requests at once would use a topic's draft; if not, the router would work for nothing.

        It is asked about them as soon as fewer run.
        """
        if isinstance(self._lengths, int):
            return True
        requests = max(1, self._loop.num_running + self._loop.num_waiting)
        return self._lengths.drafting_pays(min(requests, len(self._loop.target.cache.lengths)), _HOPED_ALPHA)

    def _meanwhile(self) -> str | None:
        """Who proposes until the router has answered."""
        if self._drafting_pays():
            return self._pool.select(GENERAL)
        return LOOKUP if LOOKUP in self._pool else None

    def _ask_late(self, request_id: str) -> None:
        """A traced answer that was never routed: its trace waits for a topic until there is time to ask."""
        query = self._unasked.pop(request_id, None)
        if query is not None and self._tracing is not None and self._undecided[request_id].is_traced:
            self._unasked_late[request_id] = query
            if len(self._unasked_late) > MOST_HELD:
                del self._unasked_late[next(iter(self._unasked_late))]

    def _forget(self, request_id: str) -> None:
        self._undecided.pop(request_id, None)
        self._unasked.pop(request_id, None)
        self._prices.forget(request_id)

    def _route(
        self, request_id: str, draft: str | None, topic: str | None, confidence: float | None, reason: str
    ) -> None:
        self._loop.assign(request_id, draft)
        self._news.routings[request_id] = Routing(topic, self._pool.label(draft), confidence, reason)
