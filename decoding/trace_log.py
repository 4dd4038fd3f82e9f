"""The trace log: a folder of segments, written beside the step loop and never in its way.

A segment holds the traces of all topics, in the order in which the answers ended. It is written under another name,
synced and renamed, so whoever reads the folder meets whole segments only, after a kill, too. What a kill costs is the
segment in hand. Several servers may share a folder.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread

from decoding.trace import SpeculationTrace
from decoding.trace_segment import encode, list_segments, segment_name

logger = logging.getLogger(__name__)

_QUEUE_LENGTH = 256
_RETENTION_SECONDS = 600.0  # how often the age of segments is looked at while nothing is written
_LEFTOVER_SECONDS = 3600.0  # an unfinished file so old belongs to nobody
_LEFTOVER = ".unfinished-"
_CLOSE_SECONDS = 3.0
_BYTES_BESIDE_TOP = 13  # of an emitted token: id, origin and two probabilities


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How much is kept, and when a segment is closed.

    Attributes:
        max_bytes: of all segments; the oldest are removed first.
        max_age_seconds: of a segment.
        segment_bytes, segment_seconds: a segment is closed when it has as much, or its first trace is so old.
    """

    max_bytes: int = 1 << 30
    max_age_seconds: float = 30 * 86_400.0
    segment_bytes: int = 8 << 20
    segment_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class LogState:
    """Traces since the log was opened. ``error`` says why they cannot be written now, if so."""

    written: int = 0
    dropped: int = 0
    error: str = ""


class TraceLog:
    """Appends to a log from a thread of its own.

    Whatever happens to the disk, serving goes on: traces that cannot be written are dropped and counted, and the log
    of the server says so once.

    Args:
        clock: seconds since 1970.
        keeps: says of a trace whether it may be kept; asked by the thread. None keeps all.
    """

    def __init__(
        self,
        folder: Path,
        limits: LogLimits | None = None,
        queue_length: int = _QUEUE_LENGTH,
        clock: Callable[[], float] = time.time,
        keeps: Callable[[SpeculationTrace], bool] | None = None,
    ):
        self._keeps = keeps
        self._folder, self._limits, self._clock = folder, limits or LogLimits(), clock
        self._queue: Queue[tuple[float, SpeculationTrace] | None] = Queue(queue_length)
        self._refused = 0  # by a full queue; the step loop's thread counts these, the other one the rest
        self._written = self._lost = 0
        self._error = ""
        self._thread = Thread(target=self._run, name="trace log", daemon=True)
        self._thread.start()

    @property
    def state(self) -> LogState:
        return LogState(self._written, self._refused + self._lost, self._error)

    def append(self, trace: SpeculationTrace) -> None:
        """Take a trace; never waits."""
        try:
            self._queue.put_nowait((self._clock(), trace))
        except Full:
            self._refused += 1

    def close(self) -> None:
        """Write what is there, unless the disk takes seconds for it."""
        end = time.monotonic() + _CLOSE_SECONDS
        try:
            self._queue.put(None, timeout=_CLOSE_SECONDS)
            self._thread.join(end - time.monotonic())
        except Full:
            logger.error("the trace log does not come to an end; its last traces are lost")

    def _run(self) -> None:
        pending: list[tuple[float, SpeculationTrace]] = []
        size, due, is_open = 0, time.monotonic() + _RETENTION_SECONDS, True
        while is_open:
            try:
                item = self._queue.get(timeout=max(0.0, due - time.monotonic()))
                is_open = item is not None
            except Empty:
                item = None
            if item is not None and (self._keeps is None or self._keeps(item[1])):
                due = due if pending else time.monotonic() + self._limits.segment_seconds
                pending.append(item)
                size += _num_bytes(item[1])
            if not is_open or size >= self._limits.segment_bytes or time.monotonic() >= due:
                self._write(pending)
                pending, size, due = [], 0, time.monotonic() + _RETENTION_SECONDS

    def _write(self, traces: list[tuple[float, SpeculationTrace]]) -> None:
        try:
            if traces:
                self._publish(encode(traces))
            elif self._folder.is_dir():
                with self._locked():
                    self._remove_old()
        except OSError as error:
            self._lost += len(traces)
            if not self._error:
                logger.error("traces cannot be written and are dropped; serving goes on: %s", error)
            self._error = str(error)
            return
        self._written += len(traces)
        if self._error:
            logger.warning("traces are written again")
        self._error = ""

    def _publish(self, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = self._folder / f"{_LEFTOVER}{os.getpid()}-{time.monotonic_ns()}"
        try:
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with self._locked():
                # Numbers ascend in the order of appearance, whoever writes: else a reader would miss some.
                newest = max((number for number, _ in list_segments(self._folder)), default=0)
                number = max(int(self._clock() * 1e9), newest + 1)
                unfinished.rename(self._folder / segment_name(number, data))
                self._remove_old()
        finally:
            unfinished.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among the writers of the folder; its entries are on the disk afterwards."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
            os.fsync(folder)
        finally:
            os.close(folder)

    def _remove_old(self) -> None:
        segments = list_segments(self._folder)
        sizes = [path.stat().st_size for _, path in segments]
        total, now = sum(sizes), self._clock()
        oldest = (now - self._limits.max_age_seconds) * 1e9
        for (number, path), size in zip(segments, sizes, strict=True):
            if number >= oldest and total <= self._limits.max_bytes:
                break
            path.unlink()
            total -= size
        for path in self._folder.glob(f"{_LEFTOVER}*"):
            if path.stat().st_mtime < now - _LEFTOVER_SECONDS:
                path.unlink(missing_ok=True)


def _num_bytes(trace: SpeculationTrace) -> int:
    """About what it takes in a segment."""
    top = trace.top_ids.numel() * (trace.top_probs.element_size() + 2)
    return 4 * len(trace.token_ids) + _BYTES_BESIDE_TOP * len(trace.origins) + top
