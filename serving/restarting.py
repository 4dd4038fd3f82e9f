"""How often a model process that died is started again, and what must be gone before the next one begins."""

import logging
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import Empty
from threading import Lock
from typing import Any

from serving.frames import discard

logger = logging.getLogger(__name__)

MOST_RESTARTS = 5
WINDOW_SECONDS = 600.0


class Restarts:
    """Says whether a dead worker is to be started again: not when the server ends, and not for ever.

    A worker that dies ``most`` times within ``seconds`` will not be mended by another start; the server then ends,
    and whatever supervises it decides.
    """

    def __init__(
        self,
        most: int = MOST_RESTARTS,
        seconds: float = WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._most, self._seconds, self._clock = most, seconds, clock
        self._times: deque[float] = deque()
        self.lock = Lock()  # held while a worker is started, so that none starts behind an end
        self._is_ending = False

    def end(self) -> None:
        """The server ends: no worker is started from now on."""
        with self.lock:
            self._is_ending = True

    @property
    def is_ending(self) -> bool:
        return self._is_ending

    def begin(self) -> bool:
        """Count a start; False if there must be none."""
        now = self._clock()
        while self._times and self._times[0] <= now - self._seconds:
            self._times.popleft()
        if self._is_ending or len(self._times) >= self._most:
            return False
        self._times.append(now)
        return True


def forget_jobs(control: Connection, jobs: Any) -> None:
    """Empty the worker's two ways in; whoever sent what is there has been told that it is lost."""
    discard(control)  # first: a goodbye to a job that comes after this must stay, lest the job be decoded for nobody
    while True:
        try:
            jobs.get_nowait()
        except Empty:
            return


def tell_problems(problems: Connection) -> None:
    """Log why the worker before could not even load."""
    while problems.poll(0):
        logger.error("the model process could not start: %s", problems.recv())
