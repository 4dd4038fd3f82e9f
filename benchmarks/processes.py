"""Memory and open files of a server's processes over time, read from /proc."""

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

_MIB = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Series:
    """One process: seconds since the start, resident MiB, open file descriptors."""

    name: str
    times: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through the last half of a series (least squares)."""

    slope: float  # an hour
    growth: float  # from the half's beginning to its end
    noise: float  # standard deviation around the line

    def is_flat(self, tolerance: float) -> bool:
        """Growth is no more than two deviations, or than ``tolerance``."""
        return self.growth <= max(2 * self.noise, tolerance)


def trend(times: list[float], values: list[float]) -> Trend:
    """The trend of the last half; nothing of fewer than four points."""
    half = [index for index, at in enumerate(times) if at >= (times[0] + times[-1]) / 2] if times else []
    if len(half) < 4:
        return Trend(0.0, 0.0, 0.0)
    x, y = np.array(times)[half], np.array(values, dtype=float)[half]
    slope, offset = np.polyfit(x, y, 1)
    noise = float(np.std(y - (slope * x + offset)))
    return Trend(float(slope) * 3600, float(slope) * float(x[-1] - x[0]), noise)


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
