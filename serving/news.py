"""What the worker has to say after a turn: outputs, and whatever has changed since its last message."""

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

from decoding.controller import LengthController
from decoding.request import StepOutput
from decoding.step_loop import StepLoop
from drafts.pool import DraftPool
from serving.auditing import Auditor
from serving.swapping import DraftSwapper
from serving.traces import Tracing
from serving.wire import Load, Output, Routing, Status, StepMessage


class RouterState(Protocol):
    """What is told of `router.process.RouterProcess`."""

    @property
    def ready(self) -> bool: ...
    @property
    def error(self) -> str: ...
    @property
    def label(self) -> str: ...


class News:
    """Makes the messages of `serving.engine.Engine`.

    Attributes:
        routings: of requests, for the next message.
        given_up: versions, for the next message.
        swapper: None where no versions are followed.
    """

    def __init__(
        self,
        loop: StepLoop,
        pool: DraftPool,
        router: RouterState | None,
        lengths: int | LengthController,
        tracing: Tracing | None,
        auditor: Auditor | None,
    ):
        self._loop, self._pool, self._router, self._lengths = loop, pool, router, lengths
        self._tracing, self._auditor = tracing, auditor
        self._pid = os.getpid()  # said with every step, and a system call
        self.swapper: DraftSwapper | None = None
        self.routings: dict[str, Routing] = {}
        self.given_up: list[str] = []
        self._told: Status | None = None
        self._told_drafts: dict[str, str] = {}  # names with versions

    def message(self, found: Sequence[StepOutput], failures: Mapping[str, str] | None = None) -> StepMessage | None:
        """What a step found, requests that failed, and what is new; None if there is nothing to say."""
        status, drafts = self.status(), self._pool.versions
        changed = drafts if drafts != self._told_drafts else {}
        if not (found or failures or self.routings or changed) and status == self._told:
            return None
        routings, self.routings = self.routings, {}
        given_up, self.given_up = tuple(self.given_up), []
        self._told, self._told_drafts = status, drafts
        costs = self._costs() if changed else None
        outputs = [_output(each) for each in found]
        return StepMessage(status, outputs, routings, dict(failures or {}), changed, costs, given_up)

    def _costs(self) -> tuple[float, float] | None:
        if isinstance(self._lengths, int):
            return None
        costs = self._lengths.costs
        return round(costs.draft_step(1), 4), round(costs.target_run(5), 4)

    def status(self) -> Status:
        """The state of the worker now."""
        seconds = round(self._loop.times.total, 3)
        audit, free = None, self._loop.target.cache.num_free
        if self._auditor is not None:
            audit, free = self._auditor.state, free + self._auditor.num_slots
        load = Load(self._loop.num_running, self._loop.num_waiting, free, seconds)
        traces = self._tracing.state if self._tracing is not None else None
        added = self.swapper.added if self.swapper is not None else ()
        label = self._router.label if self._router is not None else ""
        refused = self.swapper.refused if self.swapper is not None else ""
        drafts = tuple(self.swapper.drafts_refused.values()) if self.swapper is not None else ()
        return Status(self._pid, load, self._router_state(), traces, added, label, refused, drafts, audit)

    def _router_state(self) -> str:
        if self._router is None:
            return "off"
        if self._router.ready:
            return "ready"
        return self._router.error or "starting"


def _output(step_output: StepOutput) -> Output:
    request = step_output.request
    reason = step_output.finish_reason.value if step_output.finish_reason else None
    origins, logprobs = step_output.origins, step_output.logprobs
    return Output(
        request.request_id, step_output.token_ids, origins, reason, request.counts, logprobs, step_output.refused
    )
