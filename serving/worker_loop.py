"""LitServe's loop for the worker: one step of all requests a turn, one message a step.

The loop waits for a job only when nothing runs. It ends when LitServe's stop message arrives, after
SIGTERM once nothing runs any more, and when its parent is gone.
"""

import logging
import os
import selectors
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import Empty
from typing import Any, Protocol

from litserve.loops import LitLoop

from serving.arrivals import Arrivals
from serving.wire import Job, Leave, StepMessage

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 0.2  # how soon an idle worker notices that it should end
_STOP = (None, None, None, None)  # LitServe's stop message
_MOST_EARLY_CANCELS = 4096


class Worker(Protocol):
    """What the loop asks of `serving.engine.Engine`."""

    @property
    def busy(self) -> bool: ...
    @property
    def has_chores(self) -> bool: ...
    def admit(self, job: Job) -> None: ...
    def cancel(self, request_id: str, is_answered: bool = False) -> bool: ...
    def advance(self) -> StepMessage | None: ...
    def fail_all(self, what: str) -> StepMessage: ...
    def close(self) -> None: ...


class Jobs(Protocol):
    """What the loop asks of `serving.arrivals.Arrivals`."""

    def get(self, timeout: float = 0) -> Any: ...


class StepScheduler:
    """One turn after another: cancellations, new jobs, a step, a message.

    Args:
        jobs: what has come out of LitServe's request queue.
        control: requests that leave.
    """

    def __init__(self, engine: Worker, jobs: Jobs, control: Connection, send: Callable[[StepMessage], None]):
        self._engine, self._jobs, self._control, self._send = engine, jobs, control, send
        # Asked once a step; `Connection.poll` makes a selector each time.
        self._watched = selectors.DefaultSelector()
        self._watched.register(control, selectors.EVENT_READ)
        self._early_cancels: dict[str, None] = {}  # cancelled before their job came out of the other channel
        self._parent = os.getppid()
        self._told_to_stop = False
        self._quiet = False  # the last turn had nothing to say, so waiting for a job delays no news
        self.draining = False

    def run(self) -> None:
        """Serve until told to end."""
        try:
            while self._take_jobs():
                self._advance()
        except (EOFError, ConnectionError):
            logger.info("the server is gone; the worker ends")
        finally:
            self._engine.close()

    def _take_jobs(self) -> bool:
        """Admit what has arrived, waiting a moment if there is nothing else to do; False to end."""
        self._take_messages()
        if self._quiet and not self._engine.busy:
            # Also when draining: a job that was sent just before may be on its way.
            is_ending = self.draining or os.getppid() != self._parent
            waits = is_ending or not self._engine.has_chores
            if not self._admit_next(_IDLE_SECONDS if waits else 0):
                return not (is_ending or self._told_to_stop)
        while self._admit_next(0):
            pass
        return not self._told_to_stop

    def _admit_next(self, timeout: float) -> bool:
        try:
            item = self._jobs.get(timeout=timeout)
        except Empty:
            return False
        if item == _STOP:
            self._told_to_stop = True
            return False
        job: Job = item[3]
        self._take_messages()
        if job.request_id in self._early_cancels:
            del self._early_cancels[job.request_id]
        else:
            self._engine.admit(job)
        return True

    def _take_messages(self) -> None:
        while self._watched.select(0):
            message: Leave = self._control.recv()
            if not self._engine.cancel(message.request_id, message.is_answered):
                self._early_cancels[message.request_id] = None
                if len(self._early_cancels) > _MOST_EARLY_CANCELS:
                    del self._early_cancels[next(iter(self._early_cancels))]

    def _advance(self) -> None:
        try:
            message = self._engine.advance()
        # A step that fails must not take the server down: its requests get an error, the log the traceback.
        except Exception:
            logger.exception("a step failed; its requests are given up")
            message = self._engine.fail_all("the model failed on this request; the server's log says why")
        self._quiet = message is None
        if message is not None:
            self._send(message)


class WorkerLoop(LitLoop):
    """Runs a `StepScheduler` where LitServe would run its own loop."""

    def __call__(self, lit_api: Any, _device: str, _worker_id: int, request_queue: Any, *_: Any) -> None:
        def send(message: StepMessage) -> None:
            lit_api.news.send_bytes(message.to_json())

        arrivals = Arrivals(request_queue)
        lit_api.keep_core()  # the new thread begins on it
        scheduler = StepScheduler(lit_api.engine, arrivals, lit_api.cancellations, send)

        def drain(*_: object) -> None:
            scheduler.draining = True

        signal.signal(signal.SIGTERM, drain)
        scheduler.run()
        # Everything is written. Taking torch apart object by object can take longer than LitServe waits for an end.
        logging.shutdown()
        os._exit(0)
