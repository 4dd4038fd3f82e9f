"""The HTTP process's side of the worker: jobs out, step messages in, fanned out to their requests."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from configs.errors import PolydraftError, ServerError
from serving.errors import DeadlineError, QueueFullError, WorkerLostError
from serving.frames import FrameReader
from serving.observer import Observer
from serving.wire import Job, Leave, Output, Routing, Status, StepMessage

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Ticket:
    """A request that the worker knows; what comes back waits in ``inbox``."""

    request_id: str
    opened: float  # by the event loop's clock
    inbox: asyncio.Queue[Output | PolydraftError] = field(default_factory=asyncio.Queue)
    routing: Routing | None = None
    is_over: bool = False  # the worker has nothing more to say
    is_answered: bool = False  # the reply is whole, whatever the worker may add
    timer: asyncio.TimerHandle | None = None


class Dispatcher:
    """Submits jobs and delivers what comes back.

    Args:
        news: where the worker's messages arrive, one a step. LitServe's own way back crosses a third process
            and costs the step loop a round trip to it.
        submit: puts a job on LitServe's request queue.
        control: the worker listens at its other end for requests that leave.
        capacity: most requests in the worker, running and waiting.
        observer: looks on, and is told after those who wait.
        kill: ends the process of a number.
    """

    def __init__(
        self,
        news: Connection,
        submit: Callable[[Job], None],
        control: Connection,
        capacity: int,
        deadline_seconds: float,
        observer: Observer | None = None,
        kill: Callable[[int], None] = lambda pid: os.kill(pid, signal.SIGKILL),
    ):
        self._observer = observer or Observer()
        self._news, self._submit, self._control = FrameReader(news), submit, control
        self._capacity, self._deadline_seconds = capacity, deadline_seconds
        self._tickets: dict[str, Ticket] = {}
        self._kill, self._heard = kill, 0.0  # when the worker's last message came
        self.status: Status | None = None
        self.worker_died = False

    def open(self, job: Job) -> Ticket:
        """Hand a job to the worker.

        Raises:
            QueueFullError: too many requests are inside already.
            WorkerLostError: the worker is dead, and the next one does not serve yet.
        """
        if self.worker_died:
            raise WorkerLostError("the model process died", do="it is being started again: try again shortly")
        if len(self._tickets) >= self._capacity:
            raise QueueFullError(f"all {self._capacity} places are taken", do="try again shortly")
        loop = asyncio.get_running_loop()
        ticket = Ticket(job.request_id, loop.time())
        self._tickets[job.request_id] = ticket
        self._observer.opened(job)
        self._submit(job)
        ticket.timer = loop.call_later(self._deadline_seconds, self._expire, ticket)
        return ticket

    def close(self, ticket: Ticket) -> None:
        """Nobody waits for this request any more; the worker drops it if it is still at it. Safe to repeat."""
        if self._tickets.pop(ticket.request_id, None) is None:
            return
        self._observer.closed(ticket.request_id, ticket.is_answered)
        if ticket.timer is not None:
            ticket.timer.cancel()
        if not ticket.is_over and not self.worker_died:
            self._control.send(Leave(ticket.request_id, ticket.is_answered))

    async def deliver_forever(self) -> None:
        """Deliver the worker's messages as they come."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._news.fileno(), arrived.set)
        try:
            while True:
                await arrived.wait()
                arrived.clear()
                for message in self._news.read():
                    self._deliver(StepMessage.from_json(message))
        finally:
            loop.remove_reader(self._news.fileno())

    def _deliver(self, message: StepMessage) -> None:
        if self.status is None or self.status.pid != message.status.pid:
            self.worker_died = False
            self._watch(message.status.pid)
        self.status, self._heard = message.status, asyncio.get_running_loop().time()
        for request_id, routing in message.routings.items():
            if request_id in self._tickets:
                self._tickets[request_id].routing = routing
        for output in message.outputs:
            if (ticket := self._tickets.get(output.request_id)) is not None:
                ticket.is_over = output.finish_reason is not None
                ticket.inbox.put_nowait(output)
        for request_id, what in message.failures.items():
            self._fail(request_id, ServerError(what))
        self._observer.told(message)

    def _fail(self, request_id: str, error: PolydraftError) -> None:
        if (ticket := self._tickets.get(request_id)) is not None:
            ticket.is_over = True
            ticket.inbox.put_nowait(error)
            self._observer.failed(request_id, "error")

    def _expire(self, ticket: Ticket) -> None:
        error = DeadlineError(f"no answer within {self._deadline_seconds:g} s", do="ask for fewer tokens")
        ticket.inbox.put_nowait(error)
        self._observer.failed(ticket.request_id, "deadline")
        self.close(ticket)  # frees the slot even if the client has stopped reading
        if self.status is not None and not self.worker_died and self._heard < ticket.opened:
            # Not a word after any step for a whole deadline: it hangs, and will not end by itself.
            logger.error("the model process has been silent for %g s and is ended", self._deadline_seconds)
            self._kill(self.status.pid)

    def _watch(self, pid: int) -> None:
        """Notice the worker's death at once. Elsewhere than on Linux the deadline has to do."""
        if not hasattr(os, "pidfd_open"):
            return
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:  # dead already, with its first message still in the pipe
            self._lose_worker()
        else:
            asyncio.get_running_loop().add_reader(handle, self._on_death, handle)

    def _on_death(self, handle: int) -> None:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)
        self._lose_worker()

    def _lose_worker(self) -> None:
        """Fail what it had; the next one begins with an empty pipe and must not decode what is left in the queue."""
        logger.error("the model process died")
        self.worker_died = True
        self._news.clear()
        for request_id in list(self._tickets):
            self._control.send(Leave(request_id, is_answered=False))
            self._fail(request_id, WorkerLostError("the model process died", do="send the request again"))
