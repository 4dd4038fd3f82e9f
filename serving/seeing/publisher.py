"""From noted answers to traces in MLflow, in the main process, which has nothing else to do while requests are served.

Writing one takes milliseconds of Python. In the HTTP process these would be taken from tokens on their way out.
"""

import ctypes
import logging
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from threading import Event, Thread
from typing import Protocol

from configs.errors import PolydraftError
from registry.traces import TraceRecord
from serving.seeing.entry import Entry, trace_of

logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 64
_GATHER_SECONDS = 1.0  # many traces in one transaction cost far less than each alone
_IDLE_SECONDS = 0.5
_PAUSE_SECONDS = 10.0  # between tries where the registry is gone
_RETENTION_SECONDS = 3600.0
_CLOSE_SECONDS = 10.0


class Writer(Protocol):
    """What is asked of `registry.traces.TraceWriter`."""

    def write(self, traces: Sequence[TraceRecord]) -> None: ...
    def remove_before(self, at: float) -> int: ...


class Counts:
    """Traces written and dropped by one process, read by another that was forked from it."""

    def __init__(self) -> None:
        self._values = RawArray(ctypes.c_uint64, 2)

    @property
    def written(self) -> int:
        return int(self._values[0])

    @property
    def dropped(self) -> int:
        return int(self._values[1])

    def add(self, written: int = 0, dropped: int = 0) -> None:
        """Only one process may."""
        self._values[0] += written
        self._values[1] += dropped


class Publisher:
    """Reads what an `Outbox` sends, and writes it; what the registry does not take is dropped, counted and said once.

    Args:
        open_writer: connects to the registry; tried again after failures, not often.
        model: what clients call it.
        text: prompt and answer of an entry that notes them; None where they are withheld.
        keep_seconds: traces that are older leave MLflow.
    """

    def __init__(
        self,
        entries: Connection,
        open_writer: Callable[[], Writer],
        model: str,
        text: Callable[[Sequence[int], Sequence[int]], tuple[str, str] | None],
        keep_seconds: float,
        counts: Counts,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._entries, self._open_writer, self._model, self._text = entries, open_writer, model, text
        self._keep_seconds, self._counts, self._clock = keep_seconds, counts, clock
        self._writer: Writer | None = None
        self._error = ""
        self._not_before = self._next_removal = float("-inf")
        self._is_closing = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        """Publish in a thread."""
        self._thread = Thread(target=self._publish_forever, name="mlflow traces", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what has come, unless the registry takes seconds for it."""
        self._is_closing.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    def publish(self, entries: Sequence[Entry]) -> None:
        """Write traces of these, or drop them."""
        if self._clock() < self._not_before:
            self._counts.add(dropped=len(entries))
            return
        left = len(entries)
        try:
            self._writer = self._writer or self._open_writer()
            if entries:
                self._writer.write([trace_of(entry, self._model, self._text_of(entry)) for entry in entries])
            self._counts.add(written=left)
            left = 0
            self._remove_old(self._writer)
        except PolydraftError as error:
            self._fail(str(error), left)
        else:
            if self._error:
                logger.warning("MLflow traces are written again")
            self._error = ""

    def _fail(self, what: str, count: int) -> None:
        if not self._error:
            logger.error("MLflow traces cannot be written and are dropped; serving goes on: %s", what)
        self._error, self._writer = what, None
        self._not_before = self._clock() + _PAUSE_SECONDS
        self._counts.add(dropped=count)

    def _remove_old(self, writer: Writer) -> None:
        if self._clock() >= self._next_removal:
            self._next_removal = self._clock() + _RETENTION_SECONDS
            writer.remove_before(time.time() - self._keep_seconds)

    def _text_of(self, entry: Entry) -> tuple[str, str] | None:
        return None if entry.prompt_ids is None else self._text(entry.prompt_ids, entry.answer_ids)

    def _publish_forever(self) -> None:
        self.publish([])  # connects, so that an answer just before the end need not wait for it
        while not self._is_closing.is_set() or self._entries.poll(0):
            if entries := self._gather():
                self.publish(entries)

    def _gather(self) -> list[Entry]:
        """What comes within a while of the first; at an end, what is there."""
        found: list[Entry] = []
        until = self._clock() + _IDLE_SECONDS
        while len(found) < _MOST_AT_ONCE:
            left = 0.0 if self._is_closing.is_set() else max(0.0, until - self._clock())
            if not self._entries.poll(left):
                break
            found.append(self._entries.recv())
            until = self._clock() + _GATHER_SECONDS if len(found) == 1 else until
        return found
