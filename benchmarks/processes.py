"""Memory and open files of a server's processes over time, read from /proc."""

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

_MIB = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")
_BLOCKS = 10
_STUDENT = 2.306  # 97.5 % of Student's t with 8 degrees of freedom


@dataclass
class Series:
    """One process: seconds since the start, resident MiB, open file descriptors."""

    name: str
    times: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Flat:
    """What still counts as flat.

    Attributes:
        nothing: may be gained in the half at any rate: less than can be told from how memory comes in pages.
        limit: an hour; more is refused even where it may be noise, since then nobody can tell that it is flat.
    """

    nothing: float
    limit: float


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through the last half of a series: ordinary least squares over the means of ten blocks.

    Samples seconds apart resemble each other, so that the usual error of a slope, which takes them for independent,
    is far too small. Means of long blocks hardly do (batch means; Law and Kelton, Simulation Modeling and Analysis,
    section 9.5): the error is that of the line through the ten means, with Student's t of eight degrees of freedom.
    """

    slope: float  # an hour
    error: float  # standard error of the slope, an hour
    growth: float  # from the half's beginning to its end

    @property
    def is_noise(self) -> bool:
        """The slope is not above 0 at the level of 2.5 % (one-sided)."""
        return self.slope <= _STUDENT * self.error

    def is_flat(self, flat: Flat) -> bool:
        """Growth is nothing, or it is within the slope's own error and below the limit."""
        return self.growth <= flat.nothing or (self.is_noise and self.slope <= flat.limit)


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """The trend of the last half; nothing of fewer points than blocks."""
    half = [index for index, at in enumerate(times) if at >= (times[0] + times[-1]) / 2] if times else []
    if len(half) < _BLOCKS:
        return Trend(0.0, 0.0, 0.0)
    x = np.array([block.mean() for block in np.array_split(np.array(times)[half], _BLOCKS)])
    y = np.array([block.mean() for block in np.array_split(np.array(values, dtype=float)[half], _BLOCKS)])
    slope, offset = np.polyfit(x, y, 1)
    variance = float(np.sum((y - (slope * x + offset)) ** 2)) / (_BLOCKS - 2)
    error = (variance / float(np.sum((x - x.mean()) ** 2))) ** 0.5
    return Trend(float(slope) * 3600, error * 3600, float(slope) * (times[-1] - times[half[0]]))


def children() -> set[int]:
    """Processes that this one has started."""
    return {pid for pid, (parent, _) in _table().items() if parent == os.getpid()}


class Watcher:
    """Looks at all processes of a session every ``every_seconds``, as a context."""

    def __init__(self, leader: int, every_seconds: float):
        self._leader, self._every_seconds = leader, every_seconds
        self.series: dict[int, Series] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        began = time.monotonic()
        while not self._ended.is_set():
            now = time.monotonic() - began
            table = {pid: parent for pid, (parent, session) in _table().items() if session == self._leader}
            for pid, parent in table.items():
                with suppress(OSError):
                    self._look(pid, parent, now)
            self._ended.wait(self._every_seconds)

    def _look(self, pid: int, parent: int, now: float) -> None:
        place = Path(f"/proc/{pid}")
        resident = int((place / "statm").read_text().split()[1]) * _PAGE / _MIB
        files = len(list((place / "fd").iterdir()))
        if pid not in self.series:
            self.series[pid] = Series(self._name(pid, parent))
        found = self.series[pid]
        found.times.append(now)
        found.resident.append(resident)
        found.files.append(files)

    def _name(self, pid: int, parent: int) -> str:
        if pid == self._leader:
            return "main"
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        if "resource_tracker" in command:
            return "tracker"
        if parent != self._leader:
            return "router"
        return "model" if "spawn_main" in command else "http" if self._listens(pid) else "queues"

    def _listens(self, pid: int) -> bool:
        """Of the two that main has forked, one serves HTTP: its event loop polls."""
        links = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
        return any("eventpoll" in link for link in links)


def _table() -> dict[int, tuple[int, int]]:
    """Parent and session of every living process."""
    found: dict[int, tuple[int, int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent, _, session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            if state != "Z":
                found[int(folder.name)] = int(parent), int(session)
    return found
