"""Notes the times of a sampled share of answers, for MLflow."""

import time
from collections.abc import Callable

from serving.drawing import is_drawn
from serving.observer import Failure, Observer
from serving.seeing.entry import Entry
from serving.wire import Job, StepMessage


class Journal(Observer):
    """Hands each answer that was drawn on when it is over.

    Whether it is drawn goes by its id, as with traces and the audit: of two shares the smaller one's answers are
    among the larger one's. The worker does not say when a request gets its slot; it says how many wait, and those are
    the last that came.

    Args:
        share: of all answers.
        keep: must not wait.
        may_show: of a job whether its text may be shown.
        clock: monotonic seconds.
        wall: Unix seconds.
    """

    def __init__(
        self,
        share: float,
        keep: Callable[[Entry], None],
        may_show: Callable[[Job], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ):
        self._share, self._keep, self._may_show = share, keep, may_show
        self._clock, self._wall = clock, wall
        self._entries: dict[str, Entry] = {}
        self._unseen: set[str] = set()  # requests that the worker has not taken in yet
        self._waiting: dict[str, None] = {}  # those that wait for a slot, in their order
        self._drafts: dict[str, str] = {}
        self._before = float("-inf")  # when the last message came: a step begins where another ends

    def opened(self, job: Job) -> None:
        self._unseen.add(job.request_id)
        if is_drawn(job.request_id, self._share):
            shown = job.token_ids if self._may_show(job) else None
            entry = Entry(job.request_id, self._clock(), self._wall(), len(job.token_ids), shown)
            self._entries[job.request_id] = entry

    def told(self, message: StepMessage) -> None:
        now = self._clock()
        if message.drafts:
            self._replace(message.drafts)
        for request_id, routing in message.routings.items():
            if request_id in self._unseen:
                self._unseen.remove(request_id)
                self._waiting[request_id] = None
            if (entry := self._entries.get(request_id)) is not None:
                entry.route(routing, now)
        while len(self._waiting) > message.status.load.waiting:
            first = next(iter(self._waiting))
            del self._waiting[first]
            if (entry := self._entries.get(first)) is not None:
                entry.start(self._before)
        for output in message.outputs:
            if (entry := self._entries.get(output.request_id)) is not None:
                entry.take(output, now)
        self._before = now

    def failed(self, request_id: str, why: Failure) -> None:
        if (entry := self._entries.get(request_id)) is not None:
            entry.failure = why

    def closed(self, request_id: str, is_answered: bool) -> None:
        self._unseen.discard(request_id)
        self._waiting.pop(request_id, None)
        if (entry := self._entries.pop(request_id, None)) is not None:
            entry.end(is_answered, self._clock())
            self._keep(entry)

    def _replace(self, drafts: dict[str, str]) -> None:
        labels = {before: drafts[name] for name, before in self._drafts.items() if drafts.get(name, before) != before}
        self._drafts = dict(drafts)
        for entry in self._entries.values():
            entry.replace(labels)
