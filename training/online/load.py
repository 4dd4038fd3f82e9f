"""How busy the server is, and a pause between two training steps while it is.

Low load is a measured thing: nobody waits for a slot, and over the last seconds steps took no more than a set share
of the time. Both come with the server's /health: ``waiting`` and ``step_seconds``, the sum of all steps so far.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

import httpx

from configs.errors import ServerError

_WINDOW_SECONDS = 5.0
_INTERVAL_SECONDS = 0.5
_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a server; ``step_seconds`` only grows while it lives."""

    running: int
    waiting: int
    step_seconds: float


class LoadSource(Protocol):
    """Where samples come from."""

    def sample(self) -> Sample | None:
        """A look at the server; None where nobody serves."""
        ...


class HealthLoad:
    """Asks a server's /health.

    Args:
        url: such as ``http://127.0.0.1:8000``.
    """

    def __init__(self, url: str):
        self._url = f"{url.rstrip('/')}/health"
        self._client = httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False)

    def sample(self) -> Sample | None:
        """See `LoadSource.sample`. A server that does not answer in time has something better to do.

        Raises:
            ServerError: what answers is no polydraft.
        """
        try:
            document: dict[str, Any] = self._client.get(self._url).json()
            return Sample(int(document["running"]), int(document["waiting"]), float(document["step_seconds"]))
        except httpx.TimeoutException:
            return Sample(1, 1, 0.0)
        except httpx.TransportError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(f"{self._url} is not a polydraft server", do="name one with --server URL") from error


@dataclass(frozen=True, slots=True)
class Load:
    """What was found: requests that wait, and the share of time that steps took lately."""

    waiting: int = 0
    utilisation: float = 0.0

    def is_low(self, most: float) -> bool:
        """Nobody waits, and steps take at most ``most`` of the time."""
        return not self.waiting and self.utilisation <= most

    def __str__(self) -> str:
        queue = f"{self.waiting} waiting, " if self.waiting else ""
        return f"{queue}steps take {self.utilisation:.0%} of the server's time"


class LoadMeter:
    """Turns samples into a load, looking at most twice a second.

    Args:
        clock: seconds.
    """

    def __init__(self, source: LoadSource, clock: Callable[[], float] = time.monotonic):
        self._source, self._clock = source, clock
        self._samples: deque[tuple[float, Sample]] = deque()
        self._load = Load()

    def read(self) -> Load:
        """The load now, or half a second ago."""
        now = self._clock()
        if not self._samples or now - self._samples[-1][0] >= _INTERVAL_SECONDS:
            self._look(now)
        return self._load

    def _look(self, now: float) -> None:
        sample = self._source.sample()
        if sample is None:
            self._samples.clear()
            self._load = Load()
            return
        if self._samples and sample.step_seconds < self._samples[-1][1].step_seconds:  # another server by now
            self._samples.clear()
        self._samples.append((now, sample))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW_SECONDS:
            self._samples.popleft()
        began, first = self._samples[0]
        if now > began:
            utilisation = min(1.0, (sample.step_seconds - first.step_seconds) / (now - began))
        else:  # one look shows no share of time, but whether something runs
            utilisation = float(sample.running > 0)
        self._load = Load(sample.waiting, utilisation)


class Stopped(KeyboardInterrupt):
    """Somebody asked for the end; everything that is needed to go on is kept."""


class Throttle:
    """Between two steps: goes on at once while load is low, waits while it is not, and ends when told to.

    Args:
        meter: None where there is no server to look at.
        most: share of time that steps may take.
        say: is told of pauses.
    """

    def __init__(
        self,
        meter: LoadMeter | None = None,
        most: float = 1.0,
        stop: Event | None = None,
        say: Callable[[str], None] = lambda _: None,
        seconds: float = _INTERVAL_SECONDS,
    ):
        self._meter, self._most, self._say, self._seconds = meter, most, say, seconds
        self._stop = stop or Event()
        self.paused_seconds = 0.0

    def __call__(self) -> None:
        """Return when training may go on.

        Raises:
            Stopped: it may not, ever.
        """
        began = time.monotonic()
        told = False
        while True:
            if self._stop.is_set():
                raise Stopped
            load = self._meter.read() if self._meter is not None else Load()
            if load.is_low(self._most):
                break
            if not told:
                self._say(f"pausing: {load}")
                told = True
            self._stop.wait(self._seconds)
        if told:
            paused = time.monotonic() - began
            self.paused_seconds += paused
            self._say(f"going on after {paused:.0f} s: {load}")

    def sleep(self, seconds: float) -> None:
        """Wait, or end when told to.

        Raises:
            Stopped: so it was.
        """
        if self._stop.wait(seconds):
            raise Stopped
